//! What becomes of the nodes' readiness while Redis is stopped and started, seen by
//! asking them again and again. Knows no load.

use super::nodes::ask;
use super::redis_process::answers;
use crate::client::Target;
use crate::clock::now_ns;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often nodes and Redis are asked.
const POLL: Duration = Duration::from_millis(50);

/// One look at all nodes.
#[derive(Clone, Debug)]
struct Look {
    at_ns: u64,
    redis: bool,
    /// Of each node whether it was ready.
    ready: Vec<bool>,
}

/// Looks at the nodes until its end.
pub(super) struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Watched>,
}

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Watched {
    looks: Vec<Look>,
    /// What nodes gave as reasons.
    pub(super) reasons: Vec<String>,
}

impl Watch {
    /// Begins to look at nodes at `targets` and at Redis.
    pub(super) fn begin(targets: Vec<Target>, redis: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut watched = Watched::default();
            while !ended.load(Ordering::Relaxed) {
                watched.look(&targets, redis);
                thread::sleep(POLL);
            }
            watched
        });
        Self { stop, thread }
    }

    /// What was seen until now.
    pub(super) fn end(self) -> Watched {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}

impl Watched {
    fn look(&mut self, targets: &[Target], redis: SocketAddr) {
        let redis = answers(redis);
        let at_ns = now_ns();
        let said: Vec<_> = targets.iter().map(ask).collect();
        for reason in said.iter().flatten().flat_map(|said| &said.reasons) {
            // Reasons may hold figures: the first few show what they are about.
            if self.reasons.len() < 4 && !self.reasons.contains(reason) {
                self.reasons.push(reason.clone());
            }
        }
        let ready = said.iter().map(|said| said.as_ref().is_ok_and(|said| said.is_ready)).collect();
        self.looks.push(Look { at_ns, redis, ready });
    }

    /// The time from `from_ns` until no node was ready.
    pub(super) fn red_after(&self, from_ns: u64) -> Option<u64> {
        self.first(from_ns, |look| look.ready.iter().all(|ready| !ready))
    }

    /// When Redis answered for the first time after `from_ns`.
    pub(super) fn redis_back(&self, from_ns: u64) -> Option<u64> {
        self.first(from_ns, |look| look.redis).map(|after_ns| from_ns + after_ns)
    }

    /// The time from `from_ns` until all nodes were ready.
    pub(super) fn green_after(&self, from_ns: u64) -> Option<u64> {
        self.first(from_ns, |look| look.ready.iter().all(|ready| *ready))
    }

    fn first(&self, from_ns: u64, is_it: impl Fn(&Look) -> bool) -> Option<u64> {
        let looks = self.looks.iter().filter(|look| look.at_ns >= from_ns);
        looks.into_iter().find(|look| is_it(look)).map(|look| look.at_ns - from_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_counts_as_soon_as_all_are_as_it_is() {
        let look = |at_ns, redis, ready: [bool; 2]| Look { at_ns, redis, ready: ready.to_vec() };
        let looks = vec![
            look(10, true, [true, true]),
            look(20, false, [true, false]),
            look(30, false, [false, false]),
            look(40, true, [false, true]),
            look(50, true, [true, true]),
        ];
        let watched = Watched { looks, reasons: Vec::new() };
        assert_eq!(watched.red_after(15), Some(15));
        assert_eq!(watched.redis_back(15), Some(40));
        assert_eq!(watched.green_after(40), Some(10));
        assert_eq!(watched.red_after(35), None);
    }
}
