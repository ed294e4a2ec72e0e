//! Several client threads, each with its own share of the connections. They
//! meet only between the phases of a scenario, so that nothing is shared while
//! there is load; a share could as well belong to another process.

use anyhow::{Result, anyhow};
use std::thread;

/// Splits `connections` into `threads` shares that differ by one at most.
pub(crate) fn shares(connections: usize, threads: usize) -> impl Iterator<Item = usize> {
    (0..threads).map(move |at| connections / threads + usize::from(at < connections % threads))
}

/// Runs one phase of every share, each on a thread of its own, and waits for
/// all. A single share stays on the calling thread.
pub(crate) fn phase<S: Send, R: Send>(
    shares: &mut [S],
    work: impl Fn(&mut S) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    if let [only] = shares {
        return Ok(vec![work(only)?]);
    }
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> =
            shares.iter_mut().map(|share| scope.spawn(move || work(share))).collect();
        let joined = threads.into_iter().map(thread::ScopedJoinHandle::join);
        joined
            .map(|result| result.unwrap_or_else(|_| Err(anyhow!("a client thread panicked"))))
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_even_and_complete() {
        assert_eq!(shares(10, 3).collect::<Vec<_>>(), [4, 3, 3]);
        assert_eq!(shares(4, 1).collect::<Vec<_>>(), [4]);
    }

    #[test]
    fn a_phase_runs_every_share_and_passes_on_a_failure() {
        let mut shares = [1, 2, 3];
        let doubled = phase(&mut shares, |share| {
            *share *= 2;
            Ok(*share)
        });
        assert_eq!(doubled.unwrap(), [2, 4, 6]);
        let failed = phase(&mut shares, |share| {
            anyhow::ensure!(*share != 4, "no");
            Ok(())
        });
        assert_eq!(failed.unwrap_err().to_string(), "no");
    }
}
