//! Why the server did not start or did not end well, whose fault that was, and
//! so the exit code.

use std::{fmt, io};

use crate::shard::{BuildError, RunError};

/// Why the server did not start or did not end well.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServerError {
    /// The arguments ask for what cannot be: the caller's fault.
    Usage(String),
    /// The process may have too few descriptors to serve anyone.
    Descriptors {
        /// As many as it may have.
        limit: usize,
        /// As many as it needs.
        fewest: usize,
    },
    /// The engine could not be built.
    Build(BuildError),
    /// The engine failed.
    Run(RunError),
    /// The control thread could not be set up or lost the shards.
    Control(io::Error),
}

impl ServerError {
    /// The exit code of the process: 2 for a mistake in the arguments, 1 for
    /// everything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Build(BuildError::Settings(_)) => 2,
            _ => 1,
        }
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) => f.write_str(text),
            Self::Descriptors { limit, fewest } => write!(
                f,
                "the process may open {limit} files and needs at least {fewest}: raise ulimit -n"
            ),
            Self::Build(error) => error.fmt(f),
            Self::Run(error) => error.fmt(f),
            Self::Control(error) => write!(f, "the control thread failed: {error}"),
        }
    }
}

impl std::error::Error for ServerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Usage(_) | Self::Descriptors { .. } => None,
            Self::Build(error) => Some(error),
            Self::Run(error) => Some(error),
            Self::Control(error) => Some(error),
        }
    }
}
