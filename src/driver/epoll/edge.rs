//! What an edge means for one socket: what is noted of it, and what a read or a
//! write then shows. Knows one connection at a time; not the lists of them.

use std::io::{self, Read};

use mio::event;

use super::{
    connection::{Connection, flag},
    outgoing::{self, Wire},
};
use crate::driver::Gone;

/// What a read has shown.
#[derive(Debug)]
pub(super) enum Outcome {
    Bytes(usize),
    Nothing,
    End(Gone),
}

/// Notes what `event` says of `connection`.
pub(super) fn note(connection: &mut Connection, event: &event::Event) {
    let closing = event.is_read_closed() || event.is_write_closed() || event.is_error();
    // An edge that finds no tail is of no use later: the next short send waits
    // for an edge of its own.
    if connection.tail.is_some() && (closing || event.is_writable()) {
        connection.flags.set(flag::WRITABLE);
    }
    if connection.flags.any(flag::GONE_REPORTED) {
        return;
    }
    if event.is_error() {
        connection.flags.set(flag::FAILED);
    }
    if closing {
        connection.flags.set(flag::READABLE | flag::CLOSING);
    } else if event.is_readable() {
        connection.flags.set(flag::READABLE);
    }
}

/// Sends more of the tail. Whether `Sent` is to be reported.
pub(super) fn flush(connection: &mut Connection) -> bool {
    let Some(tail) = &mut connection.tail else { return false };
    match outgoing::flush(tail, &mut Wire(&connection.stream)) {
        Ok(false) => false,
        Ok(true) => {
            connection.tail = None;
            true
        }
        Err(error) => {
            connection.fail(Gone::from(&error));
            // After `Eof` nothing more can be reported, and yet a caller must not
            // wait for ever: for a failed connection "sent" means "done with".
            connection.flags.any(flag::GONE_REPORTED)
        }
    }
}

/// Reads once. What it means for the flags is the caller's to decide.
pub(super) fn read(connection: &mut Connection, into: &mut [u8]) -> Outcome {
    loop {
        return match connection.stream.read(into) {
            Ok(0) => Outcome::End(Gone::Eof),
            Ok(len) => Outcome::Bytes(len),
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => continue,
                // A failed send took the socket's error along: this is the end.
                io::ErrorKind::WouldBlock if connection.failure.is_none() => Outcome::Nothing,
                _ => Outcome::End(Gone::from(&error)),
            },
        };
    }
}
