//! What arrives, made into what shards take: a message, and a publication with its place.
//! Knows no order.

use std::sync::Arc;

use bytes::Bytes;

use super::super::{
    broker::Channel,
    status::RelayCounters,
    wire::{self, Body, Message, WireError},
};
use crate::{id::ClientId, publication::Publication};

/// The message; `None`, and counted, if the bytes are none.
pub(super) fn message(
    bytes: &Bytes,
    channel: &Channel,
    counters: &RelayCounters,
) -> Option<Message> {
    match wire::decode(bytes, channel) {
        Ok(message) => Some(message),
        Err(WireError::UnknownVersion(_) | WireError::Malformed) => {
            RelayCounters::add(&counters.foreign, 1);
            None
        }
    }
}

/// The publication as the shards of `node` take it.
pub(super) fn publication(
    mut publication: Publication,
    except: Option<ClientId>,
    offset: u64,
    node: u64,
) -> Arc<Publication> {
    publication.except = except.and_then(|client| client.conn(node));
    publication.offset = offset;
    Arc::new(publication)
}

/// An entry of a room's history; `None`, and counted, if it is no publication.
pub(super) fn entry(
    bytes: &Bytes,
    room: &Channel,
    offset: u64,
    node: u64,
    counters: &RelayCounters,
) -> Option<Arc<Publication>> {
    if let Body::Publication(found, except) = message(bytes, room, counters)?.body {
        return Some(publication(found, except, offset, node));
    }
    RelayCounters::add(&counters.foreign, 1);
    None
}
