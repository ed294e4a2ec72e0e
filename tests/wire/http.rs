//! Plain HTTP on the port of the WebSocket: what there is besides the health, and
//! what is refused.

use crate::support::{RawClient, on_every_driver_alone};

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

#[test]
fn every_path_below_the_websockets_asks_for_an_upgrade() {
    on_every_driver_alone(|bed| {
        let server = bed.server(&["--path", "/live"]);
        for path in ["/live", "/live/", "/live/pubsub", "/live?token=1"] {
            let mut client = RawClient::connect(server.address());
            client.send(get(path).as_bytes());
            let response = client.read_response();
            assert_eq!(response.status, 426, "{path}");
            assert_eq!(response.header("Upgrade"), Some("websocket"));
            assert_eq!(response.header("Sec-WebSocket-Version"), Some("13"));
            assert_eq!(response.body, "this path speaks WebSocket only\n");
        }
    });
}

#[test]
fn an_unknown_path_is_answered_with_a_sentence() {
    on_every_driver_alone(|bed| {
        let server = bed.server(&[]);
        let mut client = RawClient::connect(server.address());
        client.send(get("/nothing").as_bytes());
        let response = client.read_response();
        assert_eq!((response.status, &*response.body), (404, "there is nothing at this path\n"));
    });
}

#[test]
fn a_large_body_is_refused_with_413_and_the_connection_closed() {
    on_every_driver_alone(|bed| {
        let server = bed.server(&[]);
        let mut client = RawClient::connect(server.address());
        client.send(b"POST /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n");
        let response = client.read_response();
        assert_eq!((response.status, response.header("Connection")), (413, Some("close")));
        client.expect_end();
    });
}

#[test]
fn pipelined_requests_to_different_paths_are_answered_in_order_on_one_connection() {
    on_every_driver_alone(|bed| {
        let server = bed.server(&[]);
        let mut client = RawClient::connect(server.address());
        let paths = ["/health", "/ws", "/nothing", "/health"];
        client.send(paths.map(get).concat().as_bytes());
        let statuses = paths.map(|_| client.read_response().status);
        assert_eq!(statuses, [200, 426, 404, 200]);
        client.send(get("/health").as_bytes());
        assert_eq!(client.read_response().status, 200);
    });
}

#[test]
fn a_client_may_close_its_side_behind_its_request() {
    on_every_driver_alone(|bed| {
        let server = bed.server(&[]);
        for _ in 0..50 {
            let mut client = RawClient::connect(server.address());
            client.send(get("/health").as_bytes());
            client.shut_down();
            assert_eq!(client.read_response().status, 200);
        }
    });
}
