//! The trial of a ring over a real TCP connection to this host itself: whether
//! what it says of bytes is what the other end sees. A kernel that has every
//! operation may still carry one out otherwise than this driver relies on.
//!
//! Bounded whatever the kernel does: every wait has a time-out, every loop a
//! count.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd,
    time::Duration,
};

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, Socket, Type};

use super::{
    arrivals::{Received, Tag},
    ring::{Completion, Ring},
};
use crate::{batch::Slice, driver::tail::Tail, id::ConnId};

/// How long one step may take: far above what it does on a host that is busy.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Send and receive buffer of a socket that is to be filled, in bytes.
const NARROW_BYTES: usize = 16 << 10;

/// Fills a socket with [`NARROW_BYTES`] many times over.
const SENDS: usize = 1024;

/// How often a socket is filled and emptied: the first time it takes a part of
/// what it refuses, later often nothing of it.
const FILLS: usize = 3;

/// The pieces of the batches, in turn: those that are copied and those that are
/// referenced, alone and several in one send.
const SHAPES: [&[usize]; 5] =
    [&[100], &[1500], &[700, 50, 900], &[3000, 2500], &[4096, 1, 4096, 20]];

/// What is received in small portions: several times what fits into the buffers
/// of a ring that is tried.
const PORTIONS: usize = 64;

/// And what is written at once, more than fits into them.
const BURST_BYTES: usize = 96 << 10;

/// Waits in which nothing need arrive, such as those that a signal cuts short.
const IDLE_WAITS: usize = 20;

/// Completions of one portion or burst.
const ROUNDS: usize = 4096;

const TAG: Tag = Tag::of(ConnId::new(0, 0, 0));

/// The byte at place `at` of a stream, without a short period.
const fn pattern(at: usize) -> u8 {
    ((at as u32).wrapping_mul(0x9E37_79B1) >> 24) as u8
}

fn stretch(from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(pattern).collect()
}

fn is_stretch(from: usize, bytes: &[u8]) -> bool {
    bytes.iter().enumerate().all(|(index, byte)| *byte == pattern(from + index))
}

fn failed(what: &'static str) -> impl Fn(io::Error) -> String {
    move |error| format!("{what}: {error}")
}

/// Fills a socket through `ring` until a send is refused, several times. Each
/// byte that the ring says was taken must reach the other end, once and in
/// order; and if `silent`, no send but a refused one may post a completion.
///
/// # Errors
/// What went wrong.
pub(super) fn sends(ring: &mut Ring, silent: bool) -> Result<(), String> {
    let (near, mut far) = connection(Some(NARROW_BYTES)).map_err(failed("a connection to test"))?;
    let answered = ring.answered_sends();
    let mut taken = 0;
    for fill in 1..=FILLS {
        let arrived = taken;
        taken = fill_up(ring, &near, taken)?;
        let answers = ring.answered_sends().wrapping_sub(answered) as usize;
        if silent && answers != fill {
            return Err(format!("{answers} completions for {fill} refused sends"));
        }
        read_until(&mut far, arrived, taken)?;
        // A refused send that is carried out after all would be so now.
        ring.enter(0, None).map_err(failed("entering the ring"))?;
    }
    near.shutdown(Shutdown::Write).map_err(failed("ending the stream"))?;
    let mut more = Vec::new();
    match far.take(1).read_to_end(&mut more).map_err(failed("the end of the stream"))? {
        0 => Ok(()),
        _ => Err("more bytes arrived than the ring said were taken".to_owned()),
    }
}

/// Sends until one is refused, from place `at` of the stream on. Up to where the
/// ring says that it was taken.
fn fill_up(ring: &mut Ring, near: &TcpStream, mut at: usize) -> Result<usize, String> {
    for shape in SHAPES.iter().cycle().take(SENDS) {
        let start = at;
        let pieces: Vec<Bytes> = shape
            .iter()
            .map(|len| {
                at += len;
                Bytes::from(stretch(at - len, *len))
            })
            .collect();
        let batch: Vec<Slice<'_>> = pieces.iter().map(Slice::whole).collect();
        ring.send(TAG, near, &batch);
        ring.enter(0, None).map_err(failed("entering the ring"))?;
        match ring.next_completion() {
            None => {}
            Some(Completion::Refused(TAG, Ok(tail))) => return rest_from(&tail, start, at),
            Some(other) => return Err(format!("a send ended in {other:?}")),
        }
    }
    Err("a full socket refused nothing".to_owned())
}

/// Where `tail` begins, which must be the end of the stream's `start..end`.
fn rest_from(tail: &Tail, start: usize, end: usize) -> Result<usize, String> {
    let rest = tail.pieces().map(Bytes::len).sum::<usize>();
    let from = end.checked_sub(rest).filter(|from| *from >= start);
    from.ok_or_else(|| "a send left more than it had".to_owned())
}

/// Reads the stream's bytes from place `at` up to `end`, and no further.
fn read_until(far: &mut TcpStream, mut at: usize, end: usize) -> Result<(), String> {
    let mut buffer = vec![0; 64 << 10];
    for _ in 0..ROUNDS {
        if at == end {
            return Ok(());
        }
        let room = buffer.len().min(end - at);
        let read = match far.read(&mut buffer[..room]) {
            Ok(0) => return Err(format!("the stream ended at {at} of {end} bytes")),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(format!("{at} of {end} bytes arrived: {error}")),
        };
        if !is_stretch(at, &buffer[..read]) {
            return Err(format!("other bytes arrived than were sent, after {at}"));
        }
        at += read;
    }
    Err(format!("{at} of {end} bytes arrived, in too many pieces"))
}

/// Receives through `ring`, portion by portion and then more at once than its
/// buffers hold. Each byte must be lent once and in order, and then the end told;
/// and one receive must go on after the first bytes.
///
/// # Errors
/// What went wrong.
pub(super) fn receives(ring: &mut Ring) -> Result<(), String> {
    let (mut near, far) = connection(None).map_err(failed("a connection to test"))?;
    near.set_nonblocking(true).map_err(failed("a socket option"))?;
    let mut receiving = Receiving { ring, far: &far, at: 0, went_on: false, ended: false };
    receiving.ring.receive(TAG, &far);
    let portions = (1..=PORTIONS).map(|portion| portion * 37 % 1900 + 1);
    let mut end = 0;
    for len in portions.chain([BURST_BYTES]) {
        // A socket that takes less is tried with less.
        end += near.write(&stretch(end, len)).map_err(failed("writing"))?;
        receiving.take_until(end, false)?;
    }
    near.shutdown(Shutdown::Write).map_err(failed("ending the stream"))?;
    receiving.take_until(end, true)?;
    if receiving.went_on { Ok(()) } else { Err("each receive ends after its first bytes".into()) }
}

/// A stream that is being received.
struct Receiving<'a> {
    ring: &'a mut Ring,
    far: &'a TcpStream,
    /// How much of it has come.
    at: usize,
    /// A receive has brought bytes and was not over with them.
    went_on: bool,
    ended: bool,
}

impl Receiving<'_> {
    /// Takes in what arrives until there are exactly `end` bytes, and behind them
    /// the end of the stream if `ends`.
    fn take_until(&mut self, end: usize, ends: bool) -> Result<(), String> {
        let mut idle = 0;
        for _ in 0..ROUNDS {
            while let Some((_, received, goes_on)) = self.ring.next_received() {
                idle = 0;
                self.take(received, goes_on)?;
            }
            if self.at == end && self.ended == ends {
                return Ok(());
            }
            if self.at > end || self.ended {
                return Err(format!("{} bytes arrived of {end}", self.at));
            }
            if idle == IDLE_WAITS {
                return Err(format!("after {} bytes nothing more arrived", self.at));
            }
            idle += 1;
            let wait = Some(TIMEOUT / IDLE_WAITS as u32);
            self.ring.enter(1, wait).map_err(failed("entering the ring"))?;
        }
        Err(format!("{} bytes arrived, in too many pieces", self.at))
    }

    fn take(&mut self, received: Received, goes_on: bool) -> Result<(), String> {
        match received {
            Received::Chunk(chunk) => {
                let right = is_stretch(self.at, self.ring.lend(&chunk));
                self.at += chunk.len();
                self.went_on |= goes_on;
                self.ring.put_back(chunk);
                if !right {
                    return Err(format!("other bytes arrived than were sent, before {}", self.at));
                }
            }
            Received::NoBuffer | Received::Cancelled => {}
            Received::End => self.ended = true,
            Received::Failed(error) => return Err(format!("a receive failed: {error}")),
        }
        if !goes_on && !self.ended {
            self.ring.receive(TAG, self.far);
        }
        Ok(())
    }
}

/// Two ends of a TCP connection, with buffers of so many bytes, or the host's.
fn connection(buffer_bytes: Option<usize>) -> io::Result<(TcpStream, TcpStream)> {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    if let Some(bytes) = buffer_bytes {
        // Accepted sockets inherit both.
        listener.set_recv_buffer_size(bytes)?;
        listener.set_send_buffer_size(bytes)?;
    }
    listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    listener.listen(1)?;
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from(listener);
    let far = TcpStream::connect_timeout(&listener.local_addr()?, TIMEOUT)?;
    let near = accept(&listener, far.local_addr()?)?;
    near.set_nodelay(true)?;
    // Where the kernel would wait for ever, it gives up.
    far.set_read_timeout(Some(TIMEOUT))?;
    Ok((near, far))
}

/// The connection from `peer`. Anyone on this host may connect, too.
fn accept(listener: &TcpListener, peer: SocketAddr) -> io::Result<TcpStream> {
    let timeout = Timespec { tv_sec: TIMEOUT.as_secs().cast_signed(), tv_nsec: 0 };
    for _ in 0..IDLE_WAITS {
        match listener.accept() {
            Ok((socket, from)) if from == peer => {
                socket.set_nonblocking(false)?;
                return Ok(socket);
            }
            Ok(_) => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        let mut listening = [PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN)];
        if poll(&mut listening, Some(&timeout))? == 0 {
            break;
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

#[cfg(test)]
mod tests {
    use super::{
        super::{probe::probe, ring::RingSettings},
        *,
    };

    /// A ring as the probe tries it. `None` on a host that has none, of which the
    /// probe must say so.
    fn ring(silent: bool, incremental: bool) -> Option<Ring> {
        let settings = RingSettings {
            submissions: 64,
            buffers: 8,
            buffer_bytes: 4096,
            receive_limit: 4096,
            incremental,
            limited: incremental,
            silent,
        };
        let ring = Ring::new(&settings).ok();
        assert!(ring.is_some() || probe().usable.is_err());
        ring
    }

    #[test]
    fn silent_and_plain_sends_pass() {
        for silent in [true, false] {
            let Some(mut ring) = ring(silent, true) else { return };
            assert_eq!(sends(&mut ring, silent), Ok(()));
        }
    }

    #[test]
    fn sends_that_are_not_silent_are_found_out() {
        let Some(mut ring) = ring(false, true) else { return };
        let why = sends(&mut ring, true).unwrap_err();
        assert!(why.contains("completions for 1 refused"), "{why}");
    }

    #[test]
    fn receives_pass_with_and_without_incremental_buffers() {
        for incremental in [true, false] {
            let Some(mut ring) = ring(true, incremental) else { return };
            assert_eq!(receives(&mut ring), Ok(()));
        }
    }

    #[test]
    fn wrong_bytes_and_missing_bytes_are_found_out() {
        let (mut near, mut far) = connection(None).unwrap();
        near.write_all(&stretch(0, 100)).unwrap();
        near.write_all(&stretch(101, 100)).unwrap();
        assert_eq!(read_until(&mut far, 0, 50), Ok(()));
        let why = read_until(&mut far, 50, 200).unwrap_err();
        assert!(why.contains("other bytes"), "{why}");
        drop(near);
        let why = read_until(&mut far, 200, 201).unwrap_err();
        assert!(why.contains("the stream ended"), "{why}");
    }
}
