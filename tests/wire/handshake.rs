//! The opening handshake: what is accepted, what is refused and in which words.

use tungstenite::Message;

use crate::support::{Bed, RawClient, Response, on_every_driver_alone, request, text};

/// What a fresh server answers to `bytes`; it must close afterwards.
fn refusal(bed: Bed, flags: &[&str], bytes: &[u8]) -> Response {
    let server = bed.server(flags);
    let mut client = RawClient::connect(server.address());
    client.send(bytes);
    let response = client.read_response();
    client.expect_end();
    response
}

/// A right handshake on `/ws`, one line of it replaced.
fn request_with(line: &str, replacement: &str) -> String {
    let right = request("/ws", "");
    assert!(right.contains(line), "{line:?}");
    right.replace(line, replacement)
}

#[test]
fn the_key_is_answered_as_the_rfc_says() {
    on_every_driver_alone(|bed| {
        let server = bed.server(&[]);
        let mut client = RawClient::connect(server.address());
        client.send(request("/ws", "").as_bytes());
        let response = client.read_response();
        assert_eq!(response.status, 101);
        // The example of RFC 6455 section 1.3.
        assert_eq!(response.header("Sec-WebSocket-Accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert_eq!(response.header("Upgrade"), Some("websocket"));
        assert_eq!(response.header("Connection"), Some("Upgrade"));
        assert_eq!(response.header("Sec-WebSocket-Protocol"), None);
        assert_eq!(response.header("Sec-WebSocket-Extensions"), None);
    });
}

#[test]
fn another_method_is_refused_with_405() {
    on_every_driver_alone(|bed| {
        let response = refusal(bed, &[], request_with("GET", "POST").as_bytes());
        assert_eq!((response.status, response.header("Allow")), (405, Some("GET")));
    });
}

#[test]
fn a_missing_or_wrong_header_is_refused_with_400_and_named() {
    const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let cases = [
        ("Host: localhost\r\n", "", "the Host header is missing"),
        ("Host: localhost\r\n", "Host: a\r\nHost: b\r\n", "there is more than one Host header"),
        ("Connection: Upgrade\r\n", "", "the Connection header must contain Upgrade"),
        ("Connection: Upgrade", "Connection: close", "the Connection header must contain Upgrade"),
        (KEY, "", "the Sec-WebSocket-Key header is missing"),
        (KEY, &KEY.repeat(2), "there is more than one Sec-WebSocket-Key header"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=", "Sec-WebSocket-Key must be 16 bytes in base64"),
        ("HTTP/1.1", "HTTP/1.0", "the request must be HTTP/1.1"),
        ("Host: localhost", "Ho st: localhost", "a header field is not valid HTTP/1.1"),
        ("GET /ws HTTP/1.1", "\u{1}", "the request line is not valid HTTP/1.1"),
    ];
    on_every_driver_alone(|bed| {
        let server = bed.server(&[]);
        for (line, replacement, words) in cases {
            let mut client = RawClient::connect(server.address());
            client.send(request_with(line, replacement).as_bytes());
            let response = client.read_response();
            assert_eq!((response.status, response.body.trim_end()), (400, words));
            client.expect_end();
        }
    });
}

#[test]
fn another_version_is_refused_with_426_and_told_the_right_one() {
    on_every_driver_alone(|bed| {
        for version in ["12", "14", "13, 8", ""] {
            let line = format!("Sec-WebSocket-Version: {version}");
            let request = request_with("Sec-WebSocket-Version: 13", &line);
            let response = refusal(bed, &[], request.as_bytes());
            assert_eq!(response.status, 426, "{version:?}");
            assert_eq!(response.header("Sec-WebSocket-Version"), Some("13"));
        }
    });
}

#[test]
fn a_head_that_is_too_long_is_refused_with_431_before_it_ends() {
    let long = format!("GET /ws HTTP/1.1\r\nHost: localhost\r\nX: {}", "x".repeat(9000));
    on_every_driver_alone(|bed| {
        assert_eq!(refusal(bed, &[], long.as_bytes()).status, 431);
    });
}

#[test]
fn too_many_header_fields_are_refused_with_431() {
    let many = request("/ws", &"X: y\r\n".repeat(80));
    on_every_driver_alone(|bed| assert_eq!(refusal(bed, &[], many.as_bytes()).status, 431));
}

#[test]
fn an_unknown_path_is_answered_with_404() {
    on_every_driver_alone(|bed| {
        let server = bed.server(&[]);
        for path in ["/", "/wss", "/ws/nonsense", "/ws/pubsub/more", "/nonsense"] {
            for request in [
                request(path, ""),
                format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
            ] {
                // Whether `/` without an upgrade has a page is the product's.
                if path == "/" && !request.contains("Upgrade") {
                    continue;
                }
                let mut client = RawClient::connect(server.address());
                client.send(request.as_bytes());
                assert_eq!(client.read_response().status, 404, "{request}");
            }
        }
    });
}

#[test]
fn a_plain_request_to_the_upgrade_path_is_told_to_upgrade_with_426() {
    on_every_driver_alone(|bed| {
        let plain = "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let response = refusal(bed, &[], plain.as_bytes());
        assert_eq!(response.status, 426);
        assert_eq!(response.header("Upgrade"), Some("websocket"));
        assert_eq!(response.header("Sec-WebSocket-Version"), Some("13"));
    });
}

#[test]
fn a_slow_handshake_is_answered_with_408() {
    on_every_driver_alone(|bed| {
        let flags = ["--handshake-timeout", "200ms"];
        for begun in ["", "GET /ws HT", "GET /ws HTTP/1.1\r\nHost: localhost\r\n"] {
            assert_eq!(refusal(bed, &flags, begun.as_bytes()).status, 408, "{begun:?}");
        }
    });
}

#[test]
fn a_handshake_that_trickles_in_is_cut_off_at_its_deadline() {
    on_every_driver_alone(|bed| {
        let server = bed.server(&["--handshake-timeout", "300ms"]);
        let mut client = RawClient::connect(server.address());
        let mut other = client.stream().try_clone().expect("a second handle");
        let trickle = std::thread::spawn(move || {
            use std::io::Write;
            // Ends once the server has closed.
            while other.write_all(b"x").is_ok() {
                std::thread::park_timeout(std::time::Duration::from_millis(5));
            }
        });
        assert_eq!(client.read_response().status, 408);
        drop(client);
        drop(server);
        trickle.join().expect("an end of the trickle");
    });
}

#[test]
fn a_handshake_byte_by_byte_is_accepted() {
    on_every_driver_alone(|bed| {
        let server = bed.server(&[]);
        let mut client = RawClient::connect(server.address());
        client.send_byte_by_byte(request("/ws/pubsub", "").as_bytes());
        assert_eq!(client.read_response().status, 101);
        assert_eq!(client.hear()["type"], "connected");
        client.send_byte_by_byte(&text(r#"{"type":"ping"}"#));
        assert_eq!(client.hear()["type"], "pong");
    });
}

#[test]
fn frames_sent_with_the_handshake_are_heard() {
    on_every_driver_alone(|bed| {
        let server = bed.server(&[]);
        let mut client = RawClient::connect(server.address());
        let mut bytes = request("/ws/pubsub", "").into_bytes();
        // Half of the second frame comes later.
        let ping = text(r#"{"type":"ping"}"#);
        bytes.extend([&ping[..], &ping[..7]].concat());
        client.send(&bytes);
        assert_eq!(client.read_response().status, 101);
        assert_eq!(client.hear()["type"], "connected");
        assert_eq!(client.hear()["type"], "pong");
        client.send(&ping[7..]);
        assert_eq!(client.hear()["type"], "pong");
    });
}

#[test]
fn the_first_offered_subprotocol_that_is_known_is_chosen() {
    on_every_driver_alone(|bed| {
        let server = bed.server(&[]);
        for (path, offer, chosen, greeted) in [
            ("/ws", "shardcast.raw", Some("shardcast.raw"), false),
            ("/ws", "graphql-ws, shardcast.raw, shardcast.pubsub", Some("shardcast.raw"), false),
            ("/ws", "shardcast.pubsub, shardcast.raw", Some("shardcast.pubsub"), true),
            ("/ws", "graphql-ws", None, true),
            // The path stands above the offer.
            ("/ws/pubsub", "shardcast.raw", None, true),
            ("/ws/raw", "shardcast.pubsub", None, false),
            ("/ws/raw", "shardcast.pubsub, shardcast.raw", Some("shardcast.raw"), false),
        ] {
            let mut client = RawClient::connect(server.address());
            let offer = format!("Sec-WebSocket-Protocol: {offer}\r\n");
            client.send(request(path, &offer).as_bytes());
            let response = client.read_response();
            assert_eq!(response.header("Sec-WebSocket-Protocol"), chosen, "{path} {offer}");
            assert_greeted(&mut client, greeted);
        }
    });
}

/// Requires the greeting of `pubsub`, or else the echo of `raw`.
fn assert_greeted(client: &mut RawClient, greeted: bool) {
    if greeted {
        assert_eq!(client.hear()["type"], "connected");
    } else {
        client.send(&text("echo"));
        assert_eq!(client.read_frame().payload, b"echo");
    }
}

#[test]
fn the_path_names_the_dialect_and_without_a_name_the_flag_does() {
    on_every_driver_alone(|bed| {
        for (dialect, path, greeted) in [
            ("pubsub", "/ws", true),
            ("pubsub", "/ws?token=x", true),
            ("pubsub", "/ws/raw", false),
            ("raw", "/ws", false),
            ("raw", "/ws/pubsub", true),
        ] {
            let server = bed.server(&["--dialect", dialect]);
            let mut client = RawClient::open(server.address(), path);
            assert_greeted(&mut client, greeted);
        }
    });
}

#[test]
fn an_independent_client_shakes_hands() {
    on_every_driver_alone(|bed| {
        let server = bed.server(&[]);
        let mut client = crate::support::Client::open(server.address(), "/ws/raw");
        client.send(Message::text("hello"));
        assert_eq!(client.receive(), Message::text("hello"));
        client.close();
    });
}
