//! The server under test: one that runs already, or one that is started for
//! the scenario, in its own process, and ends with it whatever happens.

use crate::affinity;
use crate::client::Target;
use crate::limits::{SERVER_EXIT, SERVER_START, SERVER_STOP};
use crate::server_command::ServerCommand;
use anyhow::{Context, Result, bail};
use rustix::process::{
    Pid, Resource, Rlimit, Signal, kill_process, set_parent_process_death_signal, setrlimit,
};
use std::env;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// The hidden first argument by which this program becomes the server.
pub(crate) const LAUNCH: &str = "__launch";

/// How often the end of the server is looked for.
const POLL: Duration = Duration::from_millis(2);

/// Lines of a server's log that are kept, as samples.
const LOG_LINES: usize = 8;

/// How many lines a server has logged, and the first of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<(u64, Vec<String>)>>);

impl Log {
    /// How many so far.
    pub(crate) fn count(&self) -> u64 {
        self.0.lock().map_or(0, |lines| lines.0)
    }

    /// The first few.
    pub(crate) fn first(&self) -> Vec<String> {
        self.0.lock().map_or(Vec::new(), |lines| lines.1.clone())
    }
}

/// A server to aim at.
#[derive(Debug)]
pub(crate) struct ServerProcess {
    target: Target,
    pid: Option<u32>,
    child: Option<Child>,
}

impl ServerProcess {
    /// One that runs already at `url`, in process `pid` if that is known.
    pub(crate) fn running(url: &str, pid: Option<u32>) -> Result<Self> {
        Ok(Self { target: Target::parse(url)?, pid, child: None })
    }

    /// A fresh one on `cores`.
    ///
    /// # Errors
    /// If it cannot be started or does not say where it listens.
    pub(crate) fn start(server: &ServerCommand, cores: &[usize]) -> Result<Self> {
        Self::spawn(server, cores, None, Stdio::inherit())
    }

    /// A fresh one on `cores` that may open at most `descriptors` files, if that
    /// is given; its log is counted instead of shown.
    ///
    /// # Errors
    /// As [`ServerProcess::start`].
    pub(crate) fn start_logged(
        server: &ServerCommand,
        cores: &[usize],
        descriptors: Option<u64>,
    ) -> Result<(Self, Log)> {
        let mut server = Self::spawn(server, cores, descriptors, Stdio::piped())?;
        let output = server.child.as_mut().and_then(|child| child.stderr.take());
        let log = Log::default();
        let lines = Arc::clone(&log.0);
        let output = output.context("the server has no log")?;
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let Ok(mut lines) = lines.lock() else { return };
                lines.0 += 1;
                if lines.1.len() < LOG_LINES {
                    lines.1.push(line);
                }
            }
        });
        Ok((server, log))
    }

    fn spawn(
        server: &ServerCommand,
        cores: &[usize],
        descriptors: Option<u64>,
        log: Stdio,
    ) -> Result<Self> {
        let path = &server.program;
        let mut command = Command::new(env::current_exe().context("cannot find this program")?);
        let descriptors = descriptors.map_or(String::new(), |most| most.to_string());
        command.arg(LAUNCH).arg(core_list(cores)).arg(descriptors);
        command.arg(path).args(&server.arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot start {}", path.display()))?;
        let mut server = Self {
            target: Target::parse("ws://127.0.0.1:0/ws")?,
            pid: Some(child.id()),
            child: Some(child),
        };
        let address = server.listening_address()?;
        server.target = Target::parse(&format!("ws://{address}/ws"))?;
        Ok(server)
    }

    /// Where it listens.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Its process, if known.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Whether it was started here.
    pub(crate) fn is_own(&self) -> bool {
        self.child.is_some()
    }

    /// How a server that was started here has ended, if it has; of any other
    /// this is not known.
    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().ok()?
    }

    /// The same after a failure, of which the server's end may be the cause:
    /// its sockets are closed a moment before its status can be read.
    pub(crate) fn exited_by_now(&mut self) -> Option<ExitStatus> {
        self.child.as_ref()?;
        let deadline = Instant::now() + SERVER_EXIT;
        while Instant::now() < deadline {
            if let Some(status) = self.exited() {
                return Some(status);
            }
            thread::sleep(POLL);
        }
        self.exited()
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Sends `signal`.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let child = self.child.as_ref();
        let child = child.context("only a server started by this program can be stopped")?;
        let pid = Pid::from_raw(child.id().cast_signed()).context("the server has no pid")?;
        kill_process(pid, signal).context("cannot signal the server")
    }

    /// Reads the server's lines until one says where it listens; the later ones
    /// are read and dropped, so that its pipe never fills.
    fn listening_address(&mut self) -> Result<String> {
        let output = self.child.as_mut().and_then(|child| child.stdout.take());
        let output = output.context("the server has no output")?;
        let (found, address) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Some(address) = address_in(&line) {
                    // Nobody listens any more after the first.
                    let _ = found.send(address.to_owned());
                }
            }
        });
        match address.recv_timeout(SERVER_START) {
            Ok(address) => Ok(address),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let status = self.exited_by_now().map_or(String::new(), |it| format!(" ({it})"));
                bail!("the server ended before it listened{status}")
            }
            Err(mpsc::RecvTimeoutError::Timeout) => bail!(
                "the server did not print `listening on ADDRESS` within {} s",
                SERVER_START.as_secs()
            ),
        }
    }
}

impl Drop for ServerProcess {
    /// Ends a server that was started here: first politely, then for certain.
    fn drop(&mut self) {
        if self.child.is_none() || self.exited().is_some() {
            return;
        }
        // A server that cannot be signalled is killed below.
        let _ = self.terminate();
        let deadline = Instant::now() + SERVER_STOP;
        while Instant::now() < deadline {
            if self.exited().is_some() {
                return;
            }
            thread::sleep(POLL);
        }
        if let Some(child) = &mut self.child {
            eprintln!("the server ignored SIGTERM and is killed");
            // It may have ended by itself just now.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn address_in(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("listening on ")?;
    rest.split_whitespace().next()
}

fn core_list(cores: &[usize]) -> String {
    let cores: Vec<String> = cores.iter().map(usize::to_string).collect();
    cores.join(",")
}

/// Becomes a server: the first of `arguments` are the cores to run on, the most
/// files it may open (empty: as this program may) and the program, the others are the program's. It ends when its parent does. Comes
/// back only if that fails.
pub(crate) fn launch(mut arguments: impl Iterator<Item = OsString>) -> Result<()> {
    let cores = arguments.next().context("no cores")?;
    let cores: Vec<usize> =
        cores.to_string_lossy().split(',').filter_map(|core| core.parse().ok()).collect();
    let descriptors = arguments.next().context("no limit of open files")?;
    let path = arguments.next().context("no server")?;
    if let Some(most) = descriptors.to_str().and_then(|text| text.parse().ok()) {
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        setrlimit(Resource::Nofile, limit).context("cannot limit the open files")?;
    }
    if !cores.is_empty() {
        affinity::run_on(&cores)?;
    }
    set_parent_process_death_signal(Some(Signal::KILL)).context("cannot bind to the parent")?;
    let error = Command::new(&path).args(arguments).exec();
    Err(error).with_context(|| format!("cannot run {}", PathBuf::from(path).display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_plain_and_in_logged_lines() {
        for line in [
            "listening on 127.0.0.1:4242",
            "2026-01-01T00:00:00Z INFO shardcast: listening on 127.0.0.1:4242 shards=1",
        ] {
            assert_eq!(address_in(line), Some("127.0.0.1:4242"));
        }
        assert_eq!(address_in("starting"), None);
    }
}
