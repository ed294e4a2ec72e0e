//! Which driver the shards run on.

use std::fmt;

/// Which way the shards talk to the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DriverKind {
    /// What is best on this host.
    #[default]
    Auto,
    /// Readiness by epoll.
    Epoll,
    /// Completions by `io_uring`.
    Uring,
}

impl DriverKind {
    /// Every kind, for flags and tests.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Epoll, Self::Uring];

    /// Its name in flags.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Epoll => "epoll",
            Self::Uring => "uring",
        }
    }

    /// The kind of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for DriverKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for DriverKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let kinds = Self::ALL.map(Self::name).join(", ");
        Self::by_name(name).ok_or_else(|| format!("'{name}' is no driver: {kinds}"))
    }
}
