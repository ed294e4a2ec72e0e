//! What leaves a shard for the others, what is charged for it, and what this shard
//! owes for what it has taken of theirs. Knows mail and windows; not what mail does.

use std::{cell::Cell, rc::Rc};

use super::{chunk::Chunk, windows::Windows};
use crate::{
    engine::process::mail::{Mail, Origin, Parcel},
    id::ConnId,
};

/// Parcels with the shards that get them, one bit each.
pub(crate) type Parcels = Vec<(u64, Parcel)>;

/// What one shard sends to the others.
pub(crate) struct Outbound {
    shard: u8,
    /// How many shards there are. Windows behind theirs are the relay's, which returns
    /// credit unasked.
    shards: usize,
    pub(crate) windows: Windows,
    parcels: Parcels,
    /// Payloads and frames of publications for several shards.
    pub(crate) chunk: Chunk,
    /// Bytes of handles' publications, and of their other mail, that have been taken
    /// since this was last told.
    handle_credit: (usize, usize),
    /// Moves what handlers sent through handles, on this shard's thread, behind what
    /// is outbound; and whether there is anything.
    take_from_handles: fn(&mut Parcels),
    handles_have_sent: Rc<Cell<bool>>,
}

impl Outbound {
    pub(crate) fn new(shard: u8, shards: usize, windows: Windows) -> Self {
        Self {
            shard,
            shards,
            windows,
            parcels: Vec::new(),
            chunk: Chunk::default(),
            handle_credit: (0, 0),
            take_from_handles: |_| {},
            handles_have_sent: Rc::default(),
        }
    }

    /// Where what handlers send through handles comes from, and whether there is any.
    pub(crate) fn set_handles(&mut self, take: fn(&mut Parcels), have_sent: Rc<Cell<bool>>) {
        (self.take_from_handles, self.handles_have_sent) = (take, have_sent);
    }

    /// Sends `mail` to other shards, one bit each, and charges `id` for it in each window.
    pub(crate) fn post(&mut self, shards: u64, mail: Mail, id: ConnId) {
        let parcel = mail.charged_to(Origin::Connection(id));
        let mut left = shards;
        while left != 0 {
            self.windows.charge(left.trailing_zeros() as u8, id, parcel.bytes);
            left &= left - 1;
        }
        self.parcels.push((shards, parcel));
    }

    /// Sends what is charged already.
    pub(crate) fn forward(&mut self, shards: u64, parcel: Parcel) {
        self.parcels.push((shards, parcel));
    }

    /// What `origin` was charged for has been taken.
    pub(crate) fn credit(&mut self, origin: Origin, bytes: u32) {
        match origin {
            Origin::Connection(id) => self.windows.on_consumed(id, bytes),
            Origin::HandlePublication => self.handle_credit.0 += bytes as usize,
            Origin::HandleRequest => self.handle_credit.1 += bytes as usize,
            Origin::Shard => {}
        }
    }

    /// Asks `shard` to return credit at once.
    pub(crate) fn request_credit(&mut self, shard: u8) {
        if usize::from(shard) >= self.shards {
            return;
        }
        let parcel = Mail::RequestCredit(self.shard).charged_to(Origin::Shard);
        self.parcels.push((1 << shard, parcel));
    }

    /// Bytes that handles were charged for, for publications and for other mail, and
    /// that have been taken since this was last asked.
    pub(crate) fn take_handle_credit(&mut self) -> (usize, usize) {
        std::mem::take(&mut self.handle_credit)
    }

    /// Whether handlers sent anything through handles that was not taken.
    #[inline]
    pub(crate) fn handles_have_sent(&self) -> bool {
        self.handles_have_sent.get()
    }

    /// What handlers sent through handles since this was last asked.
    pub(crate) fn take_from_handles(&mut self) -> Parcels {
        let first = self.parcels.len();
        (self.take_from_handles)(&mut self.parcels);
        self.parcels.split_off(first)
    }

    /// Everything that is to leave now, credit for the other shards at its end.
    pub(crate) fn take(&mut self) -> Parcels {
        if self.handles_have_sent() {
            (self.take_from_handles)(&mut self.parcels);
        }
        for (to, credits) in self.windows.take_credits() {
            let credit = Mail::Credit(self.shard, credits).charged_to(Origin::Shard);
            self.parcels.push((1 << to, credit));
        }
        std::mem::take(&mut self.parcels)
    }
}
