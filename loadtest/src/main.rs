//! Bounded load on loopback: connects thousands of WebSocket clients to a
//! server, measures what it does with them, and fails if anything is lost.

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "figures for people: 53 bits are enough, and none is negative"
)]

mod affinity;
mod cli;
mod client;
mod clock;
mod ledger;
mod limits;
mod measure;
mod progress;
mod report;
mod scenarios;
mod server_process;
mod stamp;

use anyhow::{Context, Result};
use clap::Parser;
use cli::{Scenario, Settings};
use report::Outcome;
use server_process::ServerProcess;
use std::process::ExitCode;

/// What convinces a sceptic: asked for nothing, show these.
const BY_DEFAULT: [Scenario; 2] = [Scenario::Connect, Scenario::Fanout];

fn main() -> ExitCode {
    let done = server_process::launch_if_asked().and_then(|()| run(&Settings::parse()));
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("loadtest: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Runs what was asked for. Says whether all of it was clean.
fn run(settings: &Settings) -> Result<bool> {
    let cores = affinity::cores();
    let scenarios = match &settings.scenario {
        Some(scenario) => std::slice::from_ref(scenario),
        None => &BY_DEFAULT,
    };
    let mut outcomes = Vec::new();
    for scenario in scenarios {
        let outcome = run_one(settings, *scenario, &cores)?;
        print!("{outcome}");
        outcomes.push(outcome);
        if let Some(path) = &settings.json {
            report::write_json(path, cores.len(), &outcomes)?;
        }
    }
    Ok(outcomes.iter().all(Outcome::is_clean))
}

fn run_one(settings: &Settings, scenario: Scenario, cores: &[usize]) -> Result<Outcome> {
    affinity::allow_connections(settings.connections(scenario))?;
    let pinned = settings.is_pinned(scenario, cores.len());
    let (for_server, for_client) = match cores {
        [first, rest @ ..] if pinned && !rest.is_empty() => {
            let threads = usize::from(settings.client_threads).min(rest.len());
            (std::slice::from_ref(first), &rest[..threads])
        }
        _ => (cores, cores),
    };
    let mut server = ServerProcess::start(settings, scenario, for_server)?;
    affinity::run_on(for_client)?;
    let result = scenarios::run(settings, scenario, &mut server);
    if scenario != Scenario::Drain
        && let Some(status) = server.exited()
    {
        let ended = format!("the server ended during the run ({status})");
        return match result {
            Err(error) => Err(error.context(ended)),
            Ok(mut outcome) => {
                outcome.violation(ended);
                Ok(outcome)
            }
        };
    }
    let mut outcome = result.with_context(|| format!("{} failed", server.target()))?;
    outcome.setting("pinned", pinned);
    Ok(outcome)
}
