//! The binary as whoever runs it sees it: what it prints, what it answers, how
//! it ends.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, ChildStdout, Command, Output, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

const BINARY: &str = env!("CARGO_BIN_EXE_shardcast");

/// Far above what any step takes: a test that hangs must end, and fail.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running server, killed at the end of its test.
struct Server {
    process: Child,
    stdout: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        Self::start_by(Command::new(BINARY), arguments)
    }

    fn start_by(mut command: Command, arguments: &[&str]) -> Self {
        command.args(["--listen", "127.0.0.1:0", "--shards", "2", "--no-pin"]).args(arguments);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let line = line_of(&mut stdout);
        let Some(address) = line.strip_prefix("listening on ") else {
            let output = process.wait_with_output().unwrap();
            panic!("{line:?}, then {}", String::from_utf8_lossy(&output.stderr));
        };
        Self { address: address.parse().unwrap(), process, stdout }
    }

    fn connect(&self) -> Client {
        let socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Client(BufReader::new(socket))
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    fn exit_code(&mut self) -> Option<i32> {
        self.process.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn line_of(from: &mut impl BufRead) -> String {
    let mut line = String::new();
    from.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

struct Client(BufReader<TcpStream>);

struct Response {
    status: String,
    headers: Vec<String>,
    body: String,
}

impl Response {
    fn has(&self, header: &str) -> bool {
        self.headers.iter().any(|line| line.eq_ignore_ascii_case(header))
    }
}

impl Client {
    fn write(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).unwrap();
    }

    fn ask(&mut self, method: &str, path: &str) {
        self.write(format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
    }

    fn response(&mut self) -> Response {
        let status = line_of(&mut self.0).split(' ').nth(1).unwrap_or_default().to_owned();
        let mut headers = Vec::new();
        loop {
            match line_of(&mut self.0) {
                line if line.is_empty() => break,
                line => headers.push(line),
            }
        }
        let length = headers.iter().find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok()
        });
        let mut body = vec![0; length.unwrap_or(0)];
        self.0.read_exact(&mut body).unwrap();
        Response { status, headers, body: String::from_utf8(body).unwrap() }
    }

    fn get(&mut self, path: &str) -> Response {
        self.ask("GET", path);
        self.response()
    }

    /// Upgrades, at a path of the `raw` dialect, which greets nobody.
    fn upgrade(&mut self) {
        self.write(
            b"GET /ws/raw HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
              Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
              Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        );
        assert_eq!(self.response().status, "101");
    }

    /// A frame of less than 126 bytes, with the masking key 0.
    fn send_frame(&mut self, first: u8, payload: &[u8]) {
        let mut frame = vec![first, 0x80 | payload.len() as u8, 0, 0, 0, 0];
        frame.extend_from_slice(payload);
        self.write(&frame);
    }

    fn frame(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 2];
        self.0.read_exact(&mut head).unwrap();
        let mut payload = vec![0; usize::from(head[1])];
        self.0.read_exact(&mut payload).unwrap();
        (head[0], payload)
    }
}

/// Runs the binary to an end that must be an error: its code and its one line.
fn error_of(command: &mut Command) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = String::from_utf8(stderr).unwrap();
    let line = text.strip_suffix('\n').unwrap_or(&text);
    assert!(!line.contains('\n'), "more than one line: {text}");
    assert!(stdout.is_empty(), "{stdout:?}");
    let why = line.strip_prefix("shardcast: error: ");
    (status.code(), why.unwrap_or_else(|| panic!("no error: {text:?}")).to_owned())
}

#[test]
fn it_says_where_it_listens_and_what_to_try() {
    let mut server = Server::start(&[]);
    let address = server.address;
    assert_eq!(line_of(&mut server.stdout), format!("try: npx wscat -c ws://{address}/ws"));
    let then = line_of(&mut server.stdout);
    assert_eq!(then, r#"then type: {"type":"subscribe","room":"chat"}"#);
}

#[test]
fn health_counts_clients() {
    let server = Server::start(&[]);
    let mut prober = server.connect();
    let empty = prober.get("/health");
    assert_eq!(empty.status, "200");
    assert!(empty.has("Content-Type: application/json"), "{:?}", empty.headers);
    assert_eq!(empty.body, r#"{"status":"healthy","clients":0,"rooms":0}"#);
    let mut client = server.connect();
    client.upgrade();
    assert_eq!(prober.get("/health").body, r#"{"status":"healthy","clients":1,"rooms":0}"#);
}

#[test]
fn the_websocket_path_asks_for_an_upgrade() {
    let server = Server::start(&["--path", "/live"]);
    for path in ["/live", "/live/", "/live/pubsub", "/live?token=1"] {
        let response = server.connect().get(path);
        assert_eq!(response.status, "426", "{path}");
        assert!(response.has("Upgrade: websocket"), "{:?}", response.headers);
        assert!(response.has("Sec-WebSocket-Version: 13"), "{:?}", response.headers);
        assert_eq!(response.body, "this path speaks WebSocket only\n");
    }
}

#[test]
fn other_paths_and_methods_are_refused() {
    let server = Server::start(&[]);
    let response = server.connect().get("/nothing");
    assert_eq!(
        (response.status.as_str(), response.body.as_str()),
        ("404", "there is nothing at this path\n")
    );
    let mut client = server.connect();
    client.ask("DELETE", "/health");
    let response = client.response();
    assert_eq!(response.status, "405");
    assert!(response.has("Allow: GET,HEAD"), "{:?}", response.headers);
}

#[test]
fn a_large_body_is_refused() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.write(b"POST /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n");
    let response = client.response();
    assert_eq!(response.status, "413");
    assert!(response.has("Connection: close"), "{:?}", response.headers);
}

#[test]
fn pipelined_requests_are_answered_in_order_on_one_connection() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let paths = ["/health", "/ws", "/nothing", "/health"];
    let requests: String =
        paths.map(|path| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).concat();
    client.write(requests.as_bytes());
    let statuses = paths.map(|_| client.response().status);
    assert_eq!(statuses, ["200", "426", "404", "200"]);
    assert_eq!(client.get("/health").status, "200");
}

#[test]
fn the_raw_dialect_echoes() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.upgrade();
    client.send_frame(0x81, b"text");
    client.send_frame(0x82, &[0, 255]);
    assert_eq!(client.frame(), (0x81, b"text".to_vec()));
    assert_eq!(client.frame(), (0x82, vec![0, 255]));
}

#[test]
fn a_first_signal_drains_and_ends_with_zero() {
    let mut server = Server::start(&[]);
    let mut prober = server.connect();
    assert_eq!(prober.get("/health").status, "200");
    let mut client = server.connect();
    client.upgrade();
    server.signal(Signal::TERM);
    let (first, payload) = client.frame();
    assert_eq!((first, &payload[..2]), (0x88, &1001_u16.to_be_bytes()[..]));
    let draining = prober.get("/health");
    assert_eq!(draining.status, "503");
    assert!(draining.body.starts_with(r#"{"status":"draining","clients":"#), "{}", draining.body);
    client.send_frame(0x88, &payload);
    assert_eq!(server.exit_code(), Some(0));
}

#[test]
fn a_second_signal_ends_at_once() {
    for (second, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut server = Server::start(&["--close-timeout", "1h", "--drain-timeout", "1h"]);
        let mut client = server.connect();
        client.upgrade();
        server.signal(Signal::INT);
        assert_eq!(client.frame().0, 0x88);
        server.signal(second);
        assert_eq!(server.exit_code(), Some(code));
    }
}

#[test]
fn a_closed_stdout_does_no_harm() {
    let (reader, stdout) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(BINARY);
    command.args(["--listen", "127.0.0.1:0"]).stdout(stdout).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    // The log tells the address, too.
    let mut logs = BufReader::new(process.stderr.take().unwrap()).lines().map(Result::unwrap);
    let address = logs.find_map(|line| Some(line.split_once("address=")?.1.to_owned())).unwrap();
    let socket = TcpStream::connect(address.split(' ').next().unwrap()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(Client(BufReader::new(socket)).get("/health").status, "200");
    kill_process(Pid::from_child(&process), Signal::TERM).unwrap();
    assert_eq!(process.wait().unwrap().code(), Some(0));
}

#[test]
fn a_port_in_use_is_one_line() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let (code, why) = error_of(Command::new(BINARY).args(["--listen", &address]));
    assert_eq!(code, Some(1));
    assert_eq!(why, format!("cannot listen on {address}: the port is in use"));
}

#[test]
fn a_mistake_in_the_arguments_is_one_line_that_names_it() {
    for (arguments, expected) in [
        (&["--foo"][..], "there is no flag '--foo'; --help lists all"),
        (&["--listn=x"], "there is no flag '--listn'; a similar one is --listen"),
        (&["extra"], "'extra' is neither a flag nor a command; --help lists all"),
        (&["probe", "extra"], "'extra' is no flag; --help lists all"),
        (&["--driver"], "--driver needs a value"),
        (&["--driver", "fast"], "--driver: 'fast' is none of auto, epoll, uring"),
        (&["--shards", "65"], "--shards: '65': 65 is not in 1..=64"),
        (&["--listen", "a\nb"], "--listen: 'a b' is not address:port, such as 127.0.0.1:8080"),
        (&["--path=/health"], "--path: /health is where the health is told"),
        (&["--max-message-size=0"], "--max-message-size must be at least 1"),
        (&["--max-head-size=0"], "--max-head-size must be at least 1"),
        (&["--ipv6-prefix-bits=0"], "--ipv6-prefix-bits: '0': 0 is not in 1..=128"),
        (&["--ipv6-prefix-bits=129"], "--ipv6-prefix-bits: '129': 129 is not in 1..=128"),
        (&["--write-timeout=0s"], "--write-timeout: '0s': must be above zero"),
        (
            &["--ping-interval=10"],
            "--ping-interval: '10': a time needs a unit, such as 500ms, 10s or 2m",
        ),
        (&["--ping-interval=2m"], "--pong-timeout (60s) must be above --ping-interval (120s)"),
    ] {
        let (code, why) = error_of(Command::new(BINARY).args(arguments));
        assert_eq!((code, why.as_str()), (Some(2), expected), "{arguments:?}");
    }
}

#[test]
fn too_few_descriptors_are_one_line() {
    let script = "ulimit -n 40; exec \"$0\"";
    let (code, why) = error_of(Command::new("sh").args(["-c", script, BINARY]));
    assert_eq!(code, Some(1));
    assert!(why.contains("may open 40 files"), "{why}");
}

#[test]
fn where_descriptors_run_short_the_surplus_is_told_that_the_server_is_full() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 100; exec \"$0\" \"$@\"", BINARY]);
    let server = Server::start_by(command, &[]);
    let mut served = Vec::new();
    let refused = loop {
        assert!(served.len() < 100, "more clients than descriptors");
        let mut client = server.connect();
        client.upgrade();
        client.send_frame(0x81, b"?");
        match client.frame() {
            (0x81, echo) => assert_eq!(echo, b"?"),
            (_, close) => break close,
        }
        served.push(client);
    };
    assert!(served.len() > 40, "only {} were served", served.len());
    assert_eq!(refused[..2], 1013u16.to_be_bytes());
}

#[test]
fn probes_that_stay_do_not_lock_clients_out() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 100; exec \"$0\" \"$@\"", BINARY]);
    let server = Server::start_by(command, &[]);
    let mut probes = Vec::new();
    for _ in 0..20 {
        let mut probe = server.connect();
        probe.ask("GET", "/health");
        probes.push(probe);
    }
    let mut client = server.connect();
    client.upgrade();
    client.send_frame(0x81, b"?");
    assert_eq!(client.frame(), (0x81, b"?".to_vec()));
}

#[test]
fn a_prober_may_close_its_side_behind_its_request() {
    let server = Server::start(&[]);
    for _ in 0..50 {
        let mut probe = server.connect();
        probe.ask("GET", "/health");
        probe.0.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(probe.response().status, "200");
    }
}

#[test]
fn help_and_version_go_to_stdout() {
    for (flag, expected) in [("--help", "--max-message-size <SIZE>"), ("--version", "shardcast ")] {
        let output = Command::new(BINARY).arg(flag).output().unwrap();
        assert!(output.status.success());
        assert!(String::from_utf8(output.stdout).unwrap().contains(expected));
    }
}
