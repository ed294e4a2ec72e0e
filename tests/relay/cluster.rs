//! Three masters with sharded channels.

use std::collections::BTreeSet;

use shardcast::relay::broker::{Arrival, Channel};

use crate::{
    load::Load,
    node::Node,
    peer::{LIMITS, Peer, room},
    server::{Server, command, until},
};

struct Cluster {
    servers: Vec<Server>,
}

impl Cluster {
    /// Three masters, each with so many replicas.
    fn start(replicas: usize) -> Self {
        let settings = [
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            "1000",
            "--cluster-replica-validity-factor",
            "0",
            "--appendonly",
            "yes",
            "--repl-diskless-sync-delay",
            "0",
        ];
        let count = 3 * (1 + replicas);
        let cluster = Self { servers: (0..count).map(|_| Server::start(&settings)).collect() };
        let bounds = [0, 5461, 10_923, 16_384];
        for (at, server) in cluster.servers[..3].iter().enumerate() {
            let (first, last) = (bounds[at].to_string(), (bounds[at + 1] - 1).to_string());
            server.ask::<()>(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]);
            server.ask::<()>(&["CLUSTER", "SET-CONFIG-EPOCH", &(at + 1).to_string()]);
        }
        for server in &cluster.servers[1..] {
            let port = cluster.servers[0].port.to_string();
            server.ask::<()>(&["CLUSTER", "MEET", "127.0.0.1", &port]);
        }
        cluster.wait(count, "cluster_known_nodes:");
        for (at, replica) in cluster.servers[3..].iter().enumerate() {
            let id: String = cluster.servers[at % 3].ask(&["CLUSTER", "MYID"]);
            until("a replica", || {
                let mut connection = replica.connection();
                command(&["CLUSTER", "REPLICATE", &id]).query::<()>(&mut connection).ok()
            });
        }
        cluster.wait_ok();
        for replica in &cluster.servers[3..] {
            until("a replica that follows", || {
                let info: String = replica.ask(&["INFO", "replication"]);
                info.contains("master_link_status:up").then_some(())
            });
        }
        cluster
    }

    fn wait(&self, count: usize, name: &str) {
        for server in &self.servers {
            until("nodes that know each other", || {
                let info: String = server.ask(&["CLUSTER", "INFO"]);
                info.contains(&format!("{name}{count}\r\n")).then_some(())
            });
        }
    }

    fn wait_ok(&self) {
        for server in &self.servers {
            until("a cluster that serves", || {
                let info: String = server.ask(&["CLUSTER", "INFO"]);
                info.contains("cluster_state:ok").then_some(())
            });
        }
    }

    fn url(&self) -> String {
        let all: Vec<String> =
            self.servers.iter().map(|server| format!("127.0.0.1:{}", server.port)).collect();
        format!("redis+cluster://{}", all.join(","))
    }

    /// Moves a slot with all that is in it from one master to another.
    fn migrate(&self, slot: u16, from: usize, to: usize) {
        let (from, to) = (&self.servers[from], &self.servers[to]);
        let ids = [from, to].map(|server| server.ask::<String>(&["CLUSTER", "MYID"]));
        let slot = slot.to_string();
        to.ask::<()>(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &ids[0]]);
        from.ask::<()>(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &ids[1]]);
        loop {
            let keys: Vec<Vec<u8>> = from.ask(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]);
            if keys.is_empty() {
                break;
            }
            let mut migrate =
                command(&["MIGRATE", "127.0.0.1", &to.port.to_string(), "", "0", "5000"]);
            migrate.arg("KEYS").arg(keys);
            migrate.query::<()>(&mut from.connection()).unwrap();
        }
        to.ask::<()>(&["CLUSTER", "SETSLOT", &slot, "NODE", &ids[1]]);
        from.ask::<()>(&["CLUSTER", "SETSLOT", &slot, "NODE", &ids[1]]);
    }

    fn slot(&self, key: &str) -> u16 {
        self.servers[0].ask(&["CLUSTER", "KEYSLOT", key])
    }
}

/// The partition of a channel, as its name in Redis says.
fn partition(prefix: &str, name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    name.strip_prefix(prefix).unwrap().split(':').next().unwrap().to_owned()
}

#[test]
fn a_cluster_spreads_rooms_over_its_masters() {
    let cluster = Cluster::start(0);
    // Any one of them will do.
    let url = format!("redis+cluster://127.0.0.1:{}", cluster.servers[2].port);
    let (mut peer, mut other) = (Peer::new(&url), Peer::up(&url));
    assert_eq!(peer.wait_up(), 16);
    let names: Vec<String> = (0..40).map(|number| format!("}}{{{number}\n")).collect();
    for partition in 0..16 {
        other.subscribe(&Channel::Control(partition));
    }
    for name in &names {
        other.subscribe(&room(name));
        peer.publish(&room(name), name).unwrap();
        assert_eq!(other.message(), (room(name), name.clone().into(), None));
        assert_eq!(peer.append(name, name, Some(("k", 1000))).unwrap().0.offset, 1);
        assert_eq!(other.read(name, 0, 10, LIMITS).unwrap().entries.len(), 1);
    }
    let mut partitions = BTreeSet::new();
    for server in &cluster.servers {
        let channels: Vec<Vec<u8>> = server.ask(&["PUBSUB", "SHARDCHANNELS"]);
        assert!(channels.len() >= 5);
        for channel in channels {
            partitions.insert(partition("test:", &channel));
        }
    }
    assert_eq!(partitions.len(), 16);
}

#[test]
fn a_slot_that_moves_takes_its_rooms_along() {
    let cluster = Cluster::start(0);
    let load = Load::start(&cluster.url(), 2);
    let peer = Peer::with_prefix(&cluster.url(), "nodes:");
    peer.wait_up();
    peer.subscribe(&room("h:kept"));
    // Both rooms of the load move: every partition does.
    for number in 0..16 {
        let slot = cluster.slot(&format!("{{{number}}}"));
        let from = usize::from(slot >= 5461) + usize::from(slot >= 10_923);
        cluster.migrate(slot, from, (from + 1) % 3);
    }
    peer.wait("word of the move", |arrival| {
        (arrival == Arrival::Unsubscribed(room("h:kept"))).then_some(())
    });
    load.goes_on();
    load.check();
}

#[test]
fn a_master_that_is_killed_is_replaced_by_its_replica() {
    let mut cluster = Cluster::start(1);
    let load = Load::start(&cluster.url(), 2);
    cluster.servers[1].kill();
    load.nodes.iter().for_each(Node::wait_not_ready);
    load.goes_on();
    load.check_but_history();
}
