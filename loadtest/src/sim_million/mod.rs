//! `sim-million`: the engine on the simulated driver, with up to a million
//! connections, each in a room of a thousand and in one room of all. What a
//! connection keeps, what a delivery, a heartbeat and a drain cost, at each number
//! of connections; all in one thread, without sockets.
//!
//! A simulated network copies and looks at every connection in every turn, which no
//! real one does. So everything is done once more by [`bare`], which has the network
//! and no engine, and what that needs is subtracted. Both run in processes of their
//! own, so that the memory of one is not that of the other.

mod bare;
mod engine;
mod side;
mod simulator;

use crate::outcome::{Axes, Chart, Outcome, Unit};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use side::{Division, Found, PER_SHARD, Phase, ROOM};
use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The hidden first argument by which this program becomes one of both sides.
pub(crate) const SIDE: &str = "__sim";

/// The default of the engine: a quiet connection is pinged once in so long.
const PING_INTERVAL_S: f64 = 54.0;

/// What is measured, and what is written.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Numbers of connections
    #[arg(long, value_delimiter = ',', default_value = "1000,10000,100000,1000000",
          value_parser = clap::value_parser!(u32).range(1_000..=1_000_000))]
    connections: Vec<u32>,

    /// Write all results to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Write all results with plots to this file, one page without links
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,

    /// Write all results with plots to this file, one picture
    #[arg(long, value_name = "FILE")]
    pub(crate) png: Option<PathBuf>,
}

/// Measures at each number of connections.
pub(crate) fn run(options: &Options) -> Result<Outcome> {
    let mut outcome = Outcome::new("sim-million");
    outcome.setting("members of a room", ROOM);
    outcome.setting("connections of a shard", PER_SHARD);
    let mut lines: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    let mut sizes = Vec::new();
    for count in &options.connections {
        eprintln!("{count} connections");
        let engine = side("engine", *count)?;
        let bare = side("bare", *count)?;
        let each = |phase| (engine.took(phase) - bare.took(phase)).max(0.0) / f64::from(*count);
        let heartbeat = each(Phase::Heartbeat) * f64::from(*count) / PING_INTERVAL_S;
        let figures = [
            ("open", "open a connection, join two rooms", each(Phase::Open)),
            ("rooms", "publish to each room, per delivery", each(Phase::Rooms)),
            ("everyone", "publish to all, per delivery", each(Phase::Everyone)),
            ("heartbeat", "heartbeat, for a second of all", heartbeat),
            ("drain", "drain, for each connection", each(Phase::Drain)),
        ];
        let grown = engine.grown.saturating_sub(bare.grown) as f64 / f64::from(*count);
        let label = format!("{count}: memory of a connection");
        outcome.figure(&format!("bytes_{count}"), &label, grown, Unit::Bytes);
        sizes.push((f64::from(*count), grown));
        for (key, what, value) in figures {
            let label = format!("{count}: {what}");
            outcome.figure(&format!("{key}_{count}_ns"), &label, value, Unit::Nanoseconds);
            lines.entry(what).or_default().push((f64::from(*count), value));
        }
    }
    outcome.chart(Chart {
        title: "Cost over connections".to_owned(),
        x_label: "connections",
        unit: Unit::Nanoseconds,
        axes: Axes::Logarithmic,
        lines: lines.into_iter().map(|(what, points)| (what.to_owned(), points)).collect(),
    });
    outcome.chart(Chart {
        title: "Memory of a connection over connections".to_owned(),
        x_label: "connections",
        unit: Unit::Bytes,
        axes: Axes::Logarithmic,
        lines: vec![("resident".to_owned(), sizes)],
    });
    Ok(outcome)
}

/// Runs one side in a process of its own.
fn side(name: &str, connections: u32) -> Result<Found> {
    let mut command = Command::new(env::current_exe().context("cannot find this program")?);
    command.args([SIDE, name, &connections.to_string()]).stdout(Stdio::piped());
    let output = command.spawn().and_then(std::process::Child::wait_with_output);
    let output = output.with_context(|| format!("cannot run the side {name}"))?;
    ensure!(output.status.success(), "the side {name} failed ({})", output.status);
    serde_json::from_slice(&output.stdout).context("a side does not say what it found")
}

/// Is one side, as `arguments` say, and prints what it found.
pub(crate) fn serve(mut arguments: impl Iterator<Item = OsString>) -> Result<()> {
    let mut next = || arguments.next().and_then(|text| text.into_string().ok());
    let (name, connections) = (next().context("no side")?, next().context("no connections")?);
    let division = Division { connections: connections.parse().context("not a number")? };
    let found = match name.as_str() {
        "engine" => engine::measure(division),
        "bare" => bare::measure(division),
        other => bail!("{other}: no such side"),
    }?;
    println!("{}", serde_json::to_string(&found)?);
    Ok(())
}
