//! How a case begins and how a flood goes: the server is started, those who must
//! not notice come in, the flood runs beside those that read, and everybody comes
//! to an end. Knows no case.

use super::crowd::{Crowd, Crowding, Progress};
use super::findings::Findings;
use super::flood::{Flood, Flooded};
use super::options::Plan;
use super::stage::{Observed, Stage, beside, join};
use crate::outcome::Unit;
use anyhow::Result;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Nothing found yet, and the server of `plan`, started with `flags`.
pub(super) fn open(plan: &Plan, flags: &[&str]) -> Result<(Findings, Stage)> {
    Ok((plan.findings(), Stage::start(plan, flags)?))
}

/// A flood from its beginning to its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attack {
    /// How long it lasts.
    pub(super) duration: Duration,
    /// Whether those who must not notice have an unrelated room.
    pub(super) in_room: bool,
    /// Whether memory is told above what is resident when it begins, instead of
    /// above that of a server without connections.
    pub(super) from_now: bool,
}

/// What an attack came to.
pub(super) struct Attacked {
    pub(super) observed: Observed,
    pub(super) flooded: Flooded,
}

impl Attack {
    /// Lets `flood` run while nobody reads.
    pub(super) fn run(self, plan: &Plan, stage: &Stage, flood: Flood) -> Result<Attacked> {
        let progress = Arc::new(Progress::default());
        let (attacked, ()) = self.beside(plan, stage, flood, &progress, || {
            progress.finished.store(true, Ordering::Relaxed);
            Ok(())
        })?;
        Ok(attacked)
    }

    /// Lets `flood` run while `crowd` reads.
    pub(super) fn run_with(
        self,
        plan: &Plan,
        stage: &Stage,
        flood: Flood,
        crowd: Crowd,
    ) -> Result<(Attacked, Crowding)> {
        let progress = Arc::new(Progress::default());
        let reading = {
            let progress = Arc::clone(&progress);
            beside(move || crowd.run(&progress))
        };
        self.beside(plan, stage, flood, &progress, || join(reading)?)
    }

    /// Lets `flood` run until the end, after which `rest` says what else was found.
    fn beside<T>(
        self,
        plan: &Plan,
        stage: &Stage,
        flood: Flood,
        progress: &Arc<Progress>,
        rest: impl FnOnce() -> Result<T>,
    ) -> Result<(Attacked, T)> {
        let watch = stage.watch(plan, self.in_room)?;
        if self.from_now {
            stage.rest();
        }
        let end = stage.end_after(self.duration);
        let flooding = {
            let (progress, end) = (Arc::clone(progress), end.clone());
            beside(move || flood.run(&end, &progress))
        };
        end.wait();
        let observed = watch.end()?;
        let found = rest()?;
        let flooded = join(flooding)??;
        Ok((Attacked { observed, flooded }, found))
    }
}

/// The room of an attack that needs one.
pub(super) fn attack_room() -> Range<usize> {
    0..1
}

/// Tells how the flooders fared.
pub(super) fn tell_flood(findings: &mut Findings, flooded: &Flooded) {
    findings.figure("errors told to flooders", flooded.errors as f64, Unit::Count);
    let what = format!("not read of flooders, {} s after", flooded.waited.as_secs());
    findings.at_most(&what, flooded.unread as f64, Unit::Bytes, 0.0);
    if let Some(error) = &flooded.first_error {
        findings.note(format!("a flooder was told: {error}"));
    }
    if flooded.losses.count() > 0 {
        findings.note(format!("flooders: {}", flooded.losses));
    }
}
