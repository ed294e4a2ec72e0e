//! The side without the engine: the same network, the same bytes to and from the
//! same peers, and as many looks at them. What this costs is not the engine's.

use super::side::{Division, Found, PAYLOAD, Phase, ROOM, median_ns, resident_now};
use super::simulator::{
    ConnId, Driver, Event, Faults, PONG, PeerId, REQUEST, SimDriver, SimNet, Slice, take_all,
    text_frame,
};
use crate::clock::thread_ns;
use anyhow::{Context, Result};
use bytes::Bytes;
use std::time::Duration;

/// As long as what the engine answers to an upgrade.
const RESPONSE: usize = 129;

/// As long as a Close frame of the engine, which has a reason.
const CLOSE: usize = 27;

/// Turns in which a shard does what was asked of it: one that takes it in, and one
/// that finds nothing more.
const TURNS: usize = 2;

/// One shard's driver, and its connections.
struct Station {
    driver: SimDriver,
    ids: Vec<ConnId>,
}

struct Bare {
    net: SimNet,
    stations: Vec<Station>,
    peers: Vec<PeerId>,
}

pub(super) fn measure(division: Division) -> Result<Found> {
    let net = SimNet::new(1, Faults::none());
    let stations =
        (0..division.shards()).map(|_| Station { driver: net.driver(), ids: Vec::new() });
    let stations = stations.collect();
    let mut bare = Bare { net, stations, peers: Vec::with_capacity(division.connections) };
    let mut found = Found::default();
    let before = resident_now();
    let begun_ns = thread_ns();
    bare.open(division)?;
    found.took_ns.push((Phase::Open, thread_ns() - begun_ns));
    found.grown = resident_now().saturating_sub(before);

    let message = text_frame("room 1");
    let delivery = [b"\x81\x14", PAYLOAD.as_bytes()].concat();
    let rooms: Vec<_> = bare.peers.iter().step_by(ROOM).copied().collect();
    let first = vec![bare.peers[0]];
    let took = median_ns(|| bare.exchange(&rooms, &message, &delivery))?;
    found.took_ns.push((Phase::Rooms, took));
    let took = median_ns(|| bare.exchange(&first, &message, &delivery))?;
    found.took_ns.push((Phase::Everyone, took));
    let peers = bare.peers.clone();
    found.took_ns.push((Phase::Heartbeat, bare.exchange(&peers, PONG, b"\x89\0")?));
    found.took_ns.push((Phase::Drain, bare.exchange(&[], &[], &[b'x'; CLOSE])?));
    // A simulated network takes its connections apart one by one, in quadratic time.
    std::mem::forget(bare);
    Ok(found)
}

impl Bare {
    fn open(&mut self, division: Division) -> Result<()> {
        let response = Bytes::from(vec![b'x'; RESPONSE]);
        for (shard, count) in division.per_shard().enumerate() {
            for _ in 0..count {
                let peer = self.net.connect(shard);
                self.net.write(peer, REQUEST);
                self.peers.push(peer);
            }
            let Station { driver, ids } = &mut self.stations[shard];
            let mut answered = 0;
            while answered < count {
                driver.wait(Some(Duration::ZERO)).context("a simulated driver can wait")?;
                let mut heard = Vec::new();
                while let Some(event) = driver.next() {
                    match event {
                        Event::Accepted { socket, .. } => {
                            let id = ConnId::new(shard as u8, ids.len() as u32, 1);
                            driver.attach(id, socket)?;
                            ids.push(id);
                        }
                        Event::Data(id, _) => heard.push(id),
                        _ => {}
                    }
                }
                answered += heard.len();
                for id in heard {
                    driver.send(id, &[Slice::whole(&response)]);
                }
            }
        }
        take_all(&self.net, &self.peers);
        Ok(())
    }

    /// `writers` write `message`, and everyone gets `answer`.
    fn exchange(&mut self, writers: &[PeerId], message: &[u8], answer: &[u8]) -> Result<u64> {
        let answer = Bytes::copy_from_slice(answer);
        let begun_ns = thread_ns();
        for peer in writers {
            self.net.write(*peer, message);
        }
        for turn in 0..TURNS {
            std::hint::black_box(self.net.is_quiet());
            for Station { driver, ids } in &mut self.stations {
                driver.wait(Some(Duration::ZERO)).context("a simulated driver can wait")?;
                while let Some(event) = driver.next() {
                    std::hint::black_box(&event);
                }
                if turn == 0 {
                    for id in ids.iter() {
                        driver.send(*id, &[Slice::whole(&answer)]);
                    }
                }
            }
        }
        std::hint::black_box(self.net.is_quiet());
        take_all(&self.net, &self.peers);
        Ok(thread_ns() - begun_ns)
    }
}
