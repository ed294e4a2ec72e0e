//! `steady`: members that read 20 and 100 KB a second without pause, with a
//! backlog that fits their queue and a room that carries less than they read,
//! stay for the whole run. A member whose room carries more than it reads is told
//! by a Close frame with 1013, which comes behind what was queued before it.

use super::crowd::TRY_AGAIN_LATER;
use super::findings::Findings;
use super::options::Plan;
use super::seats::{self, Deaf};
use super::sippers::{Ending, Sipper};
use super::stage::{End, Stage, beside, join};
use crate::client::{Swarm, Target, pubsub};
use crate::clock::now_ns;
use crate::outcome::Unit;
use crate::stamp::Stamp;
use anyhow::Result;
use std::time::{Duration, Instant};

/// Bytes of a message.
const MESSAGE: usize = 1_000;

/// The backlog at the beginning: more than a socket takes by the usual limit of
/// 4 MiB (`tcp_wmem`), less than the queue.
const BACKLOG: usize = 6 << 20;

/// The receive buffer of a member, so that its reading shows at the server.
const SOCKET: usize = 16 * 1024;

/// What may wait for a member that is overrun.
const OVERRUN_QUEUE: usize = 256 * 1024;

/// A server waits for a member for three seconds, and for what is being sent to it
/// at this pace: a shorter run says nothing about whether it gives the member up.
const OVERRUN_LEAST: Duration = Duration::from_secs(15);

/// How long its Close frame may be on its way: at its pace 3 MB may be in front.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// A shorter run shows nothing.
const LEAST: Duration = Duration::from_secs(6);

/// How often a room is published to.
const STEP_NS: u64 = 50_000_000;

/// A room, and the members that read it.
#[derive(Clone, Copy, Debug)]
struct Room {
    /// Bytes a second that each member reads.
    read: usize,
    /// Bytes a second that are published, and at once at the beginning.
    published: usize,
    backlog: usize,
}

const STAYING: [Room; 2] = [
    Room { read: 20_000, published: 10_000, backlog: BACKLOG },
    Room { read: 100_000, published: 60_000, backlog: BACKLOG },
];
const OVERRUN: [Room; 1] = [Room { read: 100_000, published: 1_500_000, backlog: 0 }];

pub(super) fn run(plan: &Plan) -> Result<Findings> {
    let mut findings = plan.findings();
    // Long enough that nothing but progress keeps a slow member.
    let duration = plan.duration(15).max(LEAST);
    let timeout = (duration.as_secs() / 3).max(1);
    let write_timeout = format!("{timeout}s");
    findings.note(format!("{} s, write timeout {write_timeout}", duration.as_secs()));

    let flags = ["--write-timeout", &write_timeout, "--queue-bytes", "12m"];
    let stage = Stage::start(plan, &flags)?;
    let endings = play(duration, &stage, &STAYING, Sipper::run)?;
    drop(stage);
    for (room, (ending, read)) in STAYING.iter().zip(endings) {
        let what = format!("{} B/s: ", room.read);
        findings.figure(&format!("{what}read"), read as f64, Unit::Bytes);
        findings.none(&format!("{what}not there to the end"), u64::from(ending != Ending::Stayed));
        if ending != Ending::Stayed {
            findings.note(format!("{what}{ending:?}"));
        }
    }

    let duration = duration.max(OVERRUN_LEAST);
    let write_timeout = format!("{}s", duration.as_secs() / 3);
    let queue_bytes = OVERRUN_QUEUE.to_string();
    let flags = ["--write-timeout", &write_timeout, "--queue-bytes", &queue_bytes];
    let close_timeout = format!("{}s", CLOSE_TIMEOUT.as_secs());
    let flags = [&flags[..], &["--close-timeout", &close_timeout]].concat();
    let stage = Stage::start(plan, &flags)?;
    let to_close = |sipper: Sipper, end: &End| sipper.run_to_close(end, CLOSE_TIMEOUT);
    let endings = play(duration, &stage, &OVERRUN, to_close)?;
    for (ending, read) in endings {
        findings.figure("overrun: read until its end", read as f64, Unit::Bytes);
        let told = ending == Ending::Closed(TRY_AGAIN_LATER);
        findings.none("overrun: not closed with 1013", u64::from(!told));
        findings.note(format!("overrun: {ending:?}"));
    }
    Ok(findings)
}

/// Publishes to `rooms`, and lets one member of each read
/// as `read` does.
fn play(
    duration: Duration,
    stage: &Stage,
    rooms: &[Room],
    read: impl Fn(Sipper, &End) -> (Ending, u64) + Copy + Send + 'static,
) -> Result<Vec<(Ending, u64)>> {
    let open = |(at, room): (usize, &Room)| Sipper::open(stage.target(), at, room.read, SOCKET);
    let sippers = rooms.iter().enumerate().map(open).collect::<Result<Vec<_>>>()?;
    let end = stage.end_after(duration);
    let publisher = Publisher::open(stage.target(), rooms)?;
    let publishing = {
        let end = end.clone();
        beside(move || publisher.run(&end))
    };
    let sipping = sippers.into_iter().map(|sipper| {
        let end = end.clone();
        beside(move || read(sipper, &end))
    });
    let sipping: Vec<_> = sipping.collect();
    let endings = sipping.into_iter().map(join).collect::<Result<_>>()?;
    join(publishing)??;
    Ok(endings)
}

/// One connection for each room, which publishes at the room's rate and reads.
struct Publisher {
    swarm: Swarm,
    rooms: Vec<Room>,
    sent: Vec<usize>,
}

impl Publisher {
    fn open(target: &Target, rooms: &[Room]) -> Result<Self> {
        let mut swarm = Swarm::new(target)?;
        let links = seats::open_on(&mut swarm, rooms.len(), None)?;
        for link in links {
            seats::subscribe(&mut swarm, &[link], link..link + 1)?;
        }
        Ok(Self { swarm, rooms: rooms.to_vec(), sent: vec![0; rooms.len()] })
    }

    fn run(mut self, end: &End) -> Result<()> {
        let begun = Instant::now();
        let mut frames = Vec::new();
        while !end.is_reached() {
            for at in 0..self.rooms.len() {
                let room = self.rooms[at];
                let paced = begun.elapsed().as_secs_f64() * room.published as f64;
                let due = room.backlog + paced as usize;
                frames.clear();
                while self.sent[at] + MESSAGE <= due && self.swarm.unsent(at) == 0 {
                    let sequence = (self.sent[at] / MESSAGE) as u32;
                    let stamp = Stamp { publisher: 0, sequence, due_ns: now_ns() };
                    pubsub::append_publish(at, stamp, MESSAGE, &mut frames);
                    self.sent[at] += MESSAGE;
                }
                self.swarm.send(at, &frames, &mut Deaf);
            }
            self.swarm.turn(now_ns() + STEP_NS, &mut Deaf)?;
        }
        Ok(())
    }
}
