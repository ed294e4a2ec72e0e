//! How a server is started: shardcast with its options, a reference server,
//! which is this program again, or any other program of the same manners.

use crate::cli::{Scenario, Settings};
use crate::references::{BARE, REFERENCE};
use crate::staleness;
use anyhow::{Context, Result, bail, ensure};
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

/// Where every server is to listen: the kernel chooses the port.
const LISTEN: [&str; 2] = ["--listen", "127.0.0.1:0"];

/// The one command that builds what is missing.
const BUILD: &str = "cargo build --release -p shardcast";

/// A program and its arguments.
#[derive(Clone, Debug)]
pub(crate) struct ServerCommand {
    /// What it is called in results.
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    /// Why its figures may be those of another server than they seem.
    pub(crate) doubt: Option<String>,
}

impl ServerCommand {
    /// The server of `settings` with the driver named, or the one it chooses.
    ///
    /// # Errors
    /// If it was not built.
    pub(crate) fn shardcast(
        settings: &Settings,
        scenario: Scenario,
        driver: Option<&str>,
    ) -> Result<Self> {
        let mut arguments = LISTEN.map(str::to_owned).to_vec();
        let shards = settings.shards(scenario).to_string();
        arguments.extend(["--dialect", "pubsub", "--shards", &shards].map(str::to_owned));
        if let Some(driver) = driver {
            arguments.extend(["--driver", driver].map(str::to_owned));
        }
        if !settings.server_args.iter().any(|argument| argument.starts_with("--log")) {
            arguments.extend(["--log", "warn"].map(str::to_owned));
        }
        arguments.extend_from_slice(&settings.server_args);
        let name = driver.map_or("shardcast".to_owned(), |driver| format!("shardcast-{driver}"));
        Self::checked(name, settings.server.as_deref(), arguments)
    }

    /// The file `server`, or the one beside this program, with `flags` behind
    /// the address to listen on.
    ///
    /// # Errors
    /// If it was not built.
    pub(crate) fn with_flags(server: Option<&Path>, flags: Vec<String>) -> Result<Self> {
        let mut arguments = LISTEN.map(str::to_owned).to_vec();
        arguments.extend(flags);
        Self::checked("shardcast".to_owned(), server, arguments)
    }

    /// A shardcast, about which a doubt is told once.
    fn checked(name: String, server: Option<&Path>, arguments: Vec<String>) -> Result<Self> {
        static TOLD: Once = Once::new();
        let program = program(server)?;
        let doubt = staleness::doubt(&program, env!("CARGO_PKG_VERSION"));
        if let Some(doubt) = &doubt {
            TOLD.call_once(|| eprintln!("WARNING: {doubt}"));
        }
        Ok(Self { name, program, arguments, doubt })
    }

    /// The reference server called `name`, told what the scenario is so that
    /// one which does not parse knows what to expect.
    pub(crate) fn reference(name: &str, settings: &Settings, scenario: Scenario) -> Result<Self> {
        let mut arguments = vec![REFERENCE.to_owned(), name.to_owned()];
        arguments.extend(LISTEN.map(str::to_owned));
        arguments.extend(["--size".to_owned(), settings.size.to_string()]);
        if scenario == Scenario::Broadcast {
            arguments.push("--broadcast-only".to_owned());
        }
        let program = env::current_exe().context("cannot find this program")?;
        Ok(Self { name: name.to_owned(), program, arguments, doubt: None })
    }

    /// The bare loop that connections that come and go are held against.
    pub(crate) fn bare(subscribe: bool) -> Result<Self> {
        let mut arguments = vec![REFERENCE.to_owned(), BARE.to_owned()];
        arguments.extend(LISTEN.map(str::to_owned));
        arguments.extend(subscribe.then(|| "--subscribe".to_owned()));
        let program = env::current_exe().context("cannot find this program")?;
        Ok(Self { name: BARE.to_owned(), program, arguments, doubt: None })
    }

    /// Another program.
    pub(crate) fn external(name: &str, program: &Path) -> Result<Self> {
        ensure!(program.is_file(), "{}: no such program", program.display());
        let arguments = LISTEN.map(str::to_owned).to_vec();
        let program = program.to_owned();
        Ok(Self { name: name.to_owned(), program, arguments, doubt: None })
    }
}

/// The drivers that shardcast says it has.
pub(crate) fn drivers(settings: &Settings) -> Result<Vec<String>> {
    let program = program(settings.server.as_deref())?;
    let output = Command::new(&program).arg("--help").output();
    let output = output.with_context(|| format!("cannot run {}", program.display()))?;
    Ok(drivers_in(&String::from_utf8_lossy(&output.stdout)))
}

/// Those in the text of its help.
fn drivers_in(help: &str) -> Vec<String> {
    let values = help.split_once("--driver").and_then(|(_, rest)| rest.split_once("values: "));
    let values = values.and_then(|(_, rest)| rest.split_once(']')).map_or("", |(values, _)| values);
    let values = values.split(',').map(str::trim);
    values.filter(|name| !matches!(*name, "" | "auto")).map(str::to_owned).collect()
}

/// The server's file: as named, or beside this program, where cargo builds it
/// if cargo is what runs this.
fn program(server: Option<&Path>) -> Result<PathBuf> {
    let own = env::current_exe().context("cannot find this program")?;
    let path = server.map_or_else(|| own.with_file_name("shardcast"), Path::to_owned);
    if !path.is_file() && server.is_none() {
        build(&path)?;
    }
    ensure!(
        path.is_file(),
        "{} is missing: build it with `{BUILD}`, or name one with --server or --url",
        path.display()
    );
    Ok(path)
}

/// Builds the server as cargo does, if cargo runs this program from the folder
/// that its release builds go to; does nothing otherwise.
fn build(path: &Path) -> Result<()> {
    let is_release = path.parent().is_some_and(|folder| folder.ends_with("release"));
    let Some(cargo) = env::var_os("CARGO").filter(|_| is_release) else {
        return Ok(());
    };
    eprintln!("{} is missing: {BUILD}", path.display());
    let mut command = Command::new(cargo);
    command.args(["build", "--release", "-p", "shardcast"]);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    if let Some(target) = path.parent().and_then(Path::parent) {
        command.arg("--target-dir").arg(target);
    }
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => bail!("`{BUILD}` failed ({status})"),
        Err(error) => Err(error).with_context(|| format!("cannot run `{BUILD}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drivers_are_read_from_the_help() {
        let help = "--x [possible values: a]\n  --driver <DRIVER>\n  How\n\n  [default: auto]\n  \
                    [possible values: auto, epoll, ring]\n\n  --y [possible values: b]";
        assert_eq!(drivers_in(help), ["epoll", "ring"]);
        assert!(drivers_in("").is_empty());
    }
}
