//! `cluster`: several nodes on one Redis, under loads of clients of all of them, beside
//! a bare publisher and subscriber on the same Redis.
//!
//! ```text
//! publisher ─► node ─► Redis ─► node ─► member      what is measured
//!            bare ───► Redis ───► bare              what it is held against
//! ```

pub(crate) mod bare;
mod crowd;
mod load;
mod local;
mod nodes;
pub(crate) mod options;
mod recover;
mod redis_process;
mod relayed;
mod restart;
mod returning;
mod seating;
mod timeline;
mod watch;

use crate::outcome::Outcome;
use anyhow::Result;
use options::Options;
use redis_process::Redis;

/// Runs what `options` ask for, and prints it. What was found before a failure is in
/// `outcomes`.
pub(crate) fn run(options: &Options, outcomes: &mut Vec<Outcome>) -> Result<()> {
    // What is published is to be there after a restart only where it is to be kept.
    let is_durable = options.history && options.outage().is_some();
    let mut redis = Redis::at(options.redis.as_deref(), is_durable)?;
    let mut done = |outcome: Outcome| {
        print!("{outcome}");
        outcomes.push(outcome);
    };
    if options.local {
        done(local::run(options, redis.url())?);
    } else if let Some(clients) = options.returning() {
        done(recover::run(options, redis.url(), clients)?);
    } else {
        done(relayed::run(options, &redis)?);
        if let Some(outage) = options.outage() {
            done(restart::run(options, &mut redis, outage)?);
        }
    }
    Ok(())
}
