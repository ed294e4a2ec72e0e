//! The health endpoint, on the port of the WebSocket.

use std::net::Ipv4Addr;

use crate::support::{Client, RawClient, Server, on_every_driver};

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

/// Addresses of this host, but for the one that is used when none is named.
fn addresses() -> impl Iterator<Item = Ipv4Addr> {
    (1..=254).map(|last| Ipv4Addr::new(127, 0, 1, last))
}

/// Requires that who comes from this address learns of the health.
fn expect_health(address: Ipv4Addr, server: &Server) {
    let mut probe = RawClient::connect_from(address, server.address());
    probe.send(REQUEST);
    assert_eq!(probe.read_response().status, 200, "from {address}");
}

#[test]
fn an_address_that_keeps_its_connections_keeps_no_other_from_the_health() {
    crate::support::allow_many_sockets();
    on_every_driver(|bed| {
        let server = bed.server(&[]);
        let mut client = Client::connect(server.address());
        let kept: Vec<_> = (0..1100)
            .map(|_| {
                let mut probe = RawClient::connect(server.address());
                probe.send(REQUEST);
                assert_eq!(probe.read_response().status, 200);
                probe
            })
            .collect();
        addresses().take(20).for_each(|address| expect_health(address, &server));
        // It has lost those that it did not use, and nothing else.
        let mut newest = kept.into_iter().next_back().expect("a connection");
        newest.send(REQUEST);
        assert_eq!(newest.read_response().status, 200);
        client.expect_nothing_more();
    });
}

#[test]
fn peers_that_ask_and_never_read_keep_nobody_from_the_health() {
    crate::support::allow_many_sockets();
    on_every_driver(|bed| {
        let server = bed.server(&[]);
        let mut client = Client::connect(server.address());
        // From so many addresses that each place is taken.
        let mut greedy = Vec::new();
        for address in addresses().take(11) {
            for _ in 0..100 {
                let mut peer = RawClient::connect_from(address, server.address());
                peer.send(&REQUEST.repeat(20));
                greedy.push(peer);
            }
        }
        addresses().skip(20).take(20).for_each(|address| expect_health(address, &server));
        expect_health(Ipv4Addr::LOCALHOST, &server);
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
