//! Which channels are wanted and which are confirmed, by their names in Redis. Does no I/O.

use std::collections::HashMap;

use crate::relay::broker::Channel;

/// Milliseconds after which a subscription that is not confirmed is asked for again.
const REPEAT_MS: u64 = 1000;

#[derive(Debug)]
struct Subscription {
    channel: Channel,
    partition: u16,
    /// The link on which it was asked for.
    link: u64,
    wanted: bool,
    confirmed: bool,
    /// How often leaving was asked for and is not confirmed.
    leaving: u32,
    asked_at: u64,
}

/// What a confirmation of leaving means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// As it was asked for.
    Asked,
    /// The server has moved the channel away.
    Lost(Channel),
}

/// Subscriptions of a node.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    by_name: HashMap<Vec<u8>, Subscription>,
}

impl Subscriptions {
    pub(super) fn want(
        &mut self,
        name: Vec<u8>,
        channel: Channel,
        partition: u16,
        link: u64,
        now: u64,
    ) {
        let entry = self.by_name.entry(name).or_insert(Subscription {
            channel,
            partition,
            link,
            wanted: true,
            confirmed: false,
            leaving: 0,
            asked_at: now,
        });
        if entry.link != link {
            entry.leaving = 0;
        }
        (entry.wanted, entry.link, entry.asked_at) = (true, link, now);
        // Even if it stands: the answer to what was asked now is to be told.
        entry.confirmed = false;
    }

    /// Returns the link on which leaving is to be asked for.
    pub(super) fn unwant(&mut self, name: &[u8]) -> Option<u64> {
        let entry = self.by_name.get_mut(name)?;
        entry.wanted = false;
        entry.confirmed = false;
        entry.leaving += 1;
        Some(entry.link)
    }

    /// The channel of a message on this link.
    pub(super) fn channel(&self, link: u64, name: &[u8]) -> Option<&Channel> {
        let entry = self.by_name.get(name)?;
        (entry.wanted && entry.link == link).then_some(&entry.channel)
    }

    /// The server has confirmed subscribing. Returns the channel if that is news.
    pub(super) fn confirm(&mut self, link: u64, name: &[u8]) -> Option<Channel> {
        let entry = self.by_name.get_mut(name)?;
        // With a leaving on its way, this is the answer to what was asked before it.
        let news = entry.wanted && entry.link == link && entry.leaving == 0;
        if !news || entry.confirmed {
            return None;
        }
        entry.confirmed = true;
        Some(entry.channel.clone())
    }

    /// The server has confirmed leaving, or sends us away.
    pub(super) fn left(&mut self, link: u64, name: &[u8]) -> Left {
        let Some(entry) = self.by_name.get_mut(name).filter(|entry| entry.link == link) else {
            return Left::Asked;
        };
        if entry.leaving > 0 {
            entry.leaving -= 1;
            if entry.leaving == 0 && !entry.wanted {
                self.by_name.remove(name);
            }
            return Left::Asked;
        }
        let channel = entry.channel.clone();
        self.by_name.remove(name);
        Left::Lost(channel)
    }

    /// Forgets what was on a link.
    pub(super) fn unlink(&mut self, link: u64) {
        self.by_name.retain(|_, entry| entry.link != link);
    }

    /// Forgets the channels of a partition that are not on this link. Returns the wanted.
    pub(super) fn moved(&mut self, partition: u16, link: u64) -> Vec<Channel> {
        let mut gone = Vec::new();
        self.by_name.retain(|_, entry| {
            let goes = entry.partition == partition && entry.link != link;
            if goes && entry.wanted {
                gone.push(entry.channel.clone());
            }
            !goes
        });
        gone
    }

    /// Those that were asked for and not confirmed for long: asked for again from now.
    pub(super) fn overdue(&mut self, now: u64) -> Vec<(u64, Vec<u8>)> {
        let mut overdue = Vec::new();
        for (name, entry) in &mut self.by_name {
            let late = entry.wanted && !entry.confirmed && entry.asked_at + REPEAT_MS <= now;
            if late {
                // Whatever has become of leaving: what is asked now comes behind it.
                (entry.asked_at, entry.leaving) = (now, 0);
                overdue.push((entry.link, name.clone()));
            }
        }
        overdue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room() -> Channel {
        Channel::Room("r".into())
    }

    fn with_room() -> Subscriptions {
        let mut subscriptions = Subscriptions::default();
        subscriptions.want(b"n".to_vec(), room(), 0, 1, 0);
        subscriptions
    }

    #[test]
    fn leaving_and_coming_back_at_once_is_no_loss() {
        let mut subscriptions = with_room();
        assert_eq!(subscriptions.confirm(1, b"n"), Some(room()));
        assert_eq!(subscriptions.unwant(b"n"), Some(1));
        subscriptions.want(b"n".to_vec(), room(), 0, 1, 0);
        assert_eq!(subscriptions.left(1, b"n"), Left::Asked);
        assert_eq!(subscriptions.confirm(1, b"n"), Some(room()));
        assert_eq!(subscriptions.channel(1, b"n"), Some(&room()));
    }

    #[test]
    fn being_sent_away_is_told_once() {
        let mut subscriptions = with_room();
        subscriptions.confirm(1, b"n");
        assert_eq!(subscriptions.left(2, b"n"), Left::Asked);
        assert_eq!(subscriptions.left(1, b"n"), Left::Lost(room()));
        assert_eq!(subscriptions.left(1, b"n"), Left::Asked);
        assert_eq!(subscriptions.channel(1, b"n"), None);
    }

    #[test]
    fn a_subscription_that_is_not_confirmed_is_repeated() {
        let mut subscriptions = with_room();
        assert!(subscriptions.overdue(999).is_empty());
        assert_eq!(subscriptions.overdue(1000), [(1, b"n".to_vec())]);
        assert!(subscriptions.overdue(1001).is_empty());
        subscriptions.confirm(1, b"n");
        assert!(subscriptions.overdue(9000).is_empty());
    }
}
