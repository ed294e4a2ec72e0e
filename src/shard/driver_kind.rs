//! Which driver the shards run on, and why: settled once for an engine, before
//! its shards start.

use std::{fmt, sync::mpsc, thread, time::Duration};

use tracing::{info, warn};

use crate::driver::uring::{
    UringSettings,
    probe::{Probe, probe},
};

/// What `auto` takes where both drivers work, and why. To have it otherwise,
/// change this line.
///
/// `io_uring` was measured to cost less than epoll or as much in every load, whether one
/// message goes to many, each is answered to its sender alone, or messages are large:
/// `docs/figures.md` has the figures.
const PREFERRED: (DriverKind, &str) =
    (DriverKind::Uring, "io_uring works here, and costs less than epoll or as much");

/// How long looking at the host may take. The look has shorter time-outs of its
/// own; this is for a kernel that does not come back from a call.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// Which way the shards talk to the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DriverKind {
    /// What is best on this host, which is tried out before.
    #[default]
    Auto,
    /// Readiness by epoll.
    Epoll,
    /// Completions by `io_uring`; readiness by epoll where that is not to be had.
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

    /// Settles on a driver for this host. Unless it is epoll that is asked for,
    /// this tries `io_uring` out, which takes some milliseconds.
    pub fn resolve(self) -> DriverChoice {
        let probe = (self != Self::Epoll).then(probe_elsewhere);
        self.choose(probe)
    }

    /// The choice on a host where this was found.
    fn choose(self, probe: Option<Probe>) -> DriverChoice {
        let refused = probe.as_ref().and_then(|found| found.usable.as_ref().err());
        let (kind, why) = match (self, refused) {
            (Self::Auto | Self::Uring, Some(why)) => {
                (Self::Epoll, format!("io_uring cannot be used: {why}"))
            }
            (Self::Auto, None) => (PREFERRED.0, PREFERRED.1.to_owned()),
            (Self::Epoll | Self::Uring, _) => (self, "it was asked for".to_owned()),
        };
        DriverChoice { asked: self, kind, why, probe }
    }
}

/// Tries `io_uring` out on a thread of its own: what the kernel keeps for a thread
/// ends with it, and whatever happens to it, this returns.
fn probe_elsewhere() -> Probe {
    let (sender, found) = mpsc::channel();
    let look = move || {
        // It is given up when nobody waits any more.
        let _ = sender.send(probe());
    };
    if let Err(error) = thread::Builder::new().name("probe".to_owned()).spawn(look) {
        return Probe::without_trial(format!("no thread to try it on: {error}"));
    }
    found
        .recv_timeout(PROBE_TIMEOUT)
        .unwrap_or_else(|_| Probe::without_trial("trying it did not come to an end"))
}

/// The driver that was settled on, and why.
#[derive(Clone, Debug)]
pub struct DriverChoice {
    asked: DriverKind,
    kind: DriverKind,
    why: String,
    probe: Option<Probe>,
}

impl DriverChoice {
    /// The driver: never [`DriverKind::Auto`].
    pub fn kind(&self) -> DriverKind {
        self.kind
    }

    /// The reason, as the end of a sentence that begins with "because".
    pub fn why(&self) -> &str {
        &self.why
    }

    /// What the host supports, one fact a line, if that mattered.
    pub fn probe_report(&self) -> Option<String> {
        self.probe.as_ref().map(ToString::to_string)
    }

    pub(super) fn uring_settings(&self) -> UringSettings {
        self.probe.as_ref().map(Probe::settings).unwrap_or_default()
    }

    /// Says in one line what was settled on, if that was not what was asked for.
    pub(super) fn log(&self) {
        let (driver, why) = (self.kind.name(), self.why());
        match self.asked {
            DriverKind::Auto => info!(driver, why, "the driver was chosen"),
            asked if asked != self.kind => {
                warn!(asked = asked.name(), driver, why, "another driver than asked for");
            }
            _ => {}
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn found(usable: Result<(), String>) -> Probe {
        let mut found = Probe::without_trial("a test");
        found.usable = usable;
        found
    }

    #[test]
    fn where_io_uring_works_auto_takes_what_is_preferred_and_uring_itself() {
        let auto = DriverKind::Auto.choose(Some(found(Ok(()))));
        assert_eq!((auto.kind(), auto.why()), PREFERRED);
        assert_ne!(auto.kind(), DriverKind::Auto);
        assert_eq!(DriverKind::Uring.choose(Some(found(Ok(())))).kind(), DriverKind::Uring);
    }

    #[test]
    fn where_io_uring_is_refused_both_take_epoll_and_say_why() {
        for asked in [DriverKind::Auto, DriverKind::Uring] {
            let choice = asked.choose(Some(found(Err("it is forbidden".to_owned()))));
            assert_eq!(choice.kind(), DriverKind::Epoll);
            assert_eq!(choice.why(), "io_uring cannot be used: it is forbidden");
        }
    }

    #[test]
    fn epoll_is_taken_without_a_look_at_the_host() {
        let choice = DriverKind::Epoll.resolve();
        assert_eq!(choice.kind(), DriverKind::Epoll);
        assert_eq!(choice.probe_report(), None);
    }

    #[test]
    fn this_host_is_looked_at_and_a_driver_settled_on() {
        let choice = DriverKind::Uring.resolve();
        let usable = &choice.probe.as_ref().unwrap().usable;
        let expected = if usable.is_ok() { DriverKind::Uring } else { DriverKind::Epoll };
        assert_eq!(choice.kind(), expected, "{usable:?}");
    }
}
