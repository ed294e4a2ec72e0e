//! Log lines on stderr, also for a panic.

use std::{
    io::{self, IsTerminal},
    panic,
};

use tracing::error;
use tracing_subscriber::{Layer, filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

/// Logs what `filter` lets through, from now on. Does nothing if the program
/// has a subscriber already: its logs are its own matter.
pub(super) fn start(filter: Targets) {
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        // It would be reported on stderr, which is what does not work then.
        .log_internal_errors(false)
        .with_filter(filter);
    if tracing_subscriber::registry().with(lines).try_init().is_err() {
        return;
    }
    panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("without a message");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        error!(place, "panic: {message}");
    }));
}
