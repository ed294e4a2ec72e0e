//! Connections that another listener accepted, on real sockets and every driver.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::mpsc::channel,
};

use shardcast::{Builder, Disconnect, Limits, SendError};

use super::bed::Bed;
use crate::support::{GUARD, drivers::engine_drivers, wait_until};

const HEAD: &[u8] = b"GET /ws/raw HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
/// A masked text frame of two bytes, and the one that answers it.
const FRAME: &[u8] = b"\x81\x82\0\0\0\0hi";
const ECHO: &[u8] = b"\x81\x02hi";

fn echo(builder: Builder) -> Builder {
    builder.on_text(|conn, text| {
        conn.send_text(text);
        Ok(())
    })
}

fn on_every_driver(body: impl Fn(&dyn Fn(Builder) -> Builder)) {
    for driver in engine_drivers() {
        body(&|builder| echo(builder).driver(driver));
    }
}

/// A client, and the server's end of its connection.
fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let client = TcpStream::connect(listener.local_addr().expect("a port")).expect("a listener");
    client.set_read_timeout(Some(GUARD)).expect("an option");
    (client, listener.accept().expect("a connection").0)
}

/// Requires the 101 and then the echo.
fn expect_echo(client: &mut TcpStream) {
    let mut received = Vec::new();
    while !received.ends_with(ECHO) {
        let mut buffer = [0; 1024];
        let len = client.read(&mut buffer).expect("an answer");
        assert_ne!(len, 0, "{}", String::from_utf8_lossy(&received));
        received.extend_from_slice(&buffer[..len]);
    }
    assert!(received.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&received));
}

#[test]
fn an_adopted_socket_is_served_whatever_part_of_it_was_read_before() {
    on_every_driver(|configure| {
        let bed = Bed::start(2, configure);
        let all = [HEAD, FRAME].concat();
        for read in [0, 1, HEAD.len() - 1, HEAD.len(), HEAD.len() + 3, all.len()] {
            let (mut client, socket) = pair();
            let (unread, rest) = all.split_at(read);
            bed.handle.adopt(socket, unread.to_vec()).expect("a running engine");
            client.write_all(rest).expect("an engine that reads");
            expect_echo(&mut client);
            client.write_all(FRAME).expect("an engine that reads");
            let mut echo = [0; ECHO.len()];
            client.read_exact(&mut echo).expect("an echo");
            assert_eq!(echo, ECHO);
        }
    });
}

#[test]
fn adopted_sockets_are_spread_over_the_shards() {
    on_every_driver(|configure| {
        let bed = Bed::start(2, configure);
        let mut clients: Vec<_> = (0..4)
            .map(|_| {
                let (client, socket) = pair();
                bed.handle.adopt(socket, [HEAD, FRAME].concat()).expect("a running engine");
                client
            })
            .collect();
        clients.iter_mut().for_each(expect_echo);
        let known = bed.handle.connections().wait().expect("an answer");
        let on_first = known.iter().filter(|info| info.id.shard() == 0).count();
        assert_eq!((known.len(), on_first), (4, 2));
    });
}

#[test]
fn an_adopted_socket_counts_for_its_address_until_it_is_closed() {
    on_every_driver(|configure| {
        let limits = Limits { connections_per_address: 1, ..Limits::default() };
        let (sender, ended) = channel();
        let bed = Bed::start(1, |builder| {
            configure(builder).limits(limits.clone()).on_disconnect(move |_, why: &Disconnect| {
                drop(sender.send(why.clone()));
            })
        });
        let (mut first, socket) = pair();
        bed.handle.adopt(socket, [HEAD, FRAME].concat()).expect("a running engine");
        expect_echo(&mut first);
        let (mut second, socket) = pair();
        bed.handle.adopt(socket, HEAD.to_vec()).expect("a running engine");
        assert_eq!(second.read(&mut [0; 64]).expect("the end"), 0, "it should be closed");
        drop(first);
        ended.recv_timeout(GUARD).expect("an end");
        wait_until("its place is free", || {
            let (mut third, socket) = pair();
            bed.handle.adopt(socket, HEAD.to_vec()).expect("a running engine");
            third.read(&mut [0; 64]).is_ok_and(|len| len > 0)
        });
    });
}

#[test]
fn an_adopted_socket_whose_peer_has_left_does_no_harm() {
    on_every_driver(|configure| {
        let bed = Bed::start(1, configure);
        for unread in [&b""[..], HEAD] {
            let (client, socket) = pair();
            client.shutdown(Shutdown::Both).expect("a connection");
            drop(client);
            bed.handle.adopt(socket, unread.to_vec()).expect("a running engine");
        }
        let (mut client, socket) = pair();
        bed.handle.adopt(socket, [HEAD, FRAME].concat()).expect("a running engine");
        expect_echo(&mut client);
    });
}

#[test]
fn after_the_end_nothing_is_adopted() {
    let bed = Bed::start(1, echo);
    let handle = bed.handle.clone();
    bed.stop();
    let (mut client, socket) = pair();
    assert_eq!(handle.adopt(socket, HEAD.to_vec()), Err(SendError::Ended));
    assert_eq!(client.read(&mut [0; 64]).expect("the end"), 0);
}

#[test]
fn a_plain_request_may_be_handed_out_and_its_connection_come_back_for_an_upgrade() {
    on_every_driver(|configure| {
        let (sender, handed_out) = channel::<(TcpStream, Vec<u8>)>();
        let bed = Bed::start(2, |builder| {
            configure(builder).hand_off_http(move |socket, read| {
                drop(sender.send((socket, read)));
            })
        });
        let address: SocketAddr = bed.address;
        let mut client = TcpStream::connect(address).expect("a listener");
        client.set_read_timeout(Some(GUARD)).expect("an option");
        for _ in 0..3 {
            client.write_all(b"GET /other HTTP/1.1\r\nHost: a\r\n\r\n").expect("a reader");
            let (socket, read) = handed_out.recv_timeout(GUARD).expect("a hand-off");
            assert_eq!(read, b"GET /other HTTP/1.1\r\nHost: a\r\n\r\n");
            bed.handle.adopt(socket, Vec::new()).expect("a running engine");
        }
        client.write_all(&[HEAD, FRAME].concat()).expect("a reader");
        expect_echo(&mut client);
    });
}
