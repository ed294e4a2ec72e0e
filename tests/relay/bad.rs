//! Each thing that can be wrong with a server, its settings or its contents: a clear
//! reason and a defined state.

use std::{
    io::{Read, Write},
    net::TcpListener,
    thread,
};

use shardcast::relay::broker::{Arrival, BrokerError, Channel, Operation};

use crate::{
    peer::{LIMITS, Peer, room},
    server::{Server, free_port},
    tls::Certificates,
};

#[test]
fn a_server_that_is_not_there_is_found_when_it_comes() {
    let mut server = Server::start(&[]);
    server.kill();
    let peer = Peer::new(&server.url());
    peer.wait_down_by("refused");
    server.restart();
    peer.wait_up();
}

#[test]
fn a_missing_and_a_wrong_password_are_told_apart() {
    let server = Server::start(&["--requirepass", "right"]);
    Peer::new(&server.url()).wait_down_by("asks for a password");
    let with = |who: &str| format!("redis://{who}@127.0.0.1:{}", server.port);
    Peer::new(&with(":wrong")).wait_down_by("wrong user or password");
    Peer::new(&with("nobody:right")).wait_down_by("wrong user or password");
    Peer::up(&with(":right"));
    let number = Peer::up(&format!("{}/3", with("default:right")));
    number.subscribe(&room("r"));
}

/// What the documentation says that an ACL user needs, and no more.
const NEEDED: &[&str] = &[
    "resetkeys",
    "~test:*",
    "resetchannels",
    "&test:*",
    "-@all",
    "+hello",
    "+ping",
    "+script",
    "+evalsha",
    "+publish",
    "+subscribe",
    "+unsubscribe",
    "+hget",
    "+hset",
    "+hdel",
    "+hmget",
    "+hincrby",
    "+hvals",
    "+xadd",
    "+xrange",
    "+xtrim",
    "+zadd",
    "+zrem",
    "+zrangebyscore",
    "+pexpire",
    "+time",
    "+type",
    "+del",
    "+get",
    "+set",
];

#[test]
fn an_acl_user_needs_what_is_documented_and_is_told_what_is_forbidden() {
    let server = Server::start(&[]);
    let set = |rules: &[&str]| {
        server.ask::<()>(&[&["ACL", "SETUSER", "node", "on", ">secret"], rules].concat());
    };
    set(NEEDED);
    let url = format!("redis://node:secret@127.0.0.1:{}", server.port);
    let mut peer = Peer::up(&url);
    peer.subscribe(&room("r"));
    peer.publish(&room("r"), "a").unwrap();
    peer.append("r", "b", Some(("key", 1000))).unwrap();
    assert_eq!(peer.read("r", 0, 10, LIMITS).unwrap().entries.len(), 1);
    assert_eq!(peer.present("r"), Some(Vec::new()));
    set(&["resetchannels", "&other:*"]);
    // A change of channels ends the subscriber's connection.
    peer.wait_up();
    peer.submit(vec![Operation::Subscribe(room("r"))]);
    peer.wait_reason("does not permit to subscribe", true);
    assert!(matches!(peer.publish(&room("r"), "x"), Err(BrokerError::Refused(_))));
    set(&["&test:*"]);
    peer.wait_subscribed(&room("r"));
    peer.wait_reason("does not permit", false);
}

#[test]
fn wrong_tls_is_refused_with_a_reason_and_right_tls_connects() {
    let certificates = Certificates::new();
    let server = certificates.server();
    let url = |scheme: &str, rest: &str| format!("{scheme}://127.0.0.1:{}{rest}", server.port);
    let ca = certificates.ca.display();
    let peer = Peer::up(&url("rediss", &format!("?ca={ca}")));
    peer.subscribe(&room("r"));
    Peer::up(&url("rediss", "?insecure=true"));
    let other = Certificates::new();
    Peer::new(&url("rediss", &format!("?ca={}", other.ca.display()))).wait_down_by("TLS failed");
    Peer::new(&url("redis", "")).wait_down();
    Peer::new(&url("rediss", "?ca=/nowhere.pem")).wait_down_by("the CA file /nowhere.pem");
    let plain = Server::start(&[]);
    let mixed = format!("rediss://127.0.0.1:{}?insecure=true", plain.port);
    Peer::new(&mixed).wait_down();
}

/// A server that says one thing to HELLO and another to all else.
fn pretender(hello: &'static str, other: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(count @ 1..) = stream.read(&mut buffer) {
                    let is_hello = buffer[..count].windows(5).any(|word| word == b"HELLO");
                    let answer = if is_hello { hello } else { other };
                    if stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    url
}

#[test]
fn a_server_that_is_too_old_is_named_so() {
    let before_6 = "-ERR unknown command `HELLO`, with args beginning with: `3`, \r\n";
    Peer::new(&pretender(before_6, "")).wait_down_by("too old");
    let info = "$24\r\nredis_version:6.0.16\r\nok\r\n*1\r\n$6\r\nmaster\r\n";
    Peer::new(&pretender("%1\r\n+proto\r\n:3\r\n", info)).wait_down_by("too old: version 6.0");
}

#[test]
fn a_server_that_speaks_nonsense_or_nothing_is_left_alone() {
    Peer::new(&pretender("HTTP/1.1 400 Bad Request\r\n\r\n", "")).wait_down();
    Peer::new(&pretender("*2147483647\r\n*2147483647\r\n", "")).wait_down_by("within a second");
    Peer::new(&pretender("", "")).wait_down_by("within a second");
    Peer::new("redis://host.invalid").wait_down();
}

#[test]
fn a_server_at_its_maxmemory_refuses_history_and_goes_on_with_the_rest() {
    let server = Server::start(&["--maxmemory-policy", "noeviction"]);
    let mut peer = Peer::up(&server.url());
    peer.subscribe(&room("r"));
    server.ask::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    assert!(matches!(peer.append("r", "a", None), Err(BrokerError::Refused(_))));
    peer.wait_reason("out of memory", true);
    peer.publish(&room("r"), "b").unwrap();
    assert_eq!(peer.read("r", 0, 10, LIMITS), None);
    server.ask::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(peer.append("r", "c", None).unwrap().0.offset, 1);
    peer.wait_reason("out of memory", false);
}

#[test]
fn a_replica_is_refused_until_it_can_be_written_to() {
    let master = Server::start(&[]);
    let replica = Server::start(&["--replicaof", &format!("127.0.0.1 {}", master.port)]);
    let mut peer = Peer::new(&replica.url());
    peer.wait_down_by("read-only replica");
    replica.ask::<()>(&["REPLICAOF", "NO", "ONE"]);
    peer.wait_up();
    peer.append("r", "a", None).unwrap();
    let port = master.port.to_string();
    replica.ask::<()>(&["REPLICAOF", "127.0.0.1", &port]);
    peer.wait_down_by("read-only replica");
}

#[test]
fn foreign_bytes_and_foreign_keys_harm_only_themselves() {
    let server = Server::start(&[]);
    let mut peer = Peer::up(&server.url());
    peer.subscribe(&room("r"));
    let channel = "test:{0}:r:r";
    for bytes in ["", "\u{0}", "\u{f1}", "nonsense"] {
        server.ask::<()>(&["PUBLISH", channel, bytes]);
        let (_, message, position) = peer.message();
        assert_eq!((&message[..], position), (bytes.as_bytes(), None));
    }
    for key in ["test:{0}:m:r", "test:{0}:s:q", "test:{0}:x:r"] {
        server.ask::<()>(&["SET", key, "foreign"]);
    }
    assert!(matches!(peer.append("r", "a", None), Err(BrokerError::Refused(_))));
    assert!(matches!(peer.append("q", "a", None), Err(BrokerError::Refused(_))));
    assert_eq!((peer.read("r", 0, 10, LIMITS), peer.present("r")), (None, None));
    assert_eq!(server.ask::<String>(&["GET", "test:{0}:s:q"]), "foreign");
    peer.append("other", "a", None).unwrap();
    server.ask::<()>(&["SET", "test:{0}:s:q", "foreign"]);
    server.ask::<()>(&["DEL", "test:{0}:s:q"]);
    // What was refused has taken no place.
    assert_eq!(peer.append("q", "a", None).unwrap().0.offset, 1);
    peer.wait_reason("Redis", false);
}

const HOSTILE: &[&str] = &[
    "",
    "\n",
    "a\r\nPUBLISH b c\r\n",
    "{",
    "}",
    "{}",
    "}{",
    "{1}",
    "*",
    "?",
    "[a-z]",
    "\0",
    "a\0b",
    " ",
    "\u{7f}",
    "\u{80}",
    "é",
    "\u{2028}",
    "\u{fffd}",
    "\u{ffff}",
    "\u{10ffff}",
    "𝄞",
    ":",
    "a:b",
    "test:{0}:r:x",
    "../..",
    "\\x00",
    "\"",
    "'",
];

#[test]
fn hostile_names_reach_their_own_room_and_no_other() {
    let server = Server::start(&[]);
    let (mut peer, mut other) = (Peer::up(&server.url()), Peer::up(&server.url()));
    let long = ["x".repeat(255), "{".repeat(255), "\n".repeat(255)];
    let names: Vec<&str> = HOSTILE.iter().copied().chain(long.iter().map(String::as_str)).collect();
    for name in &names {
        other.subscribe(&room(name));
        other.subscribe(&Channel::User((*name).into()));
    }
    for name in &names {
        peer.publish(&room(name), &format!("to {name}")).unwrap();
        assert_eq!(other.message(), (room(name), format!("to {name}").into(), None));
        let position = peer.append(name, name, Some((name, 1000))).unwrap().0;
        assert_eq!(position.offset, 1);
        let message = (*name).to_owned().into();
        assert_eq!(other.message(), (room(name), message, Some(position)));
        assert_eq!(other.read(name, 0, 10, LIMITS).unwrap().entries.len(), 1);
    }
    let keys: Vec<Vec<u8>> = server.ask(&["KEYS", "*"]);
    assert!(keys.iter().all(|key| key.starts_with(b"test:{0}:")));
    assert_eq!(keys.len(), names.len() * 3);
}

#[test]
fn two_prefixes_on_one_server_know_nothing_of_each_other() {
    let server = Server::start(&[]);
    let one = Peer::with_prefix(&server.url(), "one:");
    let mut two = Peer::with_prefix(&server.url(), "two:");
    one.wait_up();
    two.wait_up();
    one.subscribe(&room("r"));
    one.subscribe(&room("end"));
    two.publish(&room("r"), "leak").unwrap();
    two.append("r", "leak", None).unwrap();
    server.ask::<()>(&["PUBLISH", "one:{0}:r:end", "end"]);
    let first = one.wait("anything", |arrival| match arrival {
        Arrival::Message { channel, .. } => Some(channel),
        _ => None,
    });
    assert_eq!(first, room("end"));
    assert!(free_port() > 0);
}
