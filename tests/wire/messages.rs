//! Messages and control frames that keep the rules, at every size and in every
//! kind of pieces.

use shardcast::proto::frame::Opcode;
use tungstenite::Message;

use crate::support::{Client, Frame, RawClient, masked, on_every_driver_alone, text};

fn whole(opcode: Opcode, payload: &[u8]) -> Frame {
    Frame { fin: true, opcode, payload: payload.to_vec() }
}

#[test]
fn messages_of_every_size_class_come_back_as_they_were_sent() {
    on_every_driver_alone(|bed| {
        let server = bed.server(&[]);
        let mut client = Client::open(server.address(), "/ws/raw");
        for size in [0, 1, 125, 126, 127, 4096, 16_384, 65_535, 65_536, 300_000, 512_000] {
            let bytes: Vec<u8> = (0..251).cycle().take(size).collect();
            client.send(Message::binary(bytes.clone()));
            assert_eq!(client.receive(), Message::binary(bytes));
            let letters: String = ('a'..='z').cycle().take(size).collect();
            client.send(Message::text(letters.clone()));
            assert_eq!(client.receive(), Message::text(letters));
        }
    });
}

#[test]
fn many_messages_in_one_segment_are_answered_in_order() {
    on_every_driver_alone(|bed| {
        let server = bed.server(&[]);
        let mut client = RawClient::open(server.address(), "/ws/raw");
        let all: Vec<u8> = (0..500).flat_map(|number| text(&number.to_string())).collect();
        client.send(&all);
        for number in 0..500 {
            assert_eq!(client.read_frame(), whole(Opcode::Text, number.to_string().as_bytes()));
        }
    });
}

#[test]
fn a_frame_split_at_each_place_is_understood() {
    on_every_driver_alone(|bed| {
        let server = bed.server(&[]);
        let mut client = RawClient::open(server.address(), "/ws/raw");
        // A header of eight bytes, its length in two of them.
        let payload = [b'x'; 130];
        let frame = masked(true, Opcode::Text, &payload);
        for at in 1..frame.len() {
            client.send(&frame[..at]);
            client.send(&frame[at..]);
            assert_eq!(client.read_frame(), whole(Opcode::Text, &payload), "split at {at}");
        }
    });
}

#[test]
fn fragments_are_put_together() {
    on_every_driver_alone(|bed| {
        let server = bed.server(&[]);
        let mut client = RawClient::open(server.address(), "/ws/raw");
        client.send(&masked(false, Opcode::Binary, b"one "));
        client.send(&masked(false, Opcode::Continuation, b""));
        client.send(&masked(false, Opcode::Continuation, b"two "));
        client.send(&masked(true, Opcode::Continuation, b"three"));
        assert_eq!(client.read_frame(), whole(Opcode::Binary, b"one two three"));
    });
}

#[test]
fn a_ping_is_answered_with_its_payload() {
    on_every_driver_alone(|bed| {
        let server = bed.server(&[]);
        let mut client = RawClient::open(server.address(), "/ws/raw");
        for payload in [&b""[..], b"hello", &[0xFF; 125]] {
            client.send(&masked(true, Opcode::Ping, payload));
            assert_eq!(client.read_frame(), whole(Opcode::Pong, payload));
        }
    });
}

#[test]
fn a_ping_between_fragments_is_answered_before_the_message() {
    on_every_driver_alone(|bed| {
        let server = bed.server(&[]);
        let mut client = RawClient::open(server.address(), "/ws/raw");
        client.send(&masked(false, Opcode::Text, b"a"));
        client.send(&masked(true, Opcode::Ping, b"now"));
        assert_eq!(client.read_frame(), whole(Opcode::Pong, b"now"));
        client.send(&masked(true, Opcode::Continuation, b"b"));
        assert_eq!(client.read_frame(), whole(Opcode::Text, b"ab"));
    });
}

#[test]
fn a_pong_that_nobody_asked_for_is_not_answered() {
    on_every_driver_alone(|bed| {
        let server = bed.server(&[]);
        let mut client = RawClient::open_pubsub(server.address());
        client.send(&masked(true, Opcode::Pong, b"unasked"));
        client.expect_alive();
    });
}
