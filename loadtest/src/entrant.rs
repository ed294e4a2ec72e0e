//! What a run is aimed at: a server that is started for it, or one that runs
//! already and is only watched.

use crate::client::Target;
use crate::measure::cpu_ns;
use crate::server_command::ServerCommand;
use anyhow::{Context, Result, ensure};

/// A server that takes part in a run.
#[derive(Clone, Debug)]
pub(crate) enum Entrant {
    /// Started afresh for every run.
    Fresh(ServerCommand),
    /// Left as it is, before, between and after the runs.
    Running(Running),
}

/// A server that somebody else has started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Running {
    /// What it is called in results.
    pub(crate) name: String,
    pub(crate) url: String,
    /// Its process, for its processor time and memory.
    pub(crate) pid: Option<u32>,
}

impl Entrant {
    /// What it is called in results.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Fresh(command) => &command.name,
            Self::Running(running) => &running.name,
        }
    }
}

impl Running {
    /// Reads `NAME=URL@PID`; `None` if `text` is the name of a server alone.
    ///
    /// # Errors
    /// If the URL is not one of this machine's or the process cannot be watched:
    /// a comparison without its processor time would say little.
    pub(crate) fn parse(text: &str) -> Result<Option<Self>> {
        let Some((name, rest)) = text.split_once('=') else {
            return Ok(None);
        };
        let form = || format!("{text}: a running server is NAME=URL@PID");
        let (url, pid) = rest.rsplit_once('@').with_context(form)?;
        let pid = pid.parse().ok().with_context(form)?;
        ensure!(!name.is_empty(), form());
        Target::parse(url)?;
        ensure!(cpu_ns(pid).is_some(), "{name}: there is no process {pid} that can be watched");
        Ok(Some(Self { name: name.to_owned(), url: url.to_owned(), pid: Some(pid) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_server_has_a_name_an_address_and_a_process() {
        let pid = std::process::id();
        let found = Running::parse(&format!("other=ws://127.0.0.1:9001/echo?a=1@{pid}"));
        let running = found.unwrap().unwrap();
        assert_eq!(running.name, "other");
        assert_eq!(running.url, "ws://127.0.0.1:9001/echo?a=1");
        assert_eq!(running.pid, Some(pid));
        assert_eq!(Running::parse("limit").unwrap(), None);
        let why = |text: &str| Running::parse(text).unwrap_err().to_string();
        assert!(why("other=ws://127.0.0.1:9001").contains("NAME=URL@PID"));
        assert!(why("=ws://127.0.0.1:9001@1").contains("NAME=URL@PID"));
        assert!(why("other=ws://192.0.2.1:80@1").contains("loopback"));
        assert!(why("other=ws://127.0.0.1:9001@4194305").contains("no process 4194305"));
    }
}
