//! What something costs as a multiple of something else: the limit it cannot
//! beat, or what it would be measured against.

use std::time::{Duration, Instant};

/// Pairs of runs. Odd, so that there is a median.
const PAIRS: usize = 101;
/// How long one run takes: long against the clock, short against the scheduler.
const RUN: Duration = Duration::from_millis(1);

/// Prints the median of the ratios of `subject` to `limit`, each a call of
/// nanoseconds to milliseconds, and what each of the `parts` of a call costs. The
/// two take turns, so that whatever slows the machine down slows both.
#[allow(dead_code, reason = "a benchmark with a floor has the other")]
pub(crate) fn print_ratio(
    name: &str,
    limit_name: &str,
    parts: u32,
    mut subject: impl FnMut(),
    mut limit: impl FnMut(),
) {
    let (subject_calls, limit_calls) = (calls_per_run(&mut subject), calls_per_run(&mut limit));
    let mut pairs: Vec<(f64, f64)> = (0..PAIRS)
        .map(|_| (time_ns(&mut subject, subject_calls), time_ns(&mut limit, limit_calls)))
        .collect();
    pairs.sort_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1)));
    let (subject_ns, limit_ns) = pairs[PAIRS / 2];
    let ratio = subject_ns / limit_ns;
    let (subject_ns, limit_ns) = (subject_ns / f64::from(parts), limit_ns / f64::from(parts));
    println!("{name:<34} {ratio:>6.2} x {limit_name} ({subject_ns:.1} ns, {limit_ns:.1} ns)");
}

/// As [`print_ratio`], of what is left of both when `floor` is taken away: what
/// each needs for something that is neither's own. Both must be above it.
#[allow(dead_code, reason = "not every benchmark has a floor")]
pub(crate) fn print_ratio_above(
    name: &str,
    limit_name: &str,
    parts: u32,
    mut subject: impl FnMut(),
    mut limit: impl FnMut(),
    mut floor: impl FnMut(),
) {
    let calls = [calls_per_run(&mut subject), calls_per_run(&mut limit), calls_per_run(&mut floor)];
    let mut times: [Vec<f64>; 3] = Default::default();
    for _ in 0..PAIRS {
        times[0].push(time_ns(&mut subject, calls[0]));
        times[1].push(time_ns(&mut limit, calls[1]));
        times[2].push(time_ns(&mut floor, calls[2]));
    }
    // Differences of single runs would be those of the scheduler.
    let [subject_ns, limit_ns, floor_ns] = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[PAIRS / 2]
    });
    let (subject_ns, limit_ns) = (subject_ns - floor_ns, limit_ns - floor_ns);
    let ratio = subject_ns / limit_ns;
    let (subject_ns, limit_ns) = (subject_ns / f64::from(parts), limit_ns / f64::from(parts));
    println!("{name:<34} {ratio:>6.2} x {limit_name} ({subject_ns:.1} ns, {limit_ns:.1} ns)");
}

fn calls_per_run(call: &mut impl FnMut()) -> u32 {
    let mut calls = 1;
    while calls < 1 << 20 {
        let start = Instant::now();
        (0..calls).for_each(|_| call());
        if start.elapsed() >= RUN {
            break;
        }
        calls *= 2;
    }
    calls
}

fn time_ns(call: &mut impl FnMut(), calls: u32) -> f64 {
    let start = Instant::now();
    (0..calls).for_each(|_| call());
    start.elapsed().as_secs_f64() * 1e9 / f64::from(calls)
}
