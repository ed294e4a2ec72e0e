//! What a relay costs those who do not need it: the same clients on one node, with and
//! without a relay, in turn.

use super::nodes;
use super::options::Options;
use crate::affinity;
use crate::cli::{CommandLine, Scenario, Settings};
use crate::comparison::Spread;
use crate::entrant::{Entrant, Running};
use crate::measure::Latency;
use crate::outcome::{Outcome, Unit};
use crate::run::run as run_scenario;
use crate::server_command::ServerCommand;
use crate::server_process::ServerProcess;
use anyhow::{Context, Result};
use clap::Parser;

/// The figures that are compared: key, label, unit.
const FIGURES: [(&str, &str, Unit); 3] = [
    ("p50", "p50", Unit::Nanoseconds),
    ("p99", "p99", Unit::Nanoseconds),
    ("cpu", "CPU per delivery", Unit::Nanoseconds),
];

/// One side in all rounds.
struct Side {
    command: ServerCommand,
    latency: Latency,
    /// For each round the figures in their order.
    rounds: Vec<[f64; 3]>,
}

pub(super) fn run(options: &Options, redis: &str) -> Result<Outcome> {
    let settings = settings(options)?;
    let side = |name: &str, redis: Option<&str>| -> Result<Side> {
        let mut command = nodes::command(options, redis)?;
        name.clone_into(&mut command.name);
        Ok(Side { command, latency: Latency::new(), rounds: Vec::new() })
    };
    let mut sides = [side("without relay", None)?, side("with relay", Some(redis))?];
    let mut outcome = Outcome::new("cluster local");
    for round in 0..usize::from(options.rounds) {
        // Neither always follows the other.
        for at in [round % 2, (round + 1) % 2] {
            let side = &mut sides[at];
            eprintln!("round {}: {}", round + 1, side.command.name);
            side.play(&settings, &mut outcome)?;
        }
    }
    outcome.setting("rooms", options.rooms());
    outcome.setting("members", options.members());
    outcome.setting("rate", options.rate());
    outcome.setting("size", options.size);
    outcome.setting("rounds", options.rounds);
    let [without, with] = &sides;
    for (at, (key, label, unit)) in FIGURES.into_iter().enumerate() {
        for side in &sides {
            let value = Spread::of(side.rounds.iter().map(|round| round[at]).collect()).median;
            let side_key = side.command.name.replace(' ', "_");
            let label = format!("{label}, {}", side.command.name);
            outcome.figure(&format!("{key}_{side_key}"), &label, value, unit);
        }
        let rounds = with.rounds.iter().zip(&without.rounds);
        let ratio = Spread::of(rounds.map(|(on, off)| on[at] / off[at].max(1.0)).collect());
        let label = format!("{label}, with over without");
        outcome.figure(&format!("{key}_ratio"), &label, ratio.median, Unit::Ratio);
        outcome.figure(&format!("{key}_ratio_least"), "  least", ratio.min, Unit::Ratio);
        outcome.figure(&format!("{key}_ratio_most"), "  most", ratio.max, Unit::Ratio);
    }
    outcome.latency("without_relay", "without relay", &without.latency);
    outcome.latency("with_relay", "with relay", &with.latency);
    Ok(outcome)
}

impl Side {
    fn play(&mut self, settings: &Settings, whole: &mut Outcome) -> Result<()> {
        let cores = affinity::cores();
        let server = ServerProcess::start(&self.command, &cores)?;
        // Who subscribes before the relay is connected is told of a gap.
        nodes::wait_until_ready(server.target(), None)?;
        let running = Running {
            name: self.command.name.clone(),
            url: server.target().to_string(),
            pid: server.pid(),
        };
        let entrant = Entrant::Running(running);
        let found = run_scenario(settings, Scenario::Rooms, &entrant, &cores)?;
        for violation in &found.violations {
            whole.violation(format!("{}: {violation}", self.command.name));
        }
        let latency = found.latency_of(Some("delivery")).context("no latency was found")?;
        let at = |quantile| latency.histogram().value_at_quantile(quantile) as f64;
        let cpu = found.figure_of("server_cpu_ns_per_delivery").map_or(0.0, |cpu| cpu.value);
        self.rounds.push([at(0.5), at(0.99), cpu]);
        self.latency.merge(latency);
        Ok(())
    }
}

/// The load as `rooms` knows it. No process has a core of its own: the relay's thread
/// would have to share that of the shard.
fn settings(options: &Options) -> Result<Settings> {
    let connections = options.rooms() * options.members();
    let line = format!(
        "loadtest rooms --connections {connections} --rooms {} --publishers {} --rate {} \
         --size {} --duration {} --shards {} --pin off",
        options.rooms(),
        options.publishers,
        options.rate(),
        options.size,
        options.duration().as_secs(),
        options.shards
    );
    let line = CommandLine::try_parse_from(line.split_whitespace());
    Ok(line.context("the load cannot be that of one node")?.settings)
}
