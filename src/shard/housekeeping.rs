//! When a thread calls what the embedding program has registered for quiet moments. Knows
//! no clock and not what is called.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use tracing::error;

/// A thread on which nothing has happened for so long is quiet.
const QUIET: Duration = Duration::from_secs(1);
/// One that is never quiet does it so often.
const INTERVAL: Duration = Duration::from_secs(10);

/// What is called.
pub(super) type Chore = Arc<dyn Fn() + Send + Sync>;

/// One thread's.
#[derive(Default)]
pub(super) struct Housekeeping {
    chore: Option<Chore>,
    /// Whether the thread has worked since it was called.
    is_due: bool,
    turned_ms: u64,
    done_ms: u64,
}

impl Housekeeping {
    pub(super) fn new(chore: Option<Chore>) -> Self {
        Self { chore, ..Self::default() }
    }

    /// The thread has waited, and works at `now_ms` of a clock that never goes back.
    /// Returns how long the next wait may be, if that matters.
    pub(super) fn on_turn(&mut self, now_ms: u64) -> Option<Duration> {
        let chore = self.chore.as_ref()?;
        let since = |then_ms: u64| Duration::from_millis(now_ms.saturating_sub(then_ms));
        let is_quiet = since(self.turned_ms) >= QUIET;
        self.turned_ms = now_ms;
        if !self.is_due || !is_quiet && since(self.done_ms) < INTERVAL {
            self.is_due = true;
            return Some(QUIET);
        }
        (self.is_due, self.done_ms) = (false, now_ms);
        if catch_unwind(AssertUnwindSafe(|| chore())).is_err() {
            error!("the housekeeping panicked; it is not called again on this thread");
            self.chore = None;
        }
        None
    }
}

impl fmt::Debug for Housekeeping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Housekeeping").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn it_is_called_once_after_work_when_the_thread_is_quiet_and_now_and_then_when_it_is_not() {
        let calls = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&calls);
        let chore: Chore = Arc::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let mut housekeeping = Housekeeping::new(Some(chore));
        let mut turn = |now_ms| (housekeeping.on_turn(now_ms), calls.load(Ordering::Relaxed));
        assert_eq!(turn(100), (Some(QUIET), 0));
        assert_eq!(turn(600), (Some(QUIET), 0));
        assert_eq!(turn(1_600), (None, 1));
        // Work after a long wait, which is not yet what comes of it.
        assert_eq!(turn(60_000), (Some(QUIET), 1));
        assert_eq!(turn(61_000), (None, 2));
        let busy: Vec<_> = (61_001..=81_003).step_by(2).map(&mut turn).collect();
        assert_eq!(busy.last().unwrap().1, 4);
    }

    #[test]
    fn without_anything_to_call_no_wait_is_shorter() {
        assert_eq!(Housekeeping::new(None).on_turn(5), None);
    }

    #[test]
    fn a_panic_costs_no_more_than_the_next_calls() {
        let mut housekeeping = Housekeeping::new(Some(Arc::new(|| panic!("foreign code"))));
        housekeeping.on_turn(0);
        housekeeping.on_turn(2_000);
        assert_eq!(housekeeping.on_turn(4_000), None);
    }
}
