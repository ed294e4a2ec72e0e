//! The kinds of load. Most are a [`Share`] that any number of client processes
//! can play at the same time, and a function that makes an [`Outcome`] of what
//! they found; some run in one process and make theirs directly. Violations are
//! part of an outcome, an error means that there is none.

mod audience;
mod broadcast;
mod churn;
pub(crate) mod cluster;
mod connect;
mod cross;
mod cycles;
mod drain;
mod echo;
mod fanout;
pub(crate) mod hostile;
mod idle;
mod plan;
mod rooms;
mod schedule;
mod watch;

pub(crate) use plan::Plan;

use crate::cli::{Scenario, Settings};
use crate::measure::Memory;
use crate::outcome::{Outcome, Unit};
use crate::server_process::ServerProcess;
use crate::share::Share;
use crate::workforce::Workforce;
use anyhow::{Result, bail};

/// Runs `scenario` against `server`, with at most `most` connections in each
/// client process.
pub(crate) fn run(
    settings: &Settings,
    scenario: Scenario,
    server: &mut ServerProcess,
    most: usize,
) -> Result<Outcome> {
    let plan = Plan::new(settings, scenario, server.target(), server.pid(), most)?;
    let resident = || plan.server.and_then(Memory::of).map(|memory| memory.resident);
    let before = resident();
    let mut outcome = match scenario {
        Scenario::Broadcast => broadcast::run(&plan),
        Scenario::Cross => cross::run(&plan),
        Scenario::Drain => drain::run(&plan, server),
        _ => divided(&plan),
    }?;
    if scenario != Scenario::Idle
        && let (Some(before), Some(after)) = (before, resident())
    {
        let each = after.saturating_sub(before) as f64 / plan.connections as f64;
        outcome.figure("resident_after", "server resident after", after as f64, Unit::Bytes);
        outcome.figure("resident_each", "grown per connection", each, Unit::Bytes);
    }
    if let (Scenario::Churn, Some(pid), 1) = (scenario, plan.server, plan.processes)
        && let Err(error) = cycles::measure(&plan, pid, &mut outcome)
    {
        // What churn itself has found is not thrown away with it.
        outcome.violation(format!("{error:#}"));
    }
    outcome.setting("connections", plan.connections);
    if plan.processes > 1 {
        outcome.setting("processes", plan.processes);
    }
    Ok(outcome)
}

/// Runs a scenario that several processes share.
fn divided(plan: &Plan) -> Result<Outcome> {
    let mut shares = plan.shares();
    let own = share(&shares.remove(0))?;
    let mut force = Workforce::start(own, &shares)?;
    if plan.scenario == Scenario::Idle {
        let (mut outcome, part) = idle::run(plan, &mut force)?;
        outcome.forbid_losses(&part.losses);
        return Ok(outcome);
    }
    force.open()?;
    let window = force.window(plan.server);
    force.run()?;
    let usage = window.end();
    let part = force.finish()?;
    let mut outcome = match plan.scenario {
        Scenario::Connect => connect::outcome(plan, &part, usage, window.begun_ns()),
        Scenario::Echo => echo::outcome(plan, &part, usage),
        Scenario::Fanout => fanout::outcome(plan, &part, usage),
        Scenario::Churn => churn::outcome(plan, &part, usage),
        Scenario::Soak => rooms::outcome("soak", plan, &part, usage),
        _ => rooms::outcome("rooms", plan, &part, usage),
    };
    outcome.series(&part.series);
    outcome.forbid_losses(&part.losses);
    Ok(outcome)
}

/// The share of one process.
pub(crate) fn share(plan: &Plan) -> Result<Box<dyn Share>> {
    Ok(match plan.scenario {
        Scenario::Connect => Box::new(connect::Connect::new(plan)?),
        Scenario::Echo => Box::new(echo::Echoes::new(plan)?),
        Scenario::Fanout => Box::new(fanout::Fanout::new(plan)?),
        Scenario::Idle => Box::new(idle::Idle::new(plan)?),
        Scenario::Churn => Box::new(churn::Churn::new(plan)?),
        Scenario::Rooms | Scenario::Soak => Box::new(rooms::Rooms::new(plan)?),
        Scenario::Broadcast | Scenario::Cross | Scenario::Drain => {
            bail!("this scenario is not divided")
        }
    })
}
