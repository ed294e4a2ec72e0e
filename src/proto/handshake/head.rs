//! The head of a request, read (RFC 9112). Must not know what makes a request a
//! handshake, beyond that it asks for WebSocket.

use super::list::list_has;
use crate::proto::error::HandshakeError;

/// How long a request's head may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// The most bytes, from the request line to the empty line.
    pub head_bytes: usize,
    /// The most header fields.
    pub headers: usize,
}

/// The head of an HTTP/1 request. Borrows the bytes it was read from.
#[derive(Debug)]
pub struct Head<'h> {
    /// The method, as sent.
    pub method: &'h str,
    /// The path, as sent, still percent-encoded, without the query. Begins with
    /// `/` but for `OPTIONS *` and `CONNECT`.
    pub path: &'h str,
    /// What follows the first `?`, as sent.
    pub query: Option<&'h str>,
    /// Bytes of the head.
    len: usize,
    /// HTTP/1.`minor`: 0 or 1.
    pub(super) minor: u8,
    headers: Vec<httparse::Header<'h>>,
}

/// Where the head at the front of `bytes` ends, if its end is there: the number
/// of its bytes. Bytes before `searched_from` were in an earlier call's `bytes`
/// and are not searched again.
///
/// A head that comes in many small pieces is read once, not once for each piece:
///
/// ```
/// use shardcast::proto::handshake::head_end;
/// assert_eq!(head_end(b"GET / HTTP/1.1\r\nHost: a\r\n\r", 0), None);
/// assert_eq!(head_end(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 26), Some(27));
/// ```
pub fn head_end(bytes: &[u8], searched_from: usize) -> Option<usize> {
    let mut from = searched_from;
    loop {
        let newline = from + bytes.get(from..)?.iter().position(|&byte| byte == b'\n')?;
        if ends_head(bytes.get(..newline)?) {
            return Some(newline + 1);
        }
        from = newline + 1;
    }
}

/// Whether a newline after `before` ends an empty line that follows another
/// line. Empty lines before the request line do not count (RFC 9112 section
/// 2.2).
fn ends_head(before: &[u8]) -> bool {
    let line_end = |bytes| <[u8]>::strip_suffix(bytes, b"\r").unwrap_or(bytes);
    let Some(before) = line_end(before).strip_suffix(b"\n") else {
        return false;
    };
    line_end(before).last().is_some_and(|&byte| byte != b'\n')
}

/// Reads the head at the front of `bytes`. `None` if it is not all there yet.
///
/// Meant to be called once [`head_end`] has found the end or `bytes` has more
/// than `limits.head_bytes`; at any other time the result is as correct, at a higher cost.
///
/// # Errors
/// [`HandshakeError::HeadTooLong`] and [`HandshakeError::TooManyHeaders`] by
/// `limits`; [`HandshakeError::RequestLineInvalid`],
/// [`HandshakeError::HeaderInvalid`] and [`HandshakeError::HttpVersion`] for what
/// is not HTTP/1 (RFC 9112).
pub fn parse<'h>(bytes: &'h [u8], limits: &HeadLimits) -> Result<Option<Head<'h>>, HandshakeError> {
    let within = bytes.get(..limits.head_bytes).unwrap_or(bytes);
    let mut headers = vec![httparse::EMPTY_HEADER; limits.headers];
    let mut request = httparse::Request::new(&mut headers);
    let len = match request.parse(within) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) if bytes.len() < limits.head_bytes => return Ok(None),
        Ok(httparse::Status::Partial) => return Err(HandshakeError::HeadTooLong),
        Err(error) => return Err(malformed(error)),
    };
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version)
    else {
        return Err(HandshakeError::RequestLineInvalid);
    };
    let count = request.headers.len();
    headers.truncate(count);
    let target = origin_form(target);
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    Ok(Some(Head { method, path, query, len, minor, headers }))
}

const fn malformed(error: httparse::Error) -> HandshakeError {
    match error {
        httparse::Error::TooManyHeaders => HandshakeError::TooManyHeaders,
        httparse::Error::HeaderName | httparse::Error::HeaderValue | httparse::Error::NewLine => {
            HandshakeError::HeaderInvalid
        }
        httparse::Error::Version => HandshakeError::HttpVersion,
        httparse::Error::Token | httparse::Error::Status => HandshakeError::RequestLineInvalid,
    }
}

/// The path and query of a target in absolute form, which a server must take too
/// (RFC 9112 section 3.2.2); any other target as it is.
fn origin_form(target: &str) -> &str {
    if target.starts_with('/') {
        return target;
    }
    let Some((_, after_scheme)) = target.split_once("://") else {
        return target;
    };
    match after_scheme.find(['/', '?']) {
        Some(at) if after_scheme.as_bytes().get(at) == Some(&b'/') => &after_scheme[at..],
        _ => "/",
    }
}

impl<'h> Head<'h> {
    /// Bytes of the head, the empty line included: what follows in the input
    /// belongs to the connection.
    pub const fn head_len(&self) -> usize {
        self.len
    }

    /// The value of the first header field named `name`, in any case.
    pub fn header(&self, name: &str) -> Option<&'h [u8]> {
        self.values(name).next()
    }

    /// The same, if it is UTF-8.
    pub fn header_str(&self, name: &str) -> Option<&'h str> {
        self.header(name).and_then(|value| str::from_utf8(value).ok())
    }

    /// The values of all header fields named `name`, in any case, in order.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &'h [u8]> {
        self.headers()
            .filter(move |(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// All header fields, in order: names as sent, values without white space
    /// around them.
    pub fn headers(&self) -> impl Iterator<Item = (&'h str, &'h [u8])> {
        let pair = |field: &httparse::Header<'h>| (field.name, field.value.trim_ascii());
        self.headers.iter().map(pair)
    }

    /// Whether `Upgrade` lists `websocket`: whether this request is a handshake
    /// at all, rather than one for another server. [`Head::upgrade`] checks
    /// whether it is a valid one.
    pub fn wants_websocket(&self) -> bool {
        list_has(self.values("upgrade"), "websocket")
    }
}
