//! The health endpoint, on the port of the WebSocket.

use crate::support::{Client, RawClient, on_every_driver};

const REQUEST: &[u8] = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[test]
fn health_is_told_as_the_guide_writes_it() {
    on_every_driver(|bed| {
        let server = bed.server(&[]);
        let mut client = RawClient::connect(server.address());
        client.send(REQUEST);
        let response = client.read_response();
        assert_eq!(response.status, 200);
        assert_eq!(response.body, r#"{"status":"healthy","clients":0,"rooms":0}"#);
        assert_eq!(response.header("content-type"), Some("application/json"));
    });
}

#[test]
fn health_counts_clients_and_rooms_of_all_shards() {
    on_every_driver(|bed| {
        let server = bed.server(&[]);
        let mut clients: Vec<_> = (0..8).map(|_| Client::connect(server.address())).collect();
        for (index, client) in clients.iter_mut().enumerate() {
            client.subscribe("all");
            client.subscribe(if index % 2 == 0 { "even" } else { "odd" });
        }
        let health = server.health();
        assert_eq!(health["clients"], 8);
        assert_eq!(health["rooms"], 3);
    });
}

#[test]
fn a_connection_for_http_is_kept_for_the_next_request() {
    on_every_driver(|bed| {
        let server = bed.server(&[]);
        let mut client = RawClient::connect(server.address());
        for _ in 0..3 {
            client.send_byte_by_byte(REQUEST);
            assert_eq!(client.read_response().status, 200);
        }
        // Two at once are answered one after the other.
        client.send(&REQUEST.repeat(2));
        assert_eq!(client.read_response().status, 200);
        assert_eq!(client.read_response().status, 200);
    });
}

#[test]
fn another_method_is_refused() {
    on_every_driver(|bed| {
        let server = bed.server(&[]);
        let mut client = RawClient::connect(server.address());
        client.send(b"DELETE /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let response = client.read_response();
        assert_eq!((response.status, response.header("allow")), (405, Some("GET,HEAD")));
        // It is the end neither of the connection nor of the health.
        client.send(REQUEST);
        assert_eq!(client.read_response().status, 200);
    });
}

#[test]
fn too_many_connections_for_http_are_refused_and_clients_go_on() {
    crate::support::allow_many_sockets();
    on_every_driver(|bed| {
        let server = bed.server(&[]);
        let mut client = Client::connect(server.address());
        let mut refused = 0;
        let _kept: Vec<_> = (0..1100)
            .map(|_| {
                let mut probe = RawClient::connect(server.address());
                probe.send(REQUEST);
                refused += usize::from(probe.read_response().status == 503);
                probe
            })
            .collect();
        assert!(refused > 0, "none refused");
        client.expect_nothing_more();
    });
}

#[test]
fn a_connection_for_http_is_no_client() {
    on_every_driver(|bed| {
        let server = bed.server(&[]);
        let mut client = RawClient::connect(server.address());
        client.send(REQUEST);
        assert_eq!(client.read_response().status, 200);
        assert_eq!(server.health()["clients"], 0);
    });
}

#[test]
fn health_is_told_while_the_server_is_full() {
    on_every_driver(|bed| {
        let server = bed.server(&["--max-connections", "1"]);
        let mut client = Client::connect(server.address());
        assert_eq!(server.health()["clients"], 1);
        client.expect_nothing_more();
    });
}
