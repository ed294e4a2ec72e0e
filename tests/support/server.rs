//! A program that listens, as a process of its own: the server or an example, started
//! with flags on a port of the kernel's choice, killed when the test is over. Knows
//! nothing of what is said to it.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread::{self, JoinHandle},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{GUARD, RawClient, drivers::assert_as_asked, wait_until};

/// A running server. Dropping it kills it; if a test fails, its flags and its
/// log are shown.
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
    flags: Vec<String>,
    /// Lines of standard output; disconnected once the process is gone.
    output: Receiver<String>,
    log: Option<JoinHandle<String>>,
}

impl Server {
    /// Starts a server on a free port and waits until it listens.
    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::start_by(program, flags)
    }

    /// The same, by the command that `program` makes of the flags. If they name a
    /// driver, the server must use it.
    #[track_caller]
    pub(crate) fn start_by(program: impl FnOnce(&[&str]) -> Command, flags: &[&str]) -> Self {
        let server = Self::start_with_fallback(program, flags);
        let value_of = |name| flags.windows(2).find(|pair| pair[0] == name).map(|pair| pair[1]);
        if let (Some(driver), Some(shards)) = (value_of("--driver"), value_of("--shards"))
            && driver != "auto"
        {
            assert_as_asked(driver, shards.parse().expect("a number"), server.ring_count());
        }
        server
    }

    /// The same on whatever driver the server chooses to use.
    pub(crate) fn start_with_fallback(
        program: impl FnOnce(&[&str]) -> Command,
        flags: &[&str],
    ) -> Self {
        let flags = [&["--listen", "127.0.0.1:0"], flags].concat();
        let mut child = spawn(&mut program(&flags));
        let (lines, output) = channel();
        let stdout = BufReader::new(child.stdout.take().expect("a piped output"));
        thread::spawn(move || {
            // The receiver may be gone; the pipe must be emptied all the same.
            stdout.lines().map_while(Result::ok).for_each(|line| drop(lines.send(line)));
        });
        let log = Some(read_all(child.stderr.take().expect("a piped log")));
        let flags = flags.into_iter().map(str::to_owned).collect();
        let address = SocketAddr::from(([0; 4], 0));
        let mut server = Self { child, address, flags, output, log };
        server.address = server.wait_for_address();
        server
    }

    fn wait_for_address(&self) -> SocketAddr {
        loop {
            let line = self.output.recv_timeout(GUARD).expect("a line that says the address");
            if let Some((_, address)) = line.split_once("listening on ") {
                let address = address.split_whitespace().next().unwrap_or_default();
                return address.parse().unwrap_or_else(|_| panic!("no address in {line:?}"));
            }
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next line that it prints.
    pub(crate) fn next_line(&self) -> String {
        self.output.recv_timeout(GUARD).expect("another line")
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a server to signal");
    }

    /// Waits until it has ended by itself.
    pub(crate) fn exit_status(&mut self) -> ExitStatus {
        loop {
            match self.output.recv_timeout(GUARD) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("the server does not end"),
            }
        }
        self.child.wait().expect("a status")
    }

    /// All that it has logged, once it has ended.
    pub(crate) fn log(mut self) -> String {
        self.log.take().and_then(|log| log.join().ok()).unwrap_or_default()
    }

    /// What its health endpoint answers.
    pub(crate) fn health(&self) -> Value {
        self.get("/health")
    }

    /// What it answers at `path`, which must be JSON with status 200.
    pub(crate) fn get(&self, path: &str) -> Value {
        let mut client = RawClient::connect(self.address);
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        client.send(head.as_bytes());
        let response = client.read_response();
        assert_eq!(response.status, 200, "{response:?}");
        serde_json::from_str(&response.body).expect("JSON")
    }

    /// Waits until its health endpoint counts so many clients.
    pub(crate) fn wait_for_clients(&self, count: usize) {
        wait_until(&format!("there are {count} clients"), || self.health()["clients"] == count);
    }

    /// How many instances of `io_uring` it holds, as the kernel lists them: what its
    /// shards run on, and not what they were told to run on.
    fn ring_count(&self) -> usize {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", self.child.id()));
        let targets = descriptors.expect("a running server").flatten();
        // One that was closed meanwhile has no target.
        let targets = targets.filter_map(|entry| fs::read_link(entry.path()).ok());
        targets.filter(|target| target.as_os_str() == "anon_inode:[io_uring]").count()
    }

    /// Bytes of memory that it holds now.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(path).expect("a running server");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kilobytes.and_then(|number| number.parse::<u64>().ok()).expect("a number") * 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
        let log = self.log.take().and_then(|log| log.join().ok());
        if thread::panicking() {
            eprintln!("server {}\n{}", self.flags.join(" "), log.unwrap_or_default());
        }
    }
}

/// The server's program, with these flags.
pub(crate) fn program(flags: &[&str]) -> Command {
    let Some(path) = option_env!("CARGO_BIN_EXE_shardcast") else {
        panic!("the server is not built: its feature is off");
    };
    let mut program = Command::new(path);
    program.args(flags);
    program
}

/// Runs a program until it ends by itself.
pub(crate) fn run_to_end(command: &mut Command) -> Output {
    let child = spawn(command);
    let pid = Pid::from_child(&child);
    let (sender, ended) = channel();
    thread::spawn(move || drop(sender.send(child.wait_with_output())));
    let Ok(output) = ended.recv_timeout(GUARD) else {
        kill_process(pid, Signal::KILL).expect("a program to kill");
        panic!("the program does not end by itself: {command:?}");
    };
    output.expect("its output")
}

fn spawn(command: &mut Command) -> Child {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?} cannot be run: {error}"))
}

fn read_all(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error is still worth showing.
        drop(from.read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
