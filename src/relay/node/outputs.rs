//! What a node has for its broker, for its shards and for whoever asked. Knows no reason
//! for any of it.

use std::{collections::VecDeque, mem, sync::Arc};

use bytes::Bytes;

use super::{
    super::{
        Inlet,
        broker::{Channel, Operation},
        wire::{self, Bundle, Number},
    },
    map::Map,
    settings::{BACKLOG, BACKLOG_BYTES},
};
use crate::{
    cluster::{Charge, ClusterAnswer, ClusterReply, FromRelay, Question},
    publication::{Audience, Publication},
};

/// Who asked this node a question: itself, or another node by a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    pub(super) node: u64,
    pub(super) ask: u64,
}

/// What a node publishes in a channel that it counts.
pub(super) enum Numbered<'p> {
    /// As it is.
    Publication(Number, &'p Publication),
    /// As it was kept, encoded.
    Encoded(Number, &'p [u8]),
}

/// A bundle that is not finished: the operation at `at` publishes it.
struct Open {
    bundle: Bundle,
    at: usize,
}

/// Everything that leaves a node.
#[derive(Default)]
pub(super) struct Outputs {
    /// For the broker, in order.
    pub(super) operations: Vec<Operation>,
    /// What the last of them publishes, as long as more may be added.
    bundle: Option<Open>,
    /// For whoever answers for this node.
    pub(super) questions: Vec<(Asker, Question)>,
    /// Which room each question about a history is for.
    pub(super) reads: Map<u64, Arc<str>>,
    /// The same, for those of which only the end is wanted.
    pub(super) ends: Map<u64, Arc<str>>,
    shards: VecDeque<FromRelay>,
    /// Of what waits in `shards`.
    bytes: usize,
    credits: Vec<Charge>,
    replies: Vec<(ClusterReply, ClusterAnswer)>,
    tokens: u64,
}

/// About as much memory as it keeps, beside what it shares.
fn kept_bytes(what: &FromRelay) -> usize {
    let behind = match what {
        FromRelay::Publish(publication) => publication.data.bytes().len() + 256,
        FromRelay::Recovered { missed, .. } => {
            missed.as_ref().map_or(0, |missed| missed.len() * 16)
        }
        FromRelay::PresenceList { present, .. } => {
            present.as_ref().map_or(0, |present| present.len() * 64)
        }
        _ => 0,
    };
    behind + size_of::<FromRelay>()
}

impl Outputs {
    /// A name for a question to the broker; never 0, which names what is not waited for.
    pub(super) fn token(&mut self) -> u64 {
        self.tokens += 1;
        self.tokens
    }

    /// Publishes what has a number: in one message with what was before it, where nothing
    /// else came in between. Returns the name of the operation.
    pub(super) fn publish(&mut self, channel: Channel, node: u64, what: &Numbered<'_>) -> u64 {
        let (number, bytes) = match what {
            Numbered::Publication(number, publication) => {
                (*number, wire::encoded_bytes(publication))
            }
            Numbered::Encoded(number, message) => (*number, message.len()),
        };
        let token = self.bundle_for(channel, node, number, bytes);
        if let Some(Open { bundle, .. }) = &mut self.bundle {
            match what {
                Numbered::Publication(_, publication) => bundle.add(node, publication),
                Numbered::Encoded(number, message) => bundle.add_encoded(message, *number),
            }
        }
        token
    }

    /// Has a bundle that takes so many bytes of the channel.
    fn bundle_for(&mut self, channel: Channel, node: u64, number: Number, bytes: usize) -> u64 {
        if let Some(open) = &self.bundle
            && open.at + 1 == self.operations.len()
            && let Some(Operation::Publish { channel: before, token, .. }) = self.operations.last()
            && *before == channel
            && open.bundle.takes(number, bytes)
        {
            return *token;
        }
        self.finish();
        let token = self.token();
        self.bundle = Some(Open { bundle: Bundle::new(node, number), at: self.operations.len() });
        self.operations.push(Operation::Publish { channel, message: Bytes::new(), token });
        token
    }

    fn finish(&mut self) {
        if let Some(Open { bundle, at }) = self.bundle.take()
            && let Some(Operation::Publish { message, .. }) = self.operations.get_mut(at)
        {
            *message = bundle.finish();
        }
    }

    /// What the broker is to do, in order.
    pub(super) fn take_operations(&mut self) -> Vec<Operation> {
        self.finish();
        mem::take(&mut self.operations)
    }

    pub(super) fn give(&mut self, what: FromRelay) {
        self.bytes += kept_bytes(&what);
        self.shards.push_back(what);
    }

    /// Tells whoever waits for a subscription.
    pub(super) fn shards_linked(&mut self, audience: Option<Audience>) {
        if let Some(audience) = audience {
            self.give(FromRelay::Linked(audience));
        }
    }

    pub(super) fn is_flushed(&self) -> bool {
        self.shards.is_empty()
    }

    pub(super) fn credit(&mut self, charge: Charge) {
        if charge.bytes > 0 {
            self.credits.push(charge);
        }
    }

    pub(super) fn reply(&mut self, reply: ClusterReply, answer: ClusterAnswer) {
        self.replies.push((reply, answer));
    }

    pub(super) fn is_backlogged(&self) -> bool {
        self.shards.len() >= BACKLOG || self.bytes >= BACKLOG_BYTES
    }

    /// Gives what there is, in order. Returns whether all could be taken.
    pub(super) fn flush(&mut self, inlet: &dyn Inlet) -> bool {
        self.credits.drain(..).for_each(|charge| inlet.credit(charge));
        self.replies.drain(..).for_each(|(reply, answer)| reply(answer));
        while let Some(what) = self.shards.pop_front() {
            let bytes = kept_bytes(&what);
            if let Err(what) = inlet.give(what) {
                self.shards.push_front(what);
                inlet.ring();
                return false;
            }
            self.bytes -= bytes;
        }
        inlet.ring();
        true
    }
}
