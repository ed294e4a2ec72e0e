//! A shard's mail: from its mailbox into the engine, and from the engine to the other
//! shards. Knows when a turn takes it in; not what it brings about.

use super::{mailbox::Mailbox, turn::Shard};
use crate::{
    driver::Driver,
    engine::{Adopted, Mail, Parcel, ShardEngine},
};

impl<D: Driver> Shard<D> {
    /// Takes in what waits. Returns whether there is more than a turn may take in.
    pub(super) fn take_mail(&mut self) -> bool {
        // Seen before the mailbox is looked into: then all mail is there.
        let all_quiet = self.all_are_quiet();
        for parcel in std::mem::take(&mut self.postponed) {
            self.on_mail(parcel);
        }
        // What comes in meanwhile is the next turn's.
        let waiting = self.mailbox.len();
        let max = waiting.min(self.limits.mails);
        for _ in 0..max {
            let Some(parcel) = self.mailbox.take() else { break };
            self.on_mail(parcel);
            self.after_event();
        }
        if self.engine.drain().is_quiescing() && all_quiet && max == waiting {
            self.engine.begin_drain();
        }
        max < waiting
    }

    /// Takes in the mail that waits now, of which what another turn is for is postponed.
    /// Sockets that are to be attached are `adopted`: the driver is borrowed meanwhile.
    pub(super) fn take_mail_before_data(
        engine: &mut ShardEngine,
        mailbox: &Mailbox,
        postponed: &mut Vec<Parcel>,
        adopted: &mut Vec<Adopted>,
    ) {
        let waiting = if mailbox.is_empty() { 0 } else { mailbox.len() };
        for _ in 0..waiting {
            let Some(parcel) = mailbox.take() else { break };
            if parcel.is_for_another_turn() {
                postponed.push(parcel);
            } else {
                adopted.extend(Self::take_in(engine, parcel));
            }
        }
    }

    /// What reached the shard from another thread.
    fn on_mail(&mut self, parcel: Parcel) {
        if let Some(adopted) = Self::take_in(&mut self.engine, parcel) {
            self.adopt(adopted);
        }
    }

    /// The same while the driver is borrowed: a socket that is to be attached is
    /// returned.
    fn take_in(engine: &mut ShardEngine, parcel: Parcel) -> Option<Adopted> {
        let Parcel { mail, origin, bytes } = parcel;
        match mail {
            Mail::Adopt(adopted) => {
                engine.credit(origin, bytes);
                Some(*adopted)
            }
            mail => {
                engine.on_mail(Parcel { mail, origin, bytes });
                None
            }
        }
    }

    /// Sends what the engine has for other shards, and gives handles their credit.
    pub(super) fn send_mail(&mut self) {
        self.mailbox.credit_handles(self.engine.take_handle_credit());
        // Each shard is woken once, when all its mail is there.
        let mut reached = 0;
        for (mut shards, parcel) in self.engine.take_outbound() {
            reached |= shards;
            let Parcel { mail, origin, bytes } = parcel;
            let mut mail = Some(mail);
            while shards != 0 {
                let shard = shards.trailing_zeros() as usize;
                shards &= shards - 1;
                let copy = match (&mail, shards) {
                    (Some(mail), 1..) => mail.for_another(),
                    _ => mail.take(),
                };
                let Some(mail) = copy else { continue };
                if self.senders.put(shard, Parcel { mail, origin, bytes }).is_err() {
                    self.engine.on_shard_ended(shard as u8);
                }
            }
        }
        self.senders.ring(reached);
    }
}
