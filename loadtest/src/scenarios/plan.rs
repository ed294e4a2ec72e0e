//! What a scenario is to do, and how it is divided among client processes. Pure.

use crate::cli::{Scenario, Settings};
use crate::client::{Swarm, Target};
use crate::limits::PROCESSES;
use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a scenario, or one process's share of it, is to do, with every default
/// filled in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(super) scenario: Scenario,
    pub(super) target: Target,
    /// The server's process, if known.
    pub(super) server: Option<u32>,
    pub(super) connections: usize,
    /// Connections in the room that is published to (fanout); the others are
    /// background, in rooms of their own.
    pub(super) members: usize,
    /// Of the members, how many in a hundred never read (fanout).
    pub(super) stalled_percent: usize,
    /// The number of the first room of this share.
    pub(super) first_room: usize,
    pub(super) rooms: usize,
    pub(super) publishers: usize,
    pub(super) size: usize,
    pub(super) pipeline: usize,
    pub(super) rate: u32,
    pub(super) duration: Duration,
    /// How many processes there are, and which of them this is.
    pub(super) processes: usize,
    pub(super) process: usize,
}

impl Plan {
    /// The plan of `settings` for `scenario`, of which one process can hold
    /// `most` connections.
    ///
    /// # Errors
    /// If it needs several processes and cannot be divided.
    pub(super) fn new(
        settings: &Settings,
        scenario: Scenario,
        target: &Target,
        server: Option<u32>,
        most: usize,
    ) -> Result<Self> {
        let connections = settings.connections(scenario);
        let needed = connections.div_ceil(most.max(1));
        let processes = usize::from(settings.processes).min(connections).max(needed);
        ensure!(
            processes <= PROCESSES,
            "{connections} connections need {processes} client processes of {most}; \
             {PROCESSES} are the most"
        );
        let is_divisible = scenario.is_divisible();
        ensure!(
            processes == 1 || is_divisible,
            "this scenario runs in one client process, which can hold {most} connections"
        );
        Ok(Self {
            scenario,
            target: target.clone(),
            server,
            connections,
            members: settings.members(connections),
            stalled_percent: usize::from(settings.stalled),
            first_room: 0,
            rooms: settings.rooms(scenario),
            publishers: usize::from(settings.publishers),
            size: settings.size,
            pipeline: usize::from(settings.pipeline),
            rate: settings.rate(scenario),
            duration: settings.duration(scenario),
            processes,
            process: 0,
        })
    }

    /// A swarm without connections, aimed at the plan's target.
    pub(super) fn swarm(&self) -> Result<Swarm> {
        Swarm::new(&self.target)
    }

    /// One plan per process: connections, members and rooms are divided evenly,
    /// and no room belongs to two, but for the one of `fanout`.
    pub(super) fn shares(&self) -> Vec<Self> {
        let members = divide(self.members, self.processes);
        let others = divide(self.connections - self.members, self.processes);
        let rooms = divide(self.rooms, self.processes);
        let mut first_room = self.first_room;
        let shares = members.zip(others).zip(rooms).enumerate();
        let shares = shares.map(|(process, ((members, others), rooms))| {
            let connections = members + others;
            let rooms = rooms.max(1);
            let share = Self { connections, members, first_room, rooms, process, ..self.clone() };
            first_room += rooms.max(others + 1);
            share
        });
        shares.collect()
    }
}

/// Divides `whole` by `parts` into numbers that differ by one at most.
fn divide(whole: usize, parts: usize) -> impl Iterator<Item = usize> {
    (0..parts).map(move |at| whole / parts + usize::from(at < whole % parts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::CommandLine;
    use clap::Parser;
    use std::collections::HashSet;

    fn plan(arguments: &str, most: usize) -> Result<Plan> {
        let settings = CommandLine::parse_from(arguments.split(' ')).settings;
        let target = Target::parse("ws://127.0.0.1:1/ws")?;
        Plan::new(&settings, settings.scenario.unwrap(), &target, None, most)
    }

    #[test]
    fn what_does_not_fit_in_one_process_is_divided_evenly_and_completely() {
        let plan = plan("loadtest rooms --connections 100 --rooms 7", 40).unwrap();
        let shares = plan.shares();
        let connections: Vec<_> = shares.iter().map(|share| share.connections).collect();
        assert_eq!(connections, [34, 33, 33]);
        let mut seen = HashSet::new();
        for share in shares {
            for room in share.first_room..share.first_room + share.rooms {
                assert!(seen.insert(room), "room {room} belongs to two processes");
            }
        }
        assert_eq!(seen.len(), 7);
    }

    #[test]
    fn members_and_background_are_divided_apart() {
        let plan = plan("loadtest fanout --connections 100 --members 5 --processes 2", 100);
        let shares = plan.unwrap().shares();
        assert_eq!((shares[0].members, shares[0].connections), (3, 51));
        assert_eq!((shares[1].members, shares[1].connections), (2, 49));
    }

    #[test]
    fn what_cannot_be_divided_says_so() {
        let error = plan("loadtest broadcast --connections 100", 40).unwrap_err().to_string();
        assert!(error.contains("can hold 40 connections"), "{error}");
        assert!(plan("loadtest echo --connections 1000", 10).is_err(), "100 processes");
    }
}
