//! The HTTP plane beside an engine whose only shard hangs in a handler.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    sync::{Mutex, mpsc::channel},
    thread,
};

use socket2::{Domain, Socket, Type};
use tokio::sync::{oneshot, watch};

use super::*;
use crate::{
    engine::Limits,
    server::{
        answers::Phase,
        hand_offs::{Bounds, hand_offs},
        http::Plane,
    },
    shard::{DriverKind, Engine},
};

const BOUNDS: Bounds =
    Bounds { connections: 16, hand_offs: 16, per_address: 16, ipv6_prefix_bits: 64 };

/// Far above what anything here takes, but for what waits for ever.
const GUARD: Duration = Duration::from_secs(20);

const UPGRADE: &[u8] = b"GET /ws/raw HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

const HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

fn connect(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(GUARD)).unwrap();
    socket.write_all(bytes).unwrap();
    socket
}

/// What comes until `end` has come, or until the end.
fn read_until(mut socket: &TcpStream, end: &[u8]) -> String {
    let mut received = Vec::new();
    while !received.windows(end.len()).any(|window| window == end) {
        let mut buffer = [0; 1024];
        match socket.read(&mut buffer).unwrap() {
            0 => break,
            len => received.extend_from_slice(&buffer[..len]),
        }
    }
    String::from_utf8_lossy(&received).into_owned()
}

/// From another address of this host than all others here.
fn health_of_a_stranger(address: SocketAddr) -> String {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 2], 0)).into()).unwrap();
    socket.set_read_timeout(Some(GUARD)).unwrap();
    socket.connect(&address.into()).unwrap();
    let mut socket = TcpStream::from(socket);
    socket.write_all(HEALTH).unwrap();
    read_until(&socket, b"}")
}

fn health(address: SocketAddr) -> String {
    read_until(&connect(address, HEALTH), b"}")
}

/// Serves HTTP beside an engine on a thread of its own until it is told to end.
fn serve(driver: DriverKind, body: impl FnOnce(SocketAddr, &dyn Fn())) {
    let (entered, has_entered) = channel();
    let (go, may_go) = channel::<()>();
    let may_go = Mutex::new(may_go);
    let (hand_offs, mut arrivals) = hand_offs(BOUNDS);
    let engine = Engine::builder()
        .listen("127.0.0.1:0")
        .driver(driver)
        .shards(1)
        .pin(false)
        .on_text(move |conn, text| {
            entered.send(()).unwrap();
            // Ends when the test lets go.
            let _ = may_go.lock().unwrap().recv();
            conn.send_text(text);
            Ok(())
        })
        .hand_off_http_by_turn(move |requests| hand_offs.push(requests))
        .build()
        .unwrap();
    let address = engine.local_addr();
    let listeners = engine.clone_listeners().unwrap();
    let running = engine.start().unwrap();
    let (handle, check) = (running.handle(), running.health_check());
    let (end, mut ended) = oneshot::channel::<()>();
    let control = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let (_phase, phases) = watch::channel(Phase::Serving);
            let limits = Limits::default();
            let plane = Plane::new(handle, check.clone(), "/ws", &limits, BOUNDS, phases, None);
            let standby = Standby::new(listeners, check).unwrap();
            let mut looks = tokio::time::interval(INTERVAL);
            loop {
                tokio::select! {
                    _ = &mut ended => break,
                    arrived = arrivals.next() => {
                        for one in arrived {
                            plane.serve(one);
                        }
                    }
                    _ = looks.tick() => standby.accept(|socket| plane.serve_new(socket)),
                }
            }
        });
    });
    let hang = connect(address, &[UPGRADE, b"\x81\x82\0\0\0\0hi"].concat());
    has_entered.recv().unwrap();
    body(address, &|| {
        let _ = go.send(());
    });
    drop(go);
    assert!(read_until(&hang, b"hi").ends_with("hi"));
    drop(hang);
    running.handle().shutdown();
    running.join().unwrap();
    end.send(()).unwrap();
    control.join().unwrap();
}

#[test]
fn the_health_is_told_while_the_only_shard_hangs_and_says_which_it_is() {
    for driver in [DriverKind::Epoll, DriverKind::Uring] {
        serve(driver, |address, go| {
            let unhealthy = loop {
                let response = health(address);
                if !response.starts_with("HTTP/1.1 200 ") {
                    break response;
                }
            };
            assert!(unhealthy.starts_with("HTTP/1.1 503 "), "{unhealthy}");
            let body = unhealthy.split("\r\n\r\n").nth(1).unwrap_or_default();
            let start = r#"{"status":"unhealthy","clients":"#;
            let reason = r#""reason":"shard 0 has not turned for 1."#;
            assert!(body.starts_with(start) && body.contains(reason), "{body}");
            go();
            while !health(address).starts_with("HTTP/1.1 200 ") {}
        });
    }
}

#[test]
fn an_upgrade_that_was_accepted_for_a_shard_that_hangs_is_answered_when_it_turns() {
    for driver in [DriverKind::Epoll, DriverKind::Uring] {
        serve(driver, |address, go| {
            // Once this is answered, what comes is accepted by the standby.
            health(address);
            let client = connect(address, UPGRADE);
            health(address);
            go();
            let response = read_until(&client, b"\r\n\r\n");
            assert!(response.starts_with("HTTP/1.1 101 "), "{response}");
        });
    }
}

#[test]
fn nobody_is_cut_off_when_more_come_from_one_address_than_it_has_places_for() {
    for driver in [DriverKind::Epoll, DriverKind::Uring] {
        serve(driver, |address, go| {
            let mut clients: Vec<_> = (0..12).map(|_| connect(address, b"")).collect();
            // Once this is answered, all before it have been accepted.
            health_of_a_stranger(address);
            go();
            for client in &mut clients {
                client.write_all(UPGRADE).unwrap();
                let response = read_until(client, b"\r\n\r\n");
                assert!(response.starts_with("HTTP/1.1 101 "), "{response}");
            }
        });
    }
}
