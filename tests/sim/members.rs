//! Who was a member of what, when, by index of the log.

use std::collections::BTreeMap;

use crate::app::{Accepted, Entry};

/// What a message is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Audience {
    Everyone,
    Room(String),
    User(String),
}

/// When each membership began or ended.
#[derive(Default)]
pub(crate) struct Memberships {
    changes: BTreeMap<String, BTreeMap<Audience, Vec<(usize, bool)>>>,
}

impl Memberships {
    pub(crate) fn of(log: &[Entry]) -> Self {
        let mut this = Self::default();
        for (index, entry) in log.iter().enumerate() {
            let client = &entry.client;
            match &entry.what {
                Accepted::Opened => this.change(client, Audience::Everyone, index, true),
                Accepted::Joined(room) => {
                    this.change(client, Audience::Room(room.clone()), index, true);
                }
                Accepted::Left(room) => {
                    this.change(client, Audience::Room(room.clone()), index, false);
                }
                Accepted::Message(said) if said.event == "name" => {
                    let user = Audience::User(said.to().to_owned());
                    this.end(client, index, |audience| {
                        matches!(audience, Audience::User(_)) && *audience != user
                    });
                    this.change(client, user, index, true);
                }
                Accepted::Message(_) => {}
                Accepted::Gone { .. } => this.end(client, index, |_| true),
            }
        }
        this
    }

    fn change(&mut self, client: &str, audience: Audience, index: usize, member: bool) {
        let of_client = self.changes.entry(client.to_owned()).or_default();
        of_client.entry(audience).or_default().push((index, member));
    }

    fn end(&mut self, client: &str, index: usize, which: impl Fn(&Audience) -> bool) {
        for (audience, changes) in self.changes.entry(client.to_owned()).or_default() {
            if which(audience) {
                changes.push((index, false));
            }
        }
    }

    /// Whether the client was a member all the time from when the log had `from`
    /// entries until it had `to`, and whether it was at any time.
    pub(crate) fn during(
        &self,
        client: &str,
        audience: &Audience,
        from: usize,
        to: usize,
    ) -> (bool, bool) {
        let changes = self.changes.get(client).and_then(|changes| changes.get(audience));
        let changes = changes.map_or(&[][..], Vec::as_slice);
        let before = changes.iter().rev().find(|(index, _)| *index < from);
        let start = before.is_some_and(|(_, member)| *member);
        let within = changes.iter().filter(|(index, _)| (from..to).contains(index));
        let (mut always, mut ever) = (start, start);
        for (_, member) in within {
            always &= member;
            ever |= member;
        }
        (always, ever)
    }
}
