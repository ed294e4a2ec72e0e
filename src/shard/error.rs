//! Why an engine could not be built, ended otherwise than by being told to, or did not
//! accept what a handle sends. Knows neither how it is built nor how it runs.

use std::{error::Error, fmt, io, net::SocketAddr};

/// Why an engine could not be built.
#[derive(Debug)]
#[non_exhaustive]
pub enum BuildError {
    /// The address to listen on is not one.
    Address(String, io::Error),
    /// It cannot be listened on.
    Listen(SocketAddr, io::Error),
    /// A setting is out of its range, or two contradict each other.
    Settings(String),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address, error) => write!(f, "'{address}' is no address: {error}"),
            Self::Listen(address, error) if error.kind() == io::ErrorKind::AddrInUse => {
                write!(f, "cannot listen on {address}: the port is in use")
            }
            Self::Listen(address, error) => write!(f, "cannot listen on {address}: {error}"),
            Self::Settings(text) => f.write_str(text),
        }
    }
}

impl Error for BuildError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Address(_, error) | Self::Listen(_, error) => Some(error),
            Self::Settings(_) => None,
        }
    }
}

/// Why an engine ended otherwise than by
/// [`Handle::shutdown`](super::Handle::shutdown).
#[derive(Debug)]
#[non_exhaustive]
pub enum RunError {
    /// A shard's thread or driver could not be set up.
    Start(io::Error),
    /// A shard's driver failed, or its thread panicked; the others were drained.
    Shard {
        /// Which.
        shard: usize,
        /// What happened.
        message: String,
    },
    /// The relay's thread panicked; the shards were drained.
    Relay {
        /// What happened.
        message: String,
    },
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(error) => write!(f, "a shard could not be started: {error}"),
            Self::Shard { shard, message } => write!(f, "shard {shard} failed: {message}"),
            Self::Relay { message } => write!(f, "the relay failed: {message}"),
        }
    }
}

impl Error for RunError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Start(error) => Some(error),
            Self::Shard { .. } | Self::Relay { .. } => None,
        }
    }
}

/// Why something was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// More is on its way to a shard than [`Limits::handle_window_bytes`] allows.
    /// Nobody got it; it may be sent again when some of that has been taken: see
    /// [`Handle::ready`](crate::Handle::ready).
    ///
    /// [`Limits::handle_window_bytes`]: crate::engine::Limits::handle_window_bytes
    Busy,
    /// The engine has ended.
    Ended,
    /// No connection of this process has that identity. That there is one does
    /// not mean that it is still open.
    Unknown,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy => "a shard has not taken what was sent to it before",
            Self::Ended => "the engine has ended",
            Self::Unknown => "no connection of this process has that identity",
        })
    }
}

impl Error for SendError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_one_that_caused_it() {
        let cause = || io::Error::from(io::ErrorKind::PermissionDenied);
        let address = SocketAddr::from(([127, 0, 0, 1], 80));
        let errors: [Box<dyn Error>; 3] = [
            Box::new(BuildError::Address("nowhere".to_owned(), cause())),
            Box::new(BuildError::Listen(address, cause())),
            Box::new(RunError::Start(cause())),
        ];
        for error in errors {
            let source = error.source().map(ToString::to_string);
            assert_eq!(source, Some(cause().to_string()), "{error}");
        }
    }
}
