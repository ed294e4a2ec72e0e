//! Hostile load: one file for each case, all on the same stage and beside the
//! same strangers, unrelated room, newcomers and probes. A case that finds a
//! promise broken ends the program with 1.
//!
//! ```text
//! case ──► stage (server, its memory) ──► bystanders, probes ──► judge
//!   └────► flood, crowd, seats (the attack and the healthy beside it)
//! ```

mod attack;
mod bystanders;
mod crowd;
mod echo_unread;
mod errors_unread;
mod findings;
mod flood;
mod flood_everyone;
mod flood_room;
mod frozen;
mod full;
mod hold;
mod hold_cycles;
mod http;
mod judge;
mod lossy;
mod many_rooms;
pub(crate) mod options;
mod plain_gets;
mod probes;
mod pushers;
mod seats;
mod sippers;
mod stage;
mod stalled_large;
mod steady;

use anyhow::{Context, Result};
use findings::Findings;
use options::{Case, Options, Plan, Scale};

/// What `all` runs, with the numbers in which it differs from the defaults.
const ALL: [Case; 13] = [
    Case::FloodRoom,
    Case::FloodEveryone,
    Case::Frozen,
    Case::ManyRooms,
    Case::Lossy,
    Case::StalledLarge,
    Case::Steady,
    Case::EchoUnread,
    Case::ErrorsUnread,
    Case::Http,
    Case::Full,
    Case::PlainGets,
    Case::Hold,
];

/// Runs the cases asked for and prints what they found. Says whether every
/// promise was kept.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let mut all = Vec::new();
    for case in &options.cases {
        let (cases, scale) = match case {
            Case::All => (&ALL[..], Scale::Short),
            _ => (std::slice::from_ref(case), Scale::Full),
        };
        for case in cases {
            let plan = Plan::new(options, *case, scale);
            let found = run_case(&plan).with_context(|| format!("{} failed", plan.name()))?;
            print!("{found}");
            all.push(found);
        }
    }
    if all.len() > 1 {
        println!("\n{:<16} {:<46} {:>12} {:>12}", "case", "figure", "found", "at most");
        for findings in &all {
            println!("{}", findings.summary());
        }
    }
    for missed in all.iter().flat_map(Findings::missed) {
        println!("  VIOLATION: {missed}");
    }
    Ok(all.iter().all(Findings::is_met))
}

fn run_case(plan: &Plan) -> Result<Findings> {
    match plan.case {
        Case::All => anyhow::bail!("`all` is made of other cases"),
        Case::FloodRoom => flood_room::run(plan),
        Case::FloodEveryone => flood_everyone::run(plan),
        Case::Frozen => frozen::run(plan),
        Case::ManyRooms => many_rooms::run(plan),
        Case::Lossy => lossy::run(plan),
        Case::StalledLarge => stalled_large::run(plan),
        Case::Steady => steady::run(plan),
        Case::EchoUnread => echo_unread::run(plan),
        Case::ErrorsUnread => errors_unread::run(plan),
        Case::Http => http::run(plan),
        Case::Full => full::run(plan),
        Case::PlainGets => plain_gets::run(plan),
        Case::Hold => hold::run(plan),
    }
}
