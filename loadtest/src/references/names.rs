//! What the reference servers are called, here and on a command line.

/// The hidden first argument by which this program becomes a reference server.
pub(crate) const REFERENCE: &str = "__reference";

/// The name of the one that does the least.
pub(crate) const LIMIT: &str = "limit";

/// All of them.
pub(crate) const NAMES: [&str; 4] = [LIMIT, "tokio-tungstenite", "fastwebsockets", "tokio-uring"];

/// The name of the loop that only accepts, reads, writes and closes. It takes part
/// in no comparison: it can do nothing else.
pub(crate) const BARE: &str = "bare";

/// Whether there is a reference server called `name`.
pub(crate) fn is_known(name: &str) -> bool {
    NAMES.contains(&name)
}
