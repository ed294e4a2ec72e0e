//! The side with the engine: shards on simulated drivers, turned one after the
//! other.

use super::side::{Division, Found, PAYLOAD, Phase, ROOM, median_ns, resident_now};
use super::simulator::{
    Builder, Engine, Faults, Limits, MESSAGE_EVENT, PONG, Payload, PeerId, World, take_all,
    text_frame,
};
use crate::clock::thread_ns;
use anyhow::{Result, ensure};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The name of the room of all.
const ALL: &str = "all";

/// Rounds of turns in which anything must come to its end.
const ROUNDS: usize = 100_000;

/// The clock is moved on by so much before heartbeats are measured, so that nothing
/// of the opening is still due, and then until all were pinged.
const SETTLED: Duration = Duration::from_secs(12);
const PINGED: Duration = Duration::from_secs(44);

pub(super) fn measure(division: Division) -> Result<Found> {
    let mut world = World::new(1, division.shards(), Faults::none(), builder(division))?;
    let mut found = Found::default();
    let before = resident_now();
    let begun_ns = thread_ns();
    let peers = open(&mut world, division)?;
    found.took_ns.push((Phase::Open, thread_ns() - begun_ns));
    found.grown = resident_now().saturating_sub(before);

    let rooms = division.connections.div_ceil(ROOM);
    let publishers: Vec<_> =
        (0..rooms).map(|room| (peers[room * ROOM], text_frame(&room_name(room)))).collect();
    let took = median_ns(|| publish(&mut world, &peers, &publishers))?;
    found.took_ns.push((Phase::Rooms, took));
    let publisher = [(peers[0], text_frame(ALL))];
    let took = median_ns(|| publish(&mut world, &peers, &publisher))?;
    found.took_ns.push((Phase::Everyone, took));
    found.took_ns.push((Phase::Heartbeat, heartbeat(&mut world, &peers)?));
    found.took_ns.push((Phase::Drain, drain(&mut world, &peers)?));
    // A simulated network takes its connections apart one by one, in quadratic time.
    std::mem::forget(world);
    Ok(found)
}

/// Everyone joins a room of a thousand and that of all. Whoever says the name of a
/// room publishes there.
fn builder(division: Division) -> Builder {
    let count = division.connections;
    let limits = Limits {
        connections: count + 1,
        members_per_room: count + 1,
        sends_per_turn: count + 1,
        ..Limits::default()
    };
    let joined = AtomicUsize::new(0);
    Engine::builder()
        .limits(limits)
        .on_connect(move |conn| {
            // Shards are opened one after the other, and in order.
            let number = joined.fetch_add(1, Ordering::Relaxed);
            conn.join(&room_name(number / ROOM))?;
            conn.join(ALL)
        })
        .on_text(|conn, room| {
            conn.to(room).emit(MESSAGE_EVENT, Payload::Text(PAYLOAD));
            Ok(())
        })
}

fn room_name(room: usize) -> String {
    format!("room {room}")
}

/// Opens all connections, shard by shard.
fn open(world: &mut World, division: Division) -> Result<Vec<PeerId>> {
    let mut peers = Vec::with_capacity(division.connections);
    for (shard, count) in division.per_shard().enumerate() {
        peers.extend((0..count).map(|_| world.upgrade(shard, "/ws/raw")));
        let wanted = peers.len() as u64;
        let mut rounds = 0;
        while world.stats().connections < wanted {
            world.turn(shard);
            rounds += 1;
            ensure!(rounds < ROUNDS, "a shard does not open its connections");
        }
    }
    settle(world)?;
    take_all(world.net(), &peers);
    Ok(peers)
}

/// Turns all shards until nothing moves.
fn settle(world: &mut World) -> Result<()> {
    for _ in 0..ROUNDS {
        if world.is_quiet() {
            return Ok(());
        }
        (0..world.shard_count()).for_each(|shard| world.turn(shard));
    }
    anyhow::bail!("a shard never comes to rest")
}

/// Lets `publishers` say what they say, until everyone has got it.
fn publish(world: &mut World, peers: &[PeerId], publishers: &[(PeerId, Vec<u8>)]) -> Result<u64> {
    let before = world.stats().deliveries;
    let begun_ns = thread_ns();
    for (peer, frame) in publishers {
        world.net().write(*peer, frame);
    }
    settle(world)?;
    take_all(world.net(), peers);
    let took_ns = thread_ns() - begun_ns;
    let delivered = world.stats().deliveries - before;
    ensure!(delivered == peers.len() as u64, "{delivered} of {} deliveries", peers.len());
    Ok(took_ns)
}

/// Everybody is pinged and answers.
fn heartbeat(world: &mut World, peers: &[PeerId]) -> Result<u64> {
    world.advance(SETTLED);
    take_all(world.net(), peers);
    let begun_ns = thread_ns();
    world.advance(PINGED);
    let bytes = take_all(world.net(), peers);
    for peer in peers {
        world.net().write(*peer, PONG);
    }
    settle(world)?;
    let took_ns = thread_ns() - begun_ns;
    ensure!(bytes >= 2 * peers.len(), "{bytes} bytes of pings for {} clients", peers.len());
    Ok(took_ns)
}

/// Everybody is told that the server ends. What follows, the simulated network's
/// search for each socket that closes, would hide the engine's part.
fn drain(world: &mut World, peers: &[PeerId]) -> Result<u64> {
    let begun_ns = thread_ns();
    world.handle().shutdown();
    settle(world)?;
    let bytes = take_all(world.net(), peers);
    let took_ns = thread_ns() - begun_ns;
    ensure!(bytes >= 4 * peers.len(), "{bytes} bytes of Close frames for {}", peers.len());
    Ok(took_ns)
}
