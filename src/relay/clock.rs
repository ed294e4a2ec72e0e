//! Where a relay's time comes from. The one file of the relay that reads the machine's
//! clocks.

use std::{
    sync::OnceLock,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// Milliseconds of Unix time as they were when the process first asked, and counted from
/// there without ever going back: the same for all relays of a process, and of use after
/// a restart.
pub fn now_ms() -> u64 {
    static START: OnceLock<(Instant, u64)> = OnceLock::new();
    let (start, unix_ms) = START.get_or_init(|| {
        // Before 1970 only if the machine's clock was never set.
        let unix = SystemTime::now().duration_since(UNIX_EPOCH);
        (Instant::now(), unix.map_or(0, |since| since.as_millis() as u64))
    });
    unix_ms + start.elapsed().as_millis() as u64
}
