//! What a handler sends through a handle, on its own shard's thread: kept in order
//! with what it sends through its connection, instead of going straight to the
//! mailboxes. Knows threads and processes by their place in memory; not what is sent.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
};

use crate::engine::{Parcel, Process};

/// The shards that get it, one bit each, and what they get.
type Sent = Vec<(u64, Parcel)>;

thread_local! {
    /// While a shard turns on this thread: its process, and what was sent.
    static OUTBOX: RefCell<Option<(*const Process, Sent)>> = const { RefCell::new(None) };
}

thread_local! {
    /// Whether anything was sent that was not taken.
    static HAS_SENT: Rc<Cell<bool>> = Rc::default();
}

/// Tells whether anything was sent on this thread and not taken.
pub(super) fn has_sent() -> Rc<Cell<bool>> {
    HAS_SENT.with(Rc::clone)
}

/// A turn of a shard of `process` begins on this thread.
pub(super) fn open(process: &Arc<Process>) {
    OUTBOX.with_borrow_mut(|outbox| *outbox = Some((Arc::as_ptr(process), Vec::new())));
}

/// It is over.
pub(super) fn close() {
    OUTBOX.with_borrow_mut(|outbox| *outbox = None);
}

/// Keeps `parcel`, if a shard of `process` turns on this thread; gives it back if not.
pub(super) fn put(process: &Process, shards: u64, parcel: Parcel) -> Option<Parcel> {
    OUTBOX.with_borrow_mut(|outbox| match outbox {
        Some((turning, sent)) if std::ptr::eq(*turning, process) => {
            sent.push((shards, parcel));
            HAS_SENT.with(|flag| flag.set(true));
            None
        }
        _ => Some(parcel),
    })
}

/// Moves what was sent since the last call to `to`.
pub(crate) fn take(to: &mut Vec<(u64, Parcel)>) {
    HAS_SENT.with(|flag| flag.set(false));
    OUTBOX.with_borrow_mut(|outbox| {
        if let Some((_, sent)) = outbox
            && !sent.is_empty()
        {
            to.append(sent);
        }
    });
}
