//! What this host's `io_uring` can do, found out by using it: whether a ring can
//! be made and if not, why; which parts of it there are; and whether what it says
//! of bytes is true. Leaves nothing behind and decides nothing but whether the
//! driver can be used.

use std::{fmt, fs, io, str::FromStr};

use rustix::{
    process::{Resource, getrlimit},
    system::uname,
};

use super::{
    UringSettings,
    ring::{Ring, RingSettings, missing_operations, set_up},
    trial,
};

/// What came of looking at one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It was tried and works.
    Works,
    /// It was tried and does not work, for this reason.
    Fails(String),
    /// It was not tried: it is not needed, or something that it needs fails.
    Untried,
}

impl Finding {
    /// Whether it was tried and works.
    pub fn works(&self) -> bool {
        *self == Self::Works
    }
}

impl From<Result<(), String>> for Finding {
    fn from(tried: Result<(), String>) -> Self {
        tried.map_or_else(Self::Fails, |()| Self::Works)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Works => f.write_str("works"),
            Self::Fails(why) => write!(f, "no: {why}"),
            Self::Untried => f.write_str("not tried"),
        }
    }
}

/// What this host supports. Displayed as one fact a line.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Probe {
    /// The kernel's release, such as `6.12.1`.
    pub kernel: String,
    /// `kernel.io_uring_disabled`: 0 allows `io_uring` to all, 1 to the privileged
    /// and to the group below, 2 to nobody. `None` where there is no such setting
    /// (before Linux 6.6) or it cannot be read.
    pub disabled: Option<i64>,
    /// `kernel.io_uring_group`: a group's number, or -1 for none.
    pub group: Option<i64>,
    /// `RLIMIT_MEMLOCK` in bytes; `None`: no limit.
    pub locked_memory_bytes: Option<u64>,
    /// A ring with all flags that the driver sets (Linux 6.1).
    pub ring: Finding,
    /// The operations that the driver uses.
    pub operations: Finding,
    /// Receive buffers that the kernel chooses from.
    pub buffer_ring: Finding,
    /// Buffers that several receives fill (Linux 6.12). The driver does without
    /// if need be.
    pub incremental_buffers: Finding,
    /// Receives that go on, into the buffers above: each byte once and in order.
    pub receives: Finding,
    /// Sends that post a completion only if they are refused: each byte that was
    /// said to be taken arrives once and in order.
    pub silent_sends: Finding,
    /// The same with a completion for each. Tried if silent ones fail.
    pub plain_sends: Finding,
    /// Whether the driver can be used, and if not, why.
    pub usable: Result<(), String>,
}

/// Finds out what this host supports.
///
/// Takes some milliseconds, and at most some seconds if the kernel does not keep
/// its promises. What it opens (two rings, one after the other, and TCP
/// connections over the loopback interface) is closed when it returns. To be
/// called on a thread that has nothing else to do, for a kernel that never comes
/// back from a call can be waited for only from outside.
pub fn probe() -> Probe {
    let mut found = Probe::facts();
    found.usable = found.look();
    found
}

impl Probe {
    /// What can be known without asking for a ring, and that `io_uring` is not
    /// usable for this reason.
    pub fn without_trial(reason: impl Into<String>) -> Self {
        Self { usable: Err(reason.into()), ..Self::facts() }
    }

    /// The driver's settings that suit this host.
    pub fn settings(&self) -> UringSettings {
        let silent_sends = !matches!(self.silent_sends, Finding::Fails(_));
        UringSettings { silent_sends, ..UringSettings::default() }
    }

    fn facts() -> Self {
        Self {
            kernel: uname().release().to_string_lossy().into_owned(),
            disabled: setting("/proc/sys/kernel/io_uring_disabled"),
            group: setting("/proc/sys/kernel/io_uring_group"),
            locked_memory_bytes: getrlimit(Resource::Memlock).current,
            ring: Finding::Untried,
            operations: Finding::Untried,
            buffer_ring: Finding::Untried,
            incremental_buffers: Finding::Untried,
            receives: Finding::Untried,
            silent_sends: Finding::Untried,
            plain_sends: Finding::Untried,
            usable: Err("nothing was tried".to_owned()),
        }
    }

    /// Looks at one thing after the other, up to the first that the driver cannot
    /// do without.
    fn look(&mut self) -> Result<(), String> {
        let kernel = set_up(UringSettings::default().submission_entries);
        let kernel = kernel.map_err(|error| self.refusal(&error));
        let kernel = noted(&mut self.ring, kernel)?;
        noted(&mut self.operations, operations(&kernel))?;
        drop(kernel);
        let ring = tried_ring(true).map_err(|error| self.refusal(&error));
        let mut ring = noted(&mut self.buffer_ring, ring)?;
        let incremental = if ring.is_incremental() { Ok(()) } else { Err("before Linux 6.12") };
        self.incremental_buffers = incremental.map_err(str::to_owned).into();
        noted(&mut self.receives, receives(&mut ring))?;
        if noted(&mut self.silent_sends, sends(&mut ring, true)).is_ok() {
            return Ok(());
        }
        drop(ring);
        let mut ring = tried_ring(false).map_err(|error| self.refusal(&error))?;
        noted(&mut self.plain_sends, sends(&mut ring, false))
    }

    /// What a refused ring says, and its likely cause.
    fn refusal(&self, error: &io::Error) -> String {
        match self.likely_cause(error) {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        }
    }

    fn likely_cause(&self, error: &io::Error) -> Option<String> {
        let cause = match error.raw_os_error()? {
            libc::ENOSYS => "the kernel has no io_uring, or a seccomp filter hides it",
            libc::EPERM | libc::EACCES => return Some(self.prohibition()),
            libc::EINVAL => {
                return Some(format!("the kernel ({}) is older than 6.1", self.kernel));
            }
            libc::ENOMEM => {
                let limit = Limit(self.locked_memory_bytes);
                return Some(format!(
                    "the limit on locked memory (RLIMIT_MEMLOCK, {limit}) is too low, or memory \
                     is short"
                ));
            }
            libc::EMFILE | libc::ENFILE => "too few files may be open (RLIMIT_NOFILE)",
            _ => return None,
        };
        Some(cause.to_owned())
    }

    fn prohibition(&self) -> String {
        match self.disabled {
            Some(2) => "kernel.io_uring_disabled is 2, which forbids it to all".to_owned(),
            Some(1) => format!(
                "kernel.io_uring_disabled is 1, which allows it only to the privileged and to \
                 the group in kernel.io_uring_group ({}), if no seccomp filter forbids it",
                self.group.unwrap_or(-1)
            ),
            _ => "a seccomp filter or the container's policy forbids it".to_owned(),
        }
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (disabled, group) = (Setting(self.disabled), Setting(self.group));
        writeln!(f, "kernel: {}", self.kernel)?;
        writeln!(f, "kernel.io_uring_disabled: {disabled}")?;
        writeln!(f, "kernel.io_uring_group: {group}")?;
        writeln!(f, "locked memory (RLIMIT_MEMLOCK): {}", Limit(self.locked_memory_bytes))?;
        writeln!(f, "ring: {}", self.ring)?;
        writeln!(f, "operations: {}", self.operations)?;
        writeln!(f, "buffer ring: {}", self.buffer_ring)?;
        writeln!(f, "incremental buffers: {}", self.incremental_buffers)?;
        writeln!(f, "multishot receives: {}", self.receives)?;
        writeln!(f, "silent sends: {}", self.silent_sends)?;
        writeln!(f, "plain sends: {}", self.plain_sends)?;
        match &self.usable {
            Ok(()) => writeln!(f, "io_uring: usable"),
            Err(why) => writeln!(f, "io_uring: not usable: {why}"),
        }
    }
}

/// A setting of the kernel, of which there may be none.
struct Setting(Option<i64>);

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("no such setting, or not readable"),
        }
    }
}

/// A limit in bytes, if there is one.
struct Limit(Option<u64>);

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(bytes) => write!(f, "{bytes} bytes"),
            None => f.write_str("no limit"),
        }
    }
}

/// Writes down in `finding` what came of something, and hands it on.
fn noted<T>(finding: &mut Finding, tried: Result<T, String>) -> Result<T, String> {
    *finding = tried.as_ref().map(drop).map_err(Clone::clone).into();
    tried
}

fn operations(kernel: &io_uring::IoUring) -> Result<(), String> {
    let missing = missing_operations(kernel).map_err(|error| format!("cannot be told: {error}"))?;
    if missing.is_empty() { Ok(()) } else { Err(format!("{} missing", missing.join(", "))) }
}

/// A ring whose buffers are used up soon.
fn tried_ring(silent: bool) -> io::Result<Ring> {
    Ring::new(&RingSettings {
        submissions: 64,
        buffers: 8,
        buffer_bytes: 4096,
        receive_limit: 4096,
        incremental: true,
        limited: true,
        silent,
    })
}

fn receives(ring: &mut Ring) -> Result<(), String> {
    trial::receives(ring).map_err(|why| format!("receives fail the test: {why}"))
}

fn sends(ring: &mut Ring, silent: bool) -> Result<(), String> {
    trial::sends(ring, silent).map_err(|why| format!("sends fail the test: {why}"))
}

fn setting<T: FromStr>(path: &str) -> Option<T> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{super::UringDriver, *};

    #[test]
    fn what_is_found_is_what_the_driver_meets() {
        let found = probe();
        let driver = UringDriver::new(None, &found.settings());
        if let Err(why) = &found.usable {
            // A host without: `tests/wire/refusal.rs` says so.
            assert!(!why.is_empty());
            assert_eq!(found.ring.works(), driver.is_ok(), "{found}");
            return;
        }
        assert!(driver.is_ok(), "{found}");
        for needed in [&found.ring, &found.operations, &found.buffer_ring, &found.receives] {
            assert!(needed.works(), "{found}");
        }
        assert!(found.silent_sends.works() || found.plain_sends.works(), "{found}");
    }

    #[test]
    fn a_probe_can_be_repeated() {
        let first = probe();
        for _ in 0..20 {
            assert_eq!(probe().usable, first.usable);
        }
    }

    #[test]
    fn a_refusal_names_its_likely_cause() {
        let facts = |disabled| Probe {
            disabled,
            group: Some(27),
            kernel: "5.4.0".to_owned(),
            locked_memory_bytes: Some(65536),
            ..Probe::facts()
        };
        for (errno, disabled, words) in [
            (libc::ENOSYS, None, &["no io_uring", "seccomp"][..]),
            (libc::EPERM, Some(0), &["seccomp", "container"]),
            (libc::EPERM, None, &["seccomp", "container"]),
            (libc::EPERM, Some(1), &["io_uring_disabled is 1", "io_uring_group (27)"]),
            (libc::EPERM, Some(2), &["io_uring_disabled is 2"]),
            (libc::EINVAL, None, &["5.4.0", "older than 6.1"]),
            (libc::ENOMEM, None, &["RLIMIT_MEMLOCK, 65536 bytes"]),
            (libc::EMFILE, None, &["RLIMIT_NOFILE"]),
        ] {
            let text = facts(disabled).refusal(&io::Error::from_raw_os_error(errno));
            for word in words {
                assert!(text.contains(word), "{text} without {word}");
            }
        }
    }

    #[test]
    fn sends_are_silent_unless_that_was_seen_to_fail() {
        let mut found = Probe::without_trial("a test");
        assert!(found.settings().silent_sends);
        found.silent_sends = Finding::Fails("a test".to_owned());
        assert!(!found.settings().silent_sends);
    }

    #[test]
    fn a_probe_is_shown_as_one_fact_a_line() {
        let mut found = Probe::without_trial("it was not tried");
        found.ring = Finding::Fails("refused".to_owned());
        found.disabled = None;
        let text = found.to_string();
        assert!(text.lines().all(|line| line.contains(": ")), "{text}");
        assert!(text.contains("\nring: no: refused\n"), "{text}");
        assert!(text.contains("io_uring_disabled: no such setting"), "{text}");
        assert!(text.ends_with("\nio_uring: not usable: it was not tried\n"), "{text}");
    }
}
