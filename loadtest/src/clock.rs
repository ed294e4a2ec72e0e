//! One clock for every process of a run: nanoseconds of `CLOCK_MONOTONIC`,
//! which all processes of a machine share. Beside it, what a thread has used of a core.

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

const SECOND_NS: u64 = 1_000_000_000;

/// The time now, in nanoseconds.
pub(crate) fn now_ns() -> u64 {
    read_ns(ClockId::Monotonic)
}

/// How long this thread has run so far, in nanoseconds: what others run meanwhile does
/// not count.
pub(crate) fn thread_ns() -> u64 {
    read_ns(ClockId::ThreadCPUTime)
}

fn read_ns(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    now.tv_sec.cast_unsigned() * SECOND_NS + now.tv_nsec.cast_unsigned()
}

/// A duration in nanoseconds; those of a run fit by far.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A timer that wakes a poll to within microseconds, where `epoll_wait` alone
/// rounds to milliseconds.
#[derive(Debug)]
pub(crate) struct Alarm {
    timer: OwnedFd,
    due_ns: u64,
}

impl Alarm {
    /// An alarm that is not set.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Self { timer, due_ns: 0 })
    }

    /// The descriptor to register, edge-triggered.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.timer.as_raw_fd()
    }

    /// Sets it to `due_ns` on the clock of [`now_ns`].
    pub(crate) fn set(&mut self, due_ns: u64) -> io::Result<()> {
        if self.due_ns == due_ns {
            return Ok(());
        }
        self.due_ns = due_ns;
        let once = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec {
                tv_sec: (due_ns / SECOND_NS).cast_signed(),
                tv_nsec: (due_ns % SECOND_NS).cast_signed(),
            },
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &once)?;
        Ok(())
    }
}
