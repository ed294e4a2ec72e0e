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
mod compare;
mod comparison;
mod entrant;
mod kernel_queues;
mod ledger;
mod limits;
mod measure;
mod outcome;
mod progress;
mod provenance;
mod references;
mod report;
mod require;
mod run;
mod scenarios;
mod server_command;
mod server_process;
mod share;
mod sim_million;
mod staleness;
mod stamp;
mod summary;
mod workforce;

use anyhow::Result;
use clap::Parser;
use cli::{Command, CommandLine, Scenario, Settings};
use comparison::Comparison;
use entrant::{Entrant, Running};
use outcome::Outcome;
use provenance::Provenance;
use scenarios::{Plan, cluster};
use server_command::ServerCommand;
use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

/// What convinces a sceptic: asked for nothing, show these.
const TOUR: [Scenario; 5] =
    [Scenario::Connect, Scenario::Idle, Scenario::Echo, Scenario::Fanout, Scenario::Broadcast];

fn main() -> ExitCode {
    match act() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("loadtest: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Does what the arguments say, the hidden roles of this program first. Says
/// whether all of it was clean.
fn act() -> Result<bool> {
    let mut arguments = env::args_os().skip(1);
    match arguments.next().as_ref().and_then(|role| role.to_str()) {
        Some(server_process::LAUNCH) => server_process::launch(arguments).map(|()| true),
        Some(workforce::WORKER) => {
            workforce::serve(|plan: Plan| scenarios::share(&plan)).map(|()| true)
        }
        Some(sim_million::SIDE) => sim_million::serve(arguments).map(|()| true),
        Some(cluster::bare::BARE_CLIENT) => cluster::bare::serve(arguments).map(|()| true),
        Some(references::REFERENCE) => references::serve(arguments).map(|()| true),
        _ => run_all(CommandLine::parse()),
    }
}

fn run_all(line: CommandLine) -> Result<bool> {
    let cores = affinity::cores();
    if let Some(Command::Hostile(options)) = &line.command {
        return scenarios::hostile::run(options);
    }
    if let Some(Command::Cluster(options)) = &line.command {
        return run_cluster(options, cores.len());
    }
    if let Some(Command::SimMillion(options)) = &line.command {
        let outcome = sim_million::run(options)?;
        print!("{outcome}");
        let files = Files { json: &options.json, html: &options.html, png: &options.png };
        return files.write(cores.len(), &[outcome], None).map(|()| true);
    }
    if let Some(Command::Compare(contest)) = line.command {
        let contested = compare::compare(&contest, &cores)?;
        let comparison = Some(&contested.comparison);
        return conclude(&contest.settings, cores.len(), contested.outcomes, comparison);
    }
    let settings = line.settings;
    let scenarios = match &settings.scenario {
        Some(scenario) => std::slice::from_ref(scenario),
        None => &TOUR,
    };
    let mut outcomes = Vec::new();
    let toured = tour(&settings, scenarios, &cores, &mut outcomes);
    if settings.scenario.is_none() && toured.is_ok() {
        print!("{}", summary::summary(&outcomes));
    }
    // What was found before a failure is not thrown away with it.
    let clean = conclude(&settings, cores.len(), outcomes, None)?;
    toured.map(|()| clean)
}

/// Runs several nodes. What was found before a failure is not thrown away with it.
fn run_cluster(options: &cluster::options::Options, cores: usize) -> Result<bool> {
    let mut outcomes = Vec::new();
    let ran = cluster::run(options, &mut outcomes);
    for missed in require::enforce(&options.require, &mut outcomes) {
        println!("  VIOLATION: {missed}");
    }
    let files = Files { json: &options.json, html: &options.html, png: &options.png };
    files.write(cores, &outcomes, None)?;
    ran.map(|()| outcomes.iter().all(Outcome::is_clean))
}

/// Runs one scenario after the other, each against a fresh server.
fn tour(
    settings: &Settings,
    scenarios: &[Scenario],
    cores: &[usize],
    outcomes: &mut Vec<Outcome>,
) -> Result<()> {
    for scenario in scenarios {
        let driver = settings.driver.as_deref();
        let entrant = match &settings.url {
            None => Entrant::Fresh(ServerCommand::shardcast(settings, *scenario, driver)?),
            Some(url) => {
                Entrant::Running(Running { name: url.clone(), url: url.clone(), pid: settings.pid })
            }
        };
        let outcome = run::run(settings, *scenario, &entrant, cores)?;
        print!("{outcome}");
        outcomes.push(outcome);
    }
    Ok(())
}

/// Holds the outcomes against what is required and writes the files asked for.
/// Says whether all was clean.
fn conclude(
    settings: &Settings,
    cores: usize,
    mut outcomes: Vec<Outcome>,
    comparison: Option<&Comparison>,
) -> Result<bool> {
    for missed in require::enforce(&settings.require, &mut outcomes) {
        println!("  VIOLATION: {missed}");
    }
    let files = Files { json: &settings.json, html: &settings.html, png: &settings.png };
    files.write(cores, &outcomes, comparison)?;
    Ok(outcomes.iter().all(Outcome::is_clean))
}

/// The files that results are to be written to.
struct Files<'a> {
    json: &'a Option<PathBuf>,
    html: &'a Option<PathBuf>,
    png: &'a Option<PathBuf>,
}

impl Files<'_> {
    fn write(
        &self,
        cores: usize,
        outcomes: &[Outcome],
        comparison: Option<&Comparison>,
    ) -> Result<()> {
        let provenance = Provenance::here(cores);
        if let Some(path) = self.json {
            report::write_json(path, &provenance, outcomes, comparison)?;
        }
        if let Some(path) = self.html {
            report::write_html(path, &provenance, outcomes, comparison)?;
        }
        if let Some(path) = self.png {
            report::write_png(path, &provenance, outcomes, comparison)?;
        }
        Ok(())
    }
}
