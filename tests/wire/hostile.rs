//! Peers that mean harm: floods, half connections, announced but unsent bytes.

use std::thread;

use shardcast::proto::frame::Opcode;

use crate::support::{
    Client, RawClient, allow_many_sockets, masked, on_every_driver, on_every_driver_alone, request,
    text,
};

const MIB: u64 = 1024 * 1024;

#[test]
fn a_thousand_half_finished_handshakes_do_not_stop_others() {
    allow_many_sockets();
    on_every_driver(|bed| {
        let server = bed.server(&[]);
        let half = &request("/ws", "")[..40];
        let waiting: Vec<_> = (0..1000)
            .map(|_| {
                let mut client = RawClient::connect(server.address());
                client.send(half.as_bytes());
                client
            })
            .collect();
        let mut client = Client::connect(server.address());
        client.subscribe("chat");
        client.expect_nothing_more();
        drop(waiting);
    });
}

#[test]
fn a_thousand_connections_that_are_reset_leave_nothing_behind() {
    on_every_driver(|bed| {
        let server = bed.server(&[]);
        for round in 0..1000 {
            let mut client = RawClient::connect(server.address());
            if round % 3 > 0 {
                client.send(request("/ws", "").as_bytes());
            }
            if round % 3 > 1 {
                assert_eq!(client.read_response().status, 101);
            }
            // Unread bytes and no lingering: a reset.
            client.reset();
        }
        server.wait_for_clients(0);
        assert_eq!(server.health()["rooms"], 0);
    });
}

#[test]
fn a_flood_of_pings_is_answered_and_others_go_on() {
    on_every_driver(|bed| {
        let server = bed.server(&[]);
        let mut others: Vec<_> = (0..4).map(|_| Client::connect(server.address())).collect();
        let mut flood = RawClient::open(server.address(), "/ws/raw");
        let mut sender = flood.stream().try_clone().expect("a second handle");
        let flooding = thread::spawn(move || {
            use std::io::Write;
            for number in 0..20_000_u32 {
                let ping = masked(true, Opcode::Ping, &number.to_be_bytes());
                sender.write_all(&ping).expect("a server that reads");
            }
        });
        for _ in 0..20 {
            others.iter_mut().for_each(Client::expect_nothing_more);
        }
        // Pongs may be left out, but not the newest one, and none comes twice or
        // out of order (RFC 6455 section 5.5.3).
        let mut last = None;
        while last != Some(19_999) {
            let pong = flood.read_frame();
            assert_eq!(pong.opcode, Opcode::Pong);
            let number = u32::from_be_bytes(pong.payload.try_into().expect("four bytes"));
            assert!(last.is_none_or(|last| last < number), "{number} after {last:?}");
            last = Some(number);
        }
        flooding.join().expect("all pings sent");
    });
}

#[test]
fn memory_follows_what_arrived_and_not_what_was_announced() {
    on_every_driver_alone(|bed| {
        let server = bed.server(&["--max-message-size", "4194304"]);
        let before = server.resident_bytes();
        let announced = masked(true, Opcode::Binary, &vec![0; 4 << 20]);
        let mut waiting: Vec<_> = (0..200)
            .map(|_| {
                let mut client = RawClient::open(server.address(), "/ws/raw");
                client.send(&announced[..1000]);
                client
            })
            .collect();
        // Each was read up to here.
        for client in &mut waiting {
            client.send(&[0; 1000]);
        }
        server.wait_for_clients(200);
        let grown = server.resident_bytes().saturating_sub(before);
        assert!(grown < 64 * MIB, "{grown} bytes for 200 announcements of 4 MiB");
    });
}

#[test]
fn idle_connections_hold_no_buffers() {
    allow_many_sockets();
    on_every_driver_alone(|bed| {
        let server = bed.server(&[]);
        let before = server.resident_bytes();
        let mut clients: Vec<_> =
            (0..1000).map(|_| RawClient::open_pubsub(server.address())).collect();
        for client in &mut clients {
            client.send(&text(&format!(r#"{{"type":"x","data":"{}"}}"#, "x".repeat(30_000))));
            assert_eq!(client.hear()["type"], "error");
        }
        let grown = server.resident_bytes().saturating_sub(before);
        assert!(grown < 16 * MIB, "{grown} bytes for 1000 idle connections");
    });
}

#[test]
fn bytes_that_are_no_http_are_refused_and_others_go_on() {
    on_every_driver(|bed| {
        let server = bed.server(&["--handshake-timeout", "200ms"]);
        let mut other = Client::connect(server.address());
        // The beginning of a TLS handshake, and nonsense.
        for bytes in [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], b"\r\n\r\n\0\0\n\n"] {
            let mut client = RawClient::connect(server.address());
            client.send(bytes);
            let status = client.read_response().status;
            assert!(status == 400 || status == 408, "{status}");
            client.expect_end();
        }
        other.expect_nothing_more();
    });
}
