//! A master and its replica that sentinels watch.

use crate::{
    load::Load,
    node::Node,
    peer::Peer,
    server::{Directory, Server, until},
};

/// A master, a replica and three sentinels.
struct Watched {
    servers: Vec<Server>,
    sentinels: Vec<Server>,
}

impl Watched {
    fn start() -> Self {
        let settings = ["--appendonly", "yes", "--appendfsync", "always"];
        let master = Server::start(&settings);
        let of = format!("127.0.0.1 {}", master.port);
        let replica = Server::start(&[&settings[..], &["--replicaof", &of]].concat());
        let sentinels = (0..3)
            .map(|_| {
                let directory = Directory::new();
                let conf = format!(
                    "sentinel monitor main {of} 2\n\
                     sentinel down-after-milliseconds main 1000\n\
                     sentinel failover-timeout main 3000\n",
                );
                std::fs::write(directory.path().join("sentinel.conf"), conf).unwrap();
                Server::start_in(directory, &["--sentinel-file"])
            })
            .collect();
        let watched = Self { servers: vec![master, replica], sentinels };
        for sentinel in &watched.sentinels {
            until("sentinels that know each other and the replica", || {
                let info: Vec<String> = sentinel.ask(&["SENTINEL", "MASTER", "main"]);
                let is = |name: &str, value: &str| {
                    info.chunks(2).any(|pair| pair[0] == name && pair[1] == value)
                };
                (is("num-slaves", "1") && is("num-other-sentinels", "2")).then_some(())
            });
        }
        until("a replica that follows", || {
            let info: String = watched.servers[1].ask(&["INFO", "replication"]);
            info.contains("master_link_status:up").then_some(())
        });
        watched
    }

    fn url(&self) -> String {
        let all: Vec<String> =
            self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port)).collect();
        format!("redis+sentinel://{}/main", all.join(","))
    }
}

#[test]
fn after_a_failover_nodes_go_on_with_the_new_master() {
    let mut watched = Watched::start();
    let load = Load::start(&watched.url(), 2);
    watched.servers[0].kill();
    load.nodes.iter().for_each(Node::wait_not_ready);
    load.goes_on();
    // The old master comes back as a replica, and nobody goes to it.
    watched.servers[0].restart();
    until("a replica again", || {
        let role: redis::Value = watched.servers[0].ask(&["ROLE"]);
        format!("{role:?}").contains("slave").then_some(())
    });
    load.goes_on();
    load.check_but_history();
}

#[test]
fn after_a_failover_by_command_the_old_master_is_left_at_once() {
    let watched = Watched::start();
    let load = Load::start(&watched.url(), 2);
    let before = load.nodes[0].counter("reconnects");
    watched.sentinels[0].ask::<()>(&["SENTINEL", "FAILOVER", "main"]);
    for node in load.nodes.iter() {
        until("the new master", || (node.counter("reconnects") > before).then_some(()));
    }
    load.goes_on();
    load.check_but_history();
}

#[test]
fn a_history_that_a_failover_cut_short_is_another_one() {
    let mut watched = Watched::start();
    let mut peer = Peer::up(&watched.url());
    let mut append =
        |message: &str| until("a server that appends", || peer.append("r", message, None).ok()).0;
    let before = append("replicated");
    until("a replica that has it", || {
        let length: u64 = watched.servers[1].ask(&["DBSIZE"]);
        (length > 0).then_some(())
    });
    // What the master confirms now never reaches the replica.
    watched.servers[1].pause();
    let _: u64 = watched.servers[0].ask(&["CLIENT", "KILL", "TYPE", "replica"]);
    let lost = append("lost");
    assert_eq!((lost.epoch, lost.offset), (before.epoch, before.offset + 1));
    watched.servers[0].kill();
    watched.servers[1].resume();
    let after = append("after it");
    assert_eq!(after.offset, lost.offset);
    assert_ne!(after.epoch, lost.epoch, "an offset has come twice");
    assert_eq!(append("and on").epoch, after.epoch);
}

#[test]
fn a_service_that_no_sentinel_knows_is_named() {
    let watched = Watched::start();
    let url = watched.url().replace("/main", "/other");
    Peer::new(&url).wait_down_by("knows no service \"other\"");
}
