//! A socket between a client and the HTTP implementation, which gets one request at a
//! time. What is behind a request stays here until it is asked for, so that an
//! upgrade to WebSocket can go back to a shard with every byte from its head on,
//! untouched. Knows where requests begin and end; not what answers them.
//!
//! It also knows whether anything moves: a peer that does not take its answers is
//! given up.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use super::traffic::Traffic;
use crate::{
    engine::{Limits, is_handshake},
    proto::handshake::{self, Head, HeadLimits, head_end},
};

/// Bytes of one read.
const READ_BYTES: usize = 4096;

/// What all gates of a server have in common.
#[derive(Debug)]
pub(super) struct GateSettings {
    /// Where WebSocket is spoken.
    pub(super) websocket_path: String,
    /// The longest head that is read here.
    pub(super) head_bytes: usize,
    /// How long a peer may take nothing of its answers.
    pub(super) write_timeout: Duration,
}

/// What may be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passing {
    /// Nothing: the next request's head is being read.
    Head,
    /// As many bytes: the rest of a request.
    Bytes(usize),
    /// Everything: what comes is not understood here, and for HTTP to refuse.
    All,
    /// Nothing any more.
    Upgrade,
}

/// Reads requests one by one from `socket`; writes to it.
pub(super) struct Gate<S> {
    socket: S,
    settings: Arc<GateSettings>,
    traffic: Arc<Traffic>,
    /// Read and not passed on.
    held: BytesMut,
    /// Bytes of `held` that were searched for the end of a head.
    searched: usize,
    passing: Passing,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Gate<S> {
    /// A gate for `socket`, of which `read` was read already.
    pub(super) fn new(
        socket: S,
        read: &[u8],
        settings: Arc<GateSettings>,
        traffic: Arc<Traffic>,
    ) -> Self {
        let (held, passing) = (BytesMut::from(read), Passing::Head);
        Self { socket, settings, traffic, held, searched: 0, passing, stalled: None }
    }

    pub(super) fn settings(&self) -> &GateSettings {
        &self.settings
    }

    /// The socket, and what was read of it and not passed on.
    pub(super) fn into_parts(self) -> (S, Vec<u8>) {
        (self.socket, self.held.into())
    }

    /// What to do with the front of `held`; `Head` if that takes more bytes.
    fn judge(&mut self) -> Passing {
        let limits = HeadLimits { head_bytes: self.settings.head_bytes, headers: Limits::HEADERS };
        let Some(end) = head_end(&self.held, self.searched) else {
            // The end may have begun.
            self.searched = self.held.len().saturating_sub(3);
            return if self.held.len() > limits.head_bytes { Passing::All } else { Passing::Head };
        };
        self.searched = 0;
        match handshake::parse(&self.held[..end], &limits) {
            Ok(Some(head)) if is_handshake(&head, &self.settings.websocket_path) => {
                Passing::Upgrade
            }
            Ok(Some(head)) => {
                let all = body_bytes(&head).and_then(|body| body.checked_add(end));
                all.map_or(Passing::All, Passing::Bytes)
            }
            _ => Passing::All,
        }
    }

    /// Passes on what is held of `most` bytes.
    fn pass(&mut self, most: usize, buffer: &mut ReadBuf<'_>) -> usize {
        let len = most.min(self.held.len()).min(buffer.remaining());
        buffer.put_slice(&self.held[..len]);
        self.held.advance(len);
        if self.held.is_empty() {
            // Gives the memory back: the connection may live on for minutes.
            self.held = BytesMut::new();
        }
        len
    }
}

/// Bytes of a request's body, unless only its end will tell how many they are.
fn body_bytes(head: &Head<'_>) -> Option<usize> {
    if head.header("transfer-encoding").is_some() {
        return None;
    }
    let mut lengths = head.values("content-length");
    match (lengths.next(), lengths.next()) {
        (None, _) => Some(0),
        (Some(length), None) => str::from_utf8(length).ok()?.parse().ok(),
        _ => None,
    }
}

impl<S: AsyncRead + Unpin> Gate<S> {
    /// Reads some more. `false` at the end of the stream.
    fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut chunk = [0; READ_BYTES];
        let mut chunk = ReadBuf::new(&mut chunk);
        ready!(Pin::new(&mut self.socket).poll_read(context, &mut chunk))?;
        if chunk.filled().is_empty() {
            return Poll::Ready(Ok(false));
        }
        self.traffic.progress();
        self.held.extend_from_slice(chunk.filled());
        Poll::Ready(Ok(true))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gate<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.passing == Passing::Head && !self.held.is_empty() {
                self.passing = self.judge();
            }
            match self.passing {
                Passing::Upgrade => {
                    // Whoever polls looks at this next: nobody needs to be woken.
                    self.traffic.reach_upgrade();
                    return Poll::Pending;
                }
                Passing::Bytes(0) => self.passing = Passing::Head,
                Passing::Bytes(most) if !self.held.is_empty() => {
                    let passed = self.pass(most, buffer);
                    self.passing = Passing::Bytes(most - passed);
                    return Poll::Ready(Ok(()));
                }
                Passing::All if !self.held.is_empty() => {
                    self.pass(usize::MAX, buffer);
                    return Poll::Ready(Ok(()));
                }
                Passing::Head | Passing::Bytes(_) | Passing::All => {
                    if !ready!(self.poll_more(context))? {
                        if self.held.is_empty() {
                            return Poll::Ready(Ok(()));
                        }
                        // Half a head, and no more will come.
                        self.passing = Passing::All;
                    }
                }
            }
        }
    }
}

impl<S> Gate<S> {
    /// Notes how a write went, and gives up a peer that has taken nothing for long.
    fn wrote(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        self.traffic.set_write_blocked(written.is_pending());
        if written.is_ready() {
            self.stalled = None;
            self.traffic.progress();
            return written;
        }
        let timeout = self.settings.write_timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(timeout)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes no answers")))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gate<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.wrote(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(context, parts);
        self.wrote(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}

#[cfg(test)]
mod tests;
