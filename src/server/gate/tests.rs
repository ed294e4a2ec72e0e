//! The gate over a pipe in memory, with the bytes split everywhere.

use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::*;

const PLAIN: &str = "GET /health HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody";
const UPGRADE: &str = "GET /ws/raw?a=b HTTP/1.1\r\nhost: a\r\nConnection: keep-alive, Upgrade\r\n\
    X-ODD-case: 1\r\nUpgrade: WebSocket\r\n\r\n";

fn settings() -> Arc<GateSettings> {
    let (websocket_path, write_timeout) = ("/ws".to_owned(), Duration::from_millis(10));
    Arc::new(GateSettings { websocket_path, head_bytes: 8192, write_timeout })
}

/// What is passed on of `bytes` until the gate is at an upgrade or at the end, read in
/// pieces of `piece` bytes, each request by itself; and what stays if it is one.
fn pass(bytes: &[u8], piece: usize) -> (Vec<String>, Option<Vec<u8>>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let (mut peer, socket) = duplex(1 << 20);
        let (read, rest) = bytes.split_at(piece.min(bytes.len()));
        let traffic = Arc::new(Traffic::new(Instant::now()));
        let mut gate = Gate::new(socket, read, settings(), Arc::clone(&traffic));
        let mut rest = rest.chunks(piece);
        let mut passed = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            // Biased: it gets another piece when it can do nothing with the last.
            let len = tokio::select! {
                biased;
                len = gate.read(&mut buffer) => len.unwrap(),
                () = std::future::ready(()) => {
                    if traffic.is_at_upgrade() {
                        let mut behind = gate.into_parts().1;
                        behind.extend(rest.flatten());
                        return (passed, Some(behind));
                    }
                    match rest.next() {
                        Some(piece) => peer.write_all(piece).await.unwrap(),
                        None => peer.shutdown().await.unwrap(),
                    }
                    continue;
                }
            };
            if len == 0 {
                return (passed, None);
            }
            passed.push(String::from_utf8(buffer[..len].to_vec()).unwrap());
        }
    })
}

#[test]
fn an_upgrade_and_what_follows_it_stay_whole_wherever_the_bytes_are_split() {
    let frames = b"\x81\x80\0\0\0\0frames";
    let bytes = [PLAIN.as_bytes(), POST.as_bytes(), PLAIN.as_bytes(), UPGRADE.as_bytes(), frames];
    let bytes = bytes.concat();
    for piece in 1..=bytes.len() {
        let (passed, kept) = pass(&bytes, piece);
        assert_eq!(passed.concat(), [PLAIN, POST, PLAIN].concat(), "pieces of {piece}");
        let kept = kept.unwrap_or_else(|| panic!("no upgrade in pieces of {piece}"));
        assert_eq!(kept, [UPGRADE.as_bytes(), frames].concat(), "pieces of {piece}");
    }
}

#[test]
fn requests_are_passed_on_one_by_one() {
    let bytes = [PLAIN, POST, PLAIN].concat();
    assert_eq!(pass(bytes.as_bytes(), bytes.len()).0, [PLAIN, POST, PLAIN]);
}

#[test]
fn an_upgrade_at_another_path_or_to_another_protocol_is_passed_on() {
    for text in [UPGRADE.replace("/ws/raw", "/other"), UPGRADE.replace("WebSocket", "h2c")] {
        let (passed, kept) = pass(text.as_bytes(), 7);
        assert_eq!((passed.concat(), kept), (text, None));
    }
}

#[test]
fn what_is_not_understood_is_passed_on_whole() {
    let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let twice = "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n";
    let signed = "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n";
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(9000));
    for first in [chunked, twice, signed, "nonsense\r\n\r\n", "GET / HT", &long] {
        let text = format!("{first}{UPGRADE}");
        for piece in [5, text.len()] {
            let (passed, kept) = pass(text.as_bytes(), piece);
            assert_eq!((passed.concat(), kept), (text.clone(), None));
        }
    }
}

#[test]
fn a_peer_that_takes_no_answers_is_given_up() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let (_peer, socket) = duplex(16);
        let mut gate = Gate::new(socket, b"", settings(), Arc::new(Traffic::new(Instant::now())));
        let error = gate.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    });
}
