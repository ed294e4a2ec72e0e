//! Servers of the tests: started on ports from the kernel, in directories of their own,
//! ended by process id when dropped, also when a test panics.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

/// After which a test that waits fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Waits until `condition` gives something.
#[track_caller]
pub(crate) fn until<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    until_or(what, String::new, condition)
}

/// Waits until `condition` gives something; if it never does, says how it stands.
#[track_caller]
pub(crate) fn until_or<T>(
    what: &str,
    state: impl Fn() -> String,
    mut condition: impl FnMut() -> Option<T>,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(start.elapsed() < DEADLINE, "never came: {what} {}", state());
        thread::sleep(LOOK_EVERY);
    }
}

/// A port that is free now.
pub(crate) fn free_port() -> u16 {
    // A cluster's bus takes the port 10,000 above.
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        if port < 55_000 && TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok() {
            return port;
        }
    }
}

/// A directory that is removed in the end.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("shardcast-relay-{}-{next}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A Redis server.
pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) directory: Directory,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl Server {
    /// Starts one with these settings.
    pub(crate) fn start(settings: &[&str]) -> Self {
        Self::start_in(Directory::new(), settings)
    }

    pub(crate) fn start_in(directory: Directory, settings: &[&str]) -> Self {
        let arguments = settings.iter().map(ToString::to_string).collect();
        let mut server = Self { port: free_port(), directory, arguments, child: None };
        server.restart();
        server
    }

    /// Starts it again on its port.
    pub(crate) fn restart(&mut self) {
        self.kill();
        let port = self.port.to_string();
        let mut command = Command::new("redis-server");
        if self.arguments.iter().any(|argument| argument == "--sentinel-file") {
            command.arg(self.directory.path().join("sentinel.conf")).arg("--sentinel");
            command.args(["--port", &port]);
        } else if self.arguments.iter().any(|argument| argument == "--tls-port") {
            command
                .args(self.arguments.iter().map(|word| if word == "PORT" { &port } else { word }));
        } else {
            command.args(["--port", &port]).args(&self.arguments);
        }
        command.arg("--dir").arg(self.directory.path());
        command.args(["--bind", "127.0.0.1", "--daemonize", "no"]);
        let log = fs::File::create(self.directory.path().join("log")).unwrap();
        command.stdin(Stdio::null()).stdout(log).stderr(Stdio::null());
        self.child = Some(command.spawn().expect("redis-server is installed by tests/run.sh"));
        until("a server that listens", || {
            let child = self.child.as_mut()?;
            if let Some(status) = child.try_wait().unwrap() {
                let log = fs::read_to_string(self.directory.path().join("log"));
                panic!("redis-server has ended: {status}\n{}", log.unwrap_or_default());
            }
            std::net::TcpStream::connect(("127.0.0.1", self.port)).ok()
        });
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let child = self.child.as_ref().expect("it runs");
        rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).unwrap();
    }

    /// Stops it without ending it.
    pub(crate) fn pause(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    pub(crate) fn resume(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A connection of the test's own.
    pub(crate) fn connection(&self) -> redis::Connection {
        connection(&self.url())
    }

    /// Asks it something.
    pub(crate) fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        command(words).query(&mut self.connection()).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A connection of the test's own, once the server answers.
pub(crate) fn connection(url: &str) -> redis::Connection {
    let client = redis::Client::open(url).unwrap();
    until("a server that answers", || {
        let mut connection = client.get_connection_with_timeout(Duration::from_secs(1)).ok()?;
        redis::cmd("PING").query::<String>(&mut connection).ok()?;
        Some(connection)
    })
}

pub(crate) fn command(words: &[&str]) -> redis::Cmd {
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    command
}
