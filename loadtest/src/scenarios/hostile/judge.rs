//! The bars that hold in every case: what strangers, an unrelated room,
//! newcomers and probes of the health may notice of an attack.

use super::findings::Findings;
use super::stage::Observed;
use crate::outcome::Unit;

/// A stranger's ping, 99 of 100.
const PING_MS: f64 = 100.0;
/// A message in an unrelated room, 99 of 100.
const ROOM_MS: f64 = 50.0;
/// A newcomer's upgrade, each.
const NEWCOMER_MS: f64 = 1_000.0;
/// A probe of the health, each; half of them within a tenth of it.
const HEALTH_MS: f64 = 1_000.0;

/// Behind its own plan by so much, what the client measures is its own.
const LATE_NS: u64 = 25_000_000;

/// Holds what was observed against all of them.
pub(super) fn all(findings: &mut Findings, observed: &Observed) {
    strangers(findings, observed);
    room(findings, observed);
    newcomers(findings, observed);
    health(findings, observed);
    let lag = observed.heard.lag.histogram().value_at_percentile(99.0);
    findings.figure("this client behind its plan, p99", lag as f64, Unit::Nanoseconds);
    if lag > LATE_NS {
        findings.note("this client was late itself: the times of others say little");
    }
}

/// Those that ping.
pub(super) fn strangers(findings: &mut Findings, observed: &Observed) {
    let heard = &observed.heard;
    findings.percentile("stranger's ping, p99", &heard.pongs, 99.0, PING_MS);
    findings.none("strangers' pings never answered", heard.unanswered);
    findings.none("strangers and unrelated members closed", heard.losses.count());
    if heard.losses.count() > 0 {
        findings.note(format!("strangers and unrelated members: {}", heard.losses));
    }
}

/// The unrelated room, if there is one.
fn room(findings: &mut Findings, observed: &Observed) {
    let heard = &observed.heard;
    if heard.published == 0 {
        return;
    }
    findings.figure("unrelated room: published", heard.published as f64, Unit::Count);
    findings.none("unrelated room: deliveries lost", heard.missing);
    findings.none("unrelated room: out of order or twice", heard.disordered);
    findings.percentile("unrelated room: p99", &heard.deliveries, 99.0, ROOM_MS);
}

/// Those that want to come in.
pub(super) fn newcomers(findings: &mut Findings, observed: &Observed) {
    let newcomers = &observed.newcomers;
    findings.none("newcomers not let in", newcomers.failures.len() as u64);
    findings.percentile("newcomers: slowest", &newcomers.latency, 100.0, NEWCOMER_MS);
    findings.note_first("a newcomer", &newcomers.failures);
}

/// Those that ask for the health.
pub(super) fn health(findings: &mut Findings, observed: &Observed) {
    let health = &observed.health;
    findings.none("/health: not answered", health.failures.len() as u64);
    findings.percentile("/health: median", &health.latency, 50.0, HEALTH_MS / 10.0);
    findings.percentile("/health: slowest", &health.latency, 100.0, HEALTH_MS);
    findings.note_first("/health", &health.failures);
}
