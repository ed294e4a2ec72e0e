//! The Redis of a run: one that is started for it and ends with it, with all that it has
//! kept, or one that runs already. Knows nothing of nodes.

use crate::limits::{REDIS_START, SERVER_STOP};
use crate::server_process::LAUNCH;
use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The program, as it is called in the path.
const PROGRAM: &str = "redis-server";

/// How often it is looked at while it starts or ends.
const POLL: Duration = Duration::from_millis(2);

/// A subscriber that the host does not let run for a moment is not cut off: what is
/// measured is what goes through, not how a busy host divides its time.
const OUTPUT_BUFFER: &str = "pubsub 512mb 0 0";

/// How often another port is tried where one has been taken meanwhile.
const PORTS: usize = 5;

/// A Redis to which nodes connect.
#[derive(Debug)]
pub(super) struct Redis {
    url: String,
    own: Option<Own>,
}

/// How one is started.
#[derive(Debug)]
struct Start {
    program: PathBuf,
    folder: PathBuf,
    is_durable: bool,
}

/// One that was started here.
#[derive(Debug)]
struct Own {
    start: Start,
    address: SocketAddr,
    child: Child,
}

impl Redis {
    /// The one at `url`, or a fresh one, which keeps what it is told over a restart if
    /// it `is_durable`.
    ///
    /// # Errors
    /// If there is no `redis-server` in the path, or it does not answer.
    pub(super) fn at(url: Option<&str>, is_durable: bool) -> Result<Self> {
        match url {
            Some(url) => Ok(Self { url: url.to_owned(), own: None }),
            None => Self::start(is_durable),
        }
    }

    fn start(is_durable: bool) -> Result<Self> {
        let path = env::var_os("PATH").unwrap_or_default();
        let program = find(&path).with_context(|| {
            format!("{PROGRAM} is not in PATH: install it, or name a Redis with --redis URL")
        })?;
        let folder = env::temp_dir().join(format!("loadtest-redis-{}", std::process::id()));
        fs::create_dir_all(&folder).context("cannot create a folder for Redis")?;
        for _ in 0..PORTS {
            let address = free_port()?;
            let start = Start { program: program.clone(), folder: folder.clone(), is_durable };
            let child = start.spawn(address)?;
            let mut own = Own { start, address, child };
            // Another program may have taken the port meanwhile: then it ends.
            if own.wait_until_it_answers()? {
                return Ok(Self { url: format!("redis://{address}"), own: Some(own) });
            }
        }
        bail!("{PROGRAM} ends as soon as it is started");
    }

    /// Its URL.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Its process, if it was started here.
    pub(super) fn pid(&self) -> Option<u32> {
        self.own.as_ref().map(|own| own.child.id())
    }

    /// Where it listens, if it was started here.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.own.as_ref().map(|own| own.address)
    }

    /// Tells it to end, without waiting.
    pub(super) fn stop(&self) -> Result<()> {
        let own = self.own.as_ref().context("only a Redis started here can be stopped")?;
        own.signal(Signal::TERM)
    }

    /// Starts it again where it was, without waiting until it answers.
    pub(super) fn start_again(&mut self) -> Result<()> {
        let own = self.own.as_mut().context("only a Redis started here can be started")?;
        own.end();
        own.child = own.start.spawn(own.address)?;
        Ok(())
    }
}

impl Own {
    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.child.id().cast_signed()).context("Redis has no pid")?;
        kill_process(pid, signal).context("cannot signal Redis")
    }

    /// Waits for its end, and kills it if it does not come.
    fn end(&mut self) {
        let deadline = Instant::now() + SERVER_STOP;
        while Instant::now() < deadline {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            thread::sleep(POLL);
        }
        // It may have ended by itself just now.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Says whether it answers; it does not if it has ended.
    fn wait_until_it_answers(&mut self) -> Result<bool> {
        let deadline = Instant::now() + REDIS_START;
        while Instant::now() < deadline {
            if self.child.try_wait().context("cannot watch Redis")?.is_some() {
                return Ok(false);
            }
            if answers(self.address) {
                return Ok(true);
            }
            thread::sleep(POLL);
        }
        bail!("{PROGRAM} does not answer within {} s", REDIS_START.as_secs())
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if self.signal(Signal::TERM).is_ok() {
            self.end();
        }
        // What cannot be removed is a folder of nothing.
        let _ = fs::remove_dir_all(&self.start.folder);
    }
}

/// Whether a Redis answers at `address` now.
pub(super) fn answers(address: SocketAddr) -> bool {
    let patience = Duration::from_millis(200);
    let asked = || {
        let mut stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_read_timeout(Some(patience))?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer)?;
        std::io::Result::Ok(answer == *b"+PONG")
    };
    asked().unwrap_or(false)
}

impl Start {
    /// As every server is started, so that it ends with this program whatever happens.
    fn spawn(&self, address: SocketAddr) -> Result<Child> {
        let port = address.port().to_string();
        let keeps = if self.is_durable { "yes" } else { "no" };
        let mut command = Command::new(env::current_exe().context("cannot find this program")?);
        command.args([LAUNCH, "", ""]).arg(&self.program);
        command.args(["--port", &port, "--bind", "127.0.0.1"]);
        command.args(["--save", "", "--appendonly", keeps, "--daemonize", "no"]);
        command.args(["--client-output-buffer-limit", OUTPUT_BUFFER]);
        command.args(["--loglevel", "warning", "--dir"]).arg(&self.folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().with_context(|| format!("cannot start {}", self.program.display()))
    }
}

/// A port that nobody listens on.
fn free_port() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    let address = listener.local_addr()?;
    ensure!(address.port() != 0, "no free port");
    Ok(address)
}

/// The program in one of the folders of `path`.
fn find(path: &OsStr) -> Option<PathBuf> {
    let is_program = |path: &PathBuf| {
        let found = fs::metadata(path);
        found.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    env::split_paths(path).map(|folder| folder.join(PROGRAM)).find(is_program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redis_that_is_not_installed_is_not_found() {
        assert_eq!(find(OsStr::new("/nowhere:/proc/self")), None);
        assert_eq!(find(OsStr::new("")), None);
    }
}
