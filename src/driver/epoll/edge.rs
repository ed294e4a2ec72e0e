//! What an edge means for one socket: what is noted of it, and what a read or a
//! write then shows. Knows one connection at a time; not the lists of them.

use std::io::{self, Read};

use mio::event;

use super::{
    outgoing::{self, Wire},
    table::{Marks, Tenant},
};
use crate::driver::Gone;

/// What a read has shown.
#[derive(Debug)]
pub(super) enum Outcome {
    Bytes(usize),
    Nothing,
    End(Gone),
}

/// Marks what `event` says of `tenant`.
pub(super) fn note(tenant: &mut Tenant, event: &event::Event) {
    let closing = event.is_read_closed() || event.is_write_closed() || event.is_error();
    // An edge that finds no tail is of no use later: the next short send waits
    // for an edge of its own.
    if tenant.tail.is_some() && (closing || event.is_writable()) {
        tenant.marks.set(Marks::WRITABLE);
    }
    if tenant.marks.any(Marks::TOLD) {
        return;
    }
    if event.is_error() {
        tenant.marks.set(Marks::FAILED);
    }
    if closing {
        tenant.marks.set(Marks::READABLE | Marks::CLOSING);
    } else if event.is_readable() {
        tenant.marks.set(Marks::READABLE);
    }
}

/// Sends more of the tail. Whether `Sent` is to be reported.
pub(super) fn flush(tenant: &mut Tenant) -> bool {
    let Some(tail) = &mut tenant.tail else { return false };
    match outgoing::flush(tail, &mut Wire(&tenant.stream)) {
        Ok(false) => false,
        Ok(true) => {
            tenant.tail = None;
            true
        }
        Err(error) => {
            tenant.fail(Gone::from(&error));
            // After `Eof` nothing more can be reported, and yet a caller must not
            // wait for ever: for a failed connection "sent" means "done with".
            tenant.marks.any(Marks::TOLD)
        }
    }
}

/// Reads once. What it means for the marks is the caller's to decide.
pub(super) fn read(tenant: &mut Tenant, into: &mut [u8]) -> Outcome {
    loop {
        return match tenant.stream.read(into) {
            Ok(0) => Outcome::End(Gone::Eof),
            Ok(len) => Outcome::Bytes(len),
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => continue,
                // A failed send took the socket's error along: this is the end.
                io::ErrorKind::WouldBlock if tenant.failure.is_none() => Outcome::Nothing,
                _ => Outcome::End(Gone::from(&error)),
            },
        };
    }
}
