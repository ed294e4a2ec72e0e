//! The shards of an engine before they have drivers, made of settings that were
//! checked. Knows nothing of sockets.

use std::{
    hash::{BuildHasher, RandomState},
    net::TcpStream,
    sync::Arc,
};

use super::{
    error::BuildError,
    housekeeping::Chore,
    mailbox::{Mailbox, MailboxSender},
    relay::{RelayStart, relay_mailbox},
};
use crate::{
    dialect::Dialect,
    engine::{App, Limits, Process, RelayPort},
    relay::Relay,
};

/// A connection whose request is no WebSocket handshake.
#[derive(Debug)]
pub(crate) struct PlainRequest {
    /// It does not block.
    pub(crate) socket: TcpStream,
    /// What was read of it.
    pub(crate) read: Vec<u8>,
}

/// Takes over all such connections of one turn. Called on a shard's thread, between
/// two turns; must not block.
pub(super) type HttpHandOff = Arc<dyn Fn(Vec<PlainRequest>) + Send + Sync>;

/// An engine's shards before they have drivers.
pub(super) struct Parts {
    pub(super) process: Arc<Process>,
    pub(super) app: Arc<App>,
    pub(super) mailboxes: Vec<(Mailbox, MailboxSender)>,
    pub(super) relay: Option<RelayStart>,
    /// Called on every thread now and then.
    pub(super) chore: Option<Chore>,
}

impl Parts {
    /// Checks the settings and makes the parts.
    ///
    /// # Errors
    /// [`BuildError::Settings`].
    pub(super) fn new(
        app: App,
        limits: Limits,
        dialect: Dialect,
        path: &str,
        shards: usize,
        relay: Option<Box<dyn Relay>>,
    ) -> Result<Self, BuildError> {
        if !(1..=Limits::SHARDS).contains(&shards) {
            let most = Limits::SHARDS;
            return Err(BuildError::Settings(format!("shards must be 1 to {most}, not {shards}")));
        }
        if relay.is_some() && shards == Limits::SHARDS {
            return Err(BuildError::Settings(format!(
                "with a relay there can be {} shards at the most",
                Limits::SHARDS - 1
            )));
        }
        limits.check().map_err(BuildError::Settings)?;
        let path = checked_path(path)?;
        let mailboxes = (0..shards).map(|_| Mailbox::new(limits.handle_window_bytes)).collect();
        let relay = relay.map(|relay| {
            let mailbox = relay_mailbox(limits.handle_window_bytes, relay.rules());
            RelayStart { relay, mailbox }
        });
        let port = relay.as_ref().map(|start| start.mailbox.sender() as Arc<dyn RelayPort>);
        let process = Process::new(random_node(), limits, dialect, path, shards, port);
        Ok(Self { process: Arc::new(process), app: Arc::new(app), mailboxes, relay, chore: None })
    }
}

/// The path of WebSocket handshakes as the engine compares it, byte by byte, with
/// that of a request: `/` is the empty one, below which the dialects' are.
///
/// It must be one that clients send as it stands: percent-encoded bytes have two
/// forms, `.` and `..` are resolved before they are sent, a query is not part of it
/// (RFC 3986 section 3.3).
fn checked_path(path: &str) -> Result<&str, BuildError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte);
    let is_segment =
        |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(plain);
    match path.strip_prefix('/') {
        Some("") => Ok(""),
        Some(rest) if rest.split('/').all(is_segment) => Ok(path),
        _ => Err(BuildError::Settings(format!(
            "path '{path}' must be one such as /ws: a slash before each segment, and in a segment \
             letters, digits and -._~!$&'()*+,;=:@"
        ))),
    }
}

/// A number that differs from process to process.
fn random_node() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_no_request_can_have_is_refused_by_name() {
        for path in ["", "ws", "/ws/", "//ws", "/a b", "/chat?x", "/a#b", "/%77s", "/é", "/a/../b"]
        {
            let error = checked_path(path).unwrap_err().to_string();
            assert!(error.starts_with(&format!("path '{path}' ")), "{error}");
        }
        for path in ["/ws", "/a/b-c.d_e~f", "/@me", "/..a"] {
            assert_eq!(checked_path(path).unwrap(), path);
        }
    }
}
