//! The head of a request, whole and cut short, and the answer to it.

use shardcast::proto::handshake::{HeadLimits, head_end, parse, write_accept, write_error};

const LIMITS: HeadLimits = HeadLimits {
    head_bytes: 2048,
    headers: 16,
};

pub(crate) fn run(data: &[u8]) {
    let answer = parse(data, &LIMITS);
    let mut response = Vec::new();
    match &answer {
        Ok(None) => {
            assert!(data.len() < LIMITS.head_bytes);
            assert_eq!(head_end(data, 0), None);
            return;
        }
        Ok(Some(head)) => {
            let len = head.head_len();
            assert!(len <= data.len().min(LIMITS.head_bytes));
            assert_eq!(head_end(data, 0), Some(len));
            assert_eq!(head_end(data, len - 1), Some(len));
            assert_eq!(head_end(&data[..len - 1], 0), None);
            assert!(matches!(parse(&data[..len - 1], &LIMITS), Ok(None)));
            assert!(head.headers().count() <= LIMITS.headers);
            match head.upgrade() {
                Ok(upgrade) => {
                    assert!(head.wants_websocket());
                    assert_eq!(upgrade.key.len(), 24);
                    write_accept(&mut response, upgrade.key, upgrade.protocols().last());
                }
                Err(error) => write_error(&mut response, &error),
            }
        }
        Err(error) => write_error(&mut response, error),
    }
    check_response(&response);
}

/// Whatever the peer sent, what it gets is one well-formed response.
fn check_response(bytes: &[u8]) {
    let response = str::from_utf8(bytes).expect("a response is ASCII");
    assert!(response.starts_with("HTTP/1.1 "));
    let (head, body) = response.split_once("\r\n\r\n").expect("a head ends");
    let mut length = 0;
    for line in head.split("\r\n").skip(1) {
        let (name, value) = line.split_once(": ").expect("a header field");
        assert!(
            name.bytes()
                .all(|byte| byte == b'-' || byte.is_ascii_alphabetic())
        );
        assert!(value.bytes().all(|byte| matches!(byte, b' '..=b'~')));
        if name == "Content-Length" {
            length = value.parse().expect("a number");
        }
    }
    assert_eq!(body.len(), length);
}
