"""Runs the Python package `websockets` against a server that takes messages of
400,000 bytes.

    python websockets_client.py ws://127.0.0.1:PORT
"""

import itertools
import json
import sys

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

SERVER = sys.argv[1]
SIZES = [0, 1, 125, 126, 65_535, 65_536, 300_000]
GUARD_SECONDS = 20


def hear(client):
    return json.loads(client.recv(timeout=GUARD_SECONDS))


def say(client, **message):
    client.send(json.dumps(message))


def open_client(path, **options):
    return connect(f"{SERVER}{path}", open_timeout=GUARD_SECONDS, **options)


def closed_with(client):
    """The code with which the server closes, once everything else is read."""
    try:
        while True:
            client.recv(timeout=GUARD_SECONDS)
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else None


def quick_start():
    with open_client("/ws") as one, open_client("/ws") as two:
        ids = [hear(client)["data"]["client_id"] for client in (one, two)]
        say(one, type="subscribe", room="chat")
        assert hear(one)["data"] == {"room": "chat", "client_count": 1}
        say(two, type="subscribe", room="chat")
        assert hear(two)["data"] == {"room": "chat", "client_count": 2}
        say(two, type="publish", room="chat", data={"message": "Hello!"})
        for client in (one, two):
            message = hear(client)
            assert isinstance(message.pop("timestamp"), int)
            assert message == {
                "type": "message",
                "room": "chat",
                "data": {"message": "Hello!"},
                "client_id": ids[1],
            }


def echoes():
    with open_client("/ws/raw") as client:
        for size in SIZES:
            data = bytes(itertools.islice(itertools.cycle(range(251)), size))
            client.send(data)
            assert client.recv(timeout=GUARD_SECONDS) == data, size
            text = "".join(itertools.islice(itertools.cycle("aé€𝄞"), size // 4))
            client.send(text)
            assert client.recv(timeout=GUARD_SECONDS) == text, size


def fragments():
    with open_client("/ws/raw") as client:
        client.send(["one ", "", "two ", "three €"])
        assert client.recv(timeout=GUARD_SECONDS) == "one two three €"
        pieces = [bytes([index]) * 3000 for index in range(100)]
        client.send(pieces)
        assert client.recv(timeout=GUARD_SECONDS) == b"".join(pieces)


def pings():
    with open_client("/ws/raw") as client:
        for payload in (b"", b"hello", bytes(125)):
            assert client.ping(payload).wait(GUARD_SECONDS), payload


def close_codes():
    for code in (1000, 1001, 3000, 4000, 4999):
        client = open_client("/ws/raw")
        client.close(code, "goodbye")
        assert closed_with(client) == code
        # Who closed the connection of TCP first: the server, as it should.
        assert client.protocol.close_expected() is False
    client = open_client("/ws/raw")
    client.send(bytes(400_001))
    assert closed_with(client) == 1009
    client = open_client("/ws/raw")
    client.send(b"a\xff", text=True)
    assert closed_with(client) == 1007


def subprotocols():
    with open_client("/ws", subprotocols=["nonsense", "shardcast.raw"]) as client:
        assert client.subprotocol == "shardcast.raw"
        client.send("echo")
        assert client.recv(timeout=GUARD_SECONDS) == "echo"


def refusals():
    for path in ("/nonsense", "/ws/nonsense"):
        try:
            open_client(path)
        except InvalidStatus as refused:
            assert refused.response.status_code == 404
        else:
            raise AssertionError(f"{path} was accepted")


for part in (quick_start, echoes, fragments, pings, close_codes, subprotocols, refusals):
    part()
    print(f"websockets: {part.__name__} ok")
