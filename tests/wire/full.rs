//! A full server: whoever comes too many is told so, and the health is told,
//! whatever those do that came too many before.

use std::process::Command;

use crate::support::{Bed, Client, RawClient, Server, on_every_driver, program};

const FULL: &str = "server is at maximum capacity";

/// More than may be refused at once.
const SILENT: usize = 300;

/// The server's program as one that may open so few files.
fn with_few_descriptors(flags: &[&str]) -> Command {
    let plain = program(flags);
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 160 && exec \"$0\" \"$@\""]);
    command.arg(plain.get_program()).args(plain.get_args());
    command
}

/// Requires that `server`, which is full, says so to who comes, and its health too.
fn expect_told(server: &Server) {
    let mut surplus = Client::open(server.address(), "/ws/pubsub");
    assert_eq!(surplus.hear()["error"], FULL);
    assert_eq!(surplus.expect_close(1013), FULL);
    assert_eq!(server.health()["status"], "healthy");
}

#[test]
fn silent_connections_keep_nobody_from_being_told_that_the_server_is_full() {
    on_every_driver(|bed| {
        // Where nobody is waited for in vain: a place that is held stays held.
        let server = bed.server(&["--max-connections", "1", "--close-timeout", "1h"]);
        let mut client = Client::connect(server.address());
        let _silent: Vec<_> = (0..SILENT).map(|_| RawClient::connect(server.address())).collect();
        for _ in 0..4 {
            expect_told(&server);
        }
        client.expect_nothing_more();
    });
}

#[test]
fn silent_connections_do_not_use_up_the_descriptors_of_a_full_server() {
    on_every_driver(|Bed { driver, shards }| {
        let shards = shards.to_string();
        let flags = ["--driver", driver, "--shards", &shards, "--close-timeout", "1h"];
        let server = Server::start_by(with_few_descriptors, &flags);
        let mut clients = Vec::new();
        loop {
            let mut client = Client::open(server.address(), "/ws/pubsub");
            if client.hear()["type"] == "error" {
                break;
            }
            clients.push(client);
        }
        let _silent: Vec<_> = (0..SILENT).map(|_| RawClient::connect(server.address())).collect();
        for _ in 0..4 {
            expect_told(&server);
        }
        clients.iter_mut().for_each(Client::expect_nothing_more);
    });
}
