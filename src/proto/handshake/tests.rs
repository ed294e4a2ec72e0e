//! What the module beside this promises, each rule accepted and refused.

use super::*;

const LIMITS: HeadLimits = HeadLimits { head_bytes: 1024, headers: 16 };

/// RFC 6455 section 1.3.
const REQUEST: &str = "GET /chat HTTP/1.1\r\n\
    Host: server.example.com\r\n\
    Upgrade: websocket\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Origin: http://example.com\r\n\
    Sec-WebSocket-Protocol: chat, superchat\r\n\
    Sec-WebSocket-Version: 13\r\n\
    \r\n";

fn head(request: &str) -> Head<'_> {
    parse(request.as_bytes(), &LIMITS).unwrap().unwrap()
}

/// What is wrong with [`REQUEST`] once `line` is replaced by `by`.
#[track_caller]
fn verdict(line: &str, by: &str) -> Result<(), HandshakeError> {
    assert!(REQUEST.contains(line));
    let request = REQUEST.replace(line, by);
    head(&request).upgrade().map(drop)
}

#[test]
fn the_example_of_rfc_6455_section_1_3() {
    let head = head(REQUEST);
    assert_eq!((head.method, head.path, head.query), ("GET", "/chat", None));
    assert_eq!(head.head_len(), REQUEST.len());
    assert_eq!(head.header_str("ORIGIN"), Some("http://example.com"));
    assert!(head.wants_websocket());

    let upgrade = head.upgrade().unwrap();
    assert_eq!(upgrade.protocols().collect::<Vec<_>>(), ["chat", "superchat"]);
    let mut response = Vec::new();
    write_accept(&mut response, upgrade.key, upgrade.protocols().next());
    let want = "HTTP/1.1 101 Switching Protocols\r\n\
        Upgrade: websocket\r\n\
        Connection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
        Sec-WebSocket-Protocol: chat\r\n\
        \r\n";
    assert_eq!(str::from_utf8(&response), Ok(want));
}

#[test]
fn a_head_is_read_once_it_is_all_there() {
    let bytes = REQUEST.as_bytes();
    for end in 0..bytes.len() {
        assert!(parse(&bytes[..end], &LIMITS).unwrap().is_none());
        assert_eq!(head_end(&bytes[..end], end.saturating_sub(1)), None);
    }
    let followed = [bytes, b"\x81\x80\n\n"].concat();
    let head = parse(&followed, &LIMITS).unwrap().unwrap();
    assert_eq!(head.head_len(), bytes.len());
    assert_eq!(head_end(&followed, 0), Some(bytes.len()));
}

#[test]
fn the_end_is_where_the_parser_sees_it() {
    for (bytes, end) in [
        (&b"GET / HTTP/1.1\n\n"[..], Some(16)),
        (b"GET / HTTP/1.1\n\r\n", Some(17)),
        (b"GET / HTTP/1.1\r\n\n", Some(17)),
        (b"\r\n\r\nGET / HTTP/1.1\r\n", None),
        (b"\r\n\r\nGET / HTTP/1.1\r\n\r\n", Some(22)),
        (b"\n\n\n", None),
        (b"\n", None),
    ] {
        assert_eq!(head_end(bytes, 0), end, "{bytes:?}");
        let parsed = parse(bytes, &LIMITS).unwrap();
        assert_eq!(parsed.map(|head| head.head_len()), end, "{bytes:?}");
    }
    assert_eq!(head_end(b"abc", 9), None);
}

#[test]
fn targets_are_split_into_path_and_query() {
    for (target, path, query) in [
        ("/", "/", None),
        ("/ws/pubsub?token=a&b=%20?", "/ws/pubsub", Some("token=a&b=%20?")),
        ("/ws?", "/ws", Some("")),
        ("http://host:80/ws?a", "/ws", Some("a")),
        ("ws://host", "/", None),
        ("*", "*", None),
        ("/a://b/c", "/a://b/c", None),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        let head = head(&request);
        assert_eq!((head.path, head.query), (path, query), "{target}");
    }
}

#[test]
fn heads_beyond_the_limits_are_refused() {
    let limits = |head_bytes, headers| HeadLimits { head_bytes, headers };
    let bytes = REQUEST.as_bytes();
    assert!(parse(bytes, &limits(bytes.len(), 7)).unwrap().is_some());
    let long = parse(bytes, &limits(bytes.len() - 1, 7));
    assert_eq!(long.unwrap_err(), HandshakeError::HeadTooLong);
    let many = parse(bytes, &limits(bytes.len(), 6));
    assert_eq!(many.unwrap_err(), HandshakeError::TooManyHeaders);
    let endless = parse(&[b'A'; 1024], &LIMITS);
    assert_eq!(endless.unwrap_err(), HandshakeError::HeadTooLong);
    assert!(parse(&[b'A'; 1023], &LIMITS).unwrap().is_none());
}

#[test]
fn what_is_not_http_is_refused() {
    for (bytes, error) in [
        (&b"\x16\x03\x01\x02"[..], HandshakeError::RequestLineInvalid),
        (b"GET / HTTP/2.0\r\n\r\n", HandshakeError::HttpVersion),
        (b"GET /\x01 HTTP/1.1\r\n\r\n", HandshakeError::RequestLineInvalid),
        (b"GET / HTTP/1.1\r\na b: c\r\n\r\n", HandshakeError::HeaderInvalid),
        (b"GET / HTTP/1.1\r\na: b\r\n c\r\n\r\n", HandshakeError::HeaderInvalid),
        (b"GET / HTTP/1.1\r\na: \x00\r\n\r\n", HandshakeError::HeaderInvalid),
    ] {
        assert_eq!(parse(bytes, &LIMITS).unwrap_err(), error, "{bytes:?}");
    }
}

#[test]
fn only_get_by_http_1_1_upgrades() {
    let refused = verdict("GET", "POST");
    assert_eq!(refused, Err(HandshakeError::MethodNotAllowed));
    let refused = verdict("HTTP/1.1", "HTTP/1.0");
    assert_eq!(refused, Err(HandshakeError::HttpVersion));
}

#[test]
fn there_is_one_host() {
    let line = "Host: server.example.com\r\n";
    assert_eq!(verdict(line, ""), Err(HandshakeError::HostMissing));
    let twice = verdict(line, "Host: a\r\nhost: a\r\n");
    assert_eq!(twice, Err(HandshakeError::HostRepeated));
}

#[test]
fn upgrade_lists_websocket() {
    let line = "Upgrade: websocket\r\n";
    for good in [
        "upgrade: WebSocket\r\n",
        "Upgrade: h2c, websocket\r\n",
        "Upgrade: h2c\r\nUpgrade: websocket,\r\n",
    ] {
        assert_eq!(verdict(line, good), Ok(()), "{good}");
    }
    for bad in ["", "Upgrade: websockets\r\n", "Upgrade: h2c\r\n"] {
        assert_eq!(verdict(line, bad), Err(HandshakeError::UpgradeMissing));
        assert!(!head(&REQUEST.replace(line, bad)).wants_websocket());
    }
}

#[test]
fn connection_lists_upgrade() {
    let line = "Connection: Upgrade\r\n";
    for good in
        ["Connection: keep-alive, Upgrade\r\n", "Connection: keep-alive\r\nConnection:upgrade \r\n"]
    {
        assert_eq!(verdict(line, good), Ok(()), "{good}");
    }
    for bad in ["", "Connection: keep-alive\r\n", "Connection: upgraded\r\n"] {
        assert_eq!(verdict(line, bad), Err(HandshakeError::ConnectionMissing));
    }
}

#[test]
fn the_version_is_13() {
    let line = "Sec-WebSocket-Version: 13\r\n";
    let version = |value: &str| format!("Sec-WebSocket-Version: {value}\r\n");
    let twice = version("13") + &version("13");
    for bad in ["", &version("8"), &version("013"), &version("13, 8"), &twice] {
        let refused = verdict(line, bad);
        assert_eq!(refused, Err(HandshakeError::VersionUnsupported), "{bad}");
    }
}

#[test]
fn there_is_one_key_of_16_bytes() {
    let line = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let key = |value: &str| format!("Sec-WebSocket-Key: {value}\r\n");
    assert_eq!(verdict(line, ""), Err(HandshakeError::KeyMissing));
    let twice = [line, line].concat();
    assert_eq!(verdict(line, &twice), Err(HandshakeError::KeyRepeated));
    for good in ["AAAAAAAAAAAAAAAAAAAAAA==", "x3JJHMbDL1EzLkh9GBhXDw==", "+/+/+/+/+/+/+/+/+/+/+w=="]
    {
        assert_eq!(verdict(line, &key(good)), Ok(()), "{good}");
    }
    for bad in [
        "",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25jZQ=",
        "dGhlIHNhbXBsZSBub25jZQ===",
        "dGhlIHNhbXBsZSBub25jZ===",
        "dGhlIHNhbXBsZSBub25jZQ==, a",
        "dGhlIHNhbXBsZSBub25j_-==",
        "dGhlIHNhbXBsZSBub25jZWFh",
        "é",
    ] {
        let refused = verdict(line, &key(bad));
        assert_eq!(refused, Err(HandshakeError::KeyInvalid), "{bad}");
    }
}

#[test]
fn protocols_are_tokens_in_the_order_of_the_client() {
    let line = "Sec-WebSocket-Protocol: chat, superchat\r\n";
    let lists = "Sec-WebSocket-Protocol: b ,, shardcast.raw\r\nsec-websocket-protocol: a\r\n";
    let request = REQUEST.replace(line, lists);
    let upgrade = head(&request).upgrade().unwrap();
    assert_eq!(upgrade.protocols().collect::<Vec<_>>(), ["b", "shardcast.raw", "a"]);

    assert_eq!(verdict(line, ""), Ok(()));
    for bad in ["a b", "a, b/c", "é", "\"a\""] {
        let refused = verdict(line, &format!("Sec-WebSocket-Protocol: {bad}\r\n"));
        assert_eq!(refused, Err(HandshakeError::ProtocolInvalid), "{bad}");
    }
}

#[test]
fn a_protocol_cannot_smuggle_a_header_into_the_response() {
    let mut response = Vec::new();
    write_accept(&mut response, "key", Some("a\r\nSet-Cookie: b"));
    let response = String::from_utf8(response).unwrap();
    assert!(!response.contains("Protocol:") && !response.contains("Cookie"));
}

#[test]
fn refusals_say_what_is_wrong() {
    let response = |error: HandshakeError| {
        let mut response = Vec::new();
        write_error(&mut response, &error);
        String::from_utf8(response).unwrap()
    };
    let want = "HTTP/1.1 426 Upgrade Required\r\n\
        Upgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\n\
        Connection: close\r\n\
        Content-Type: text/plain; charset=utf-8\r\n\
        Content-Length: 33\r\n\
        \r\n\
        Sec-WebSocket-Version must be 13\n";
    assert_eq!(response(HandshakeError::VersionUnsupported), want);
    let method = response(HandshakeError::MethodNotAllowed);
    assert!(method.starts_with("HTTP/1.1 405 Method Not Allowed\r\nAllow: GET\r\n"));
    let long = response(HandshakeError::HeadTooLong);
    assert!(long.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"));
    let host = response(HandshakeError::HostMissing);
    assert!(host.starts_with("HTTP/1.1 400 Bad Request\r\n"));
    assert!(host.ends_with("\r\n\r\nthe Host header is missing\n"));
}

#[test]
fn a_handshake_has_no_body() {
    let line = "Sec-WebSocket-Protocol: chat, superchat\r\n";
    for body in ["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"] {
        assert_eq!(verdict(line, body), Err(HandshakeError::BodyPresent), "{body}");
    }
    assert_eq!(verdict(line, "Content-Length: 0\r\n"), Ok(()));
}
