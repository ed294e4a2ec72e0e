//! The way from the shards to where HTTP is served. A shard never waits here, and one
//! address cannot fill it.

use std::{
    collections::HashMap,
    io::Write,
    net::{IpAddr, TcpStream},
    sync::{Arc, Mutex},
};

use tokio::sync::mpsc;

use super::places::{lock, share_of};
use crate::engine::subnet;

const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Length: 26\r\n\r\n\
    too many HTTP connections\n";

/// How many HTTP connections there may be, and of whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Served at once.
    pub(super) connections: usize,
    /// On their way from the shards.
    pub(super) hand_offs: usize,
    /// Of one address; see [`Limits::connections_per_address`].
    pub(super) per_address: usize,
    /// See [`Limits::ipv6_prefix_bits`].
    pub(super) ipv6_prefix_bits: u8,
}

impl Bounds {
    /// Of so many places, those that one address may have.
    pub(super) fn share_of(&self, most: usize) -> usize {
        share_of(most).min(self.per_address)
    }
}

/// A socket that a shard handed over, what was read of it, and whose it is.
pub(super) struct HandedOff {
    pub(super) socket: TcpStream,
    pub(super) read: Vec<u8>,
    pub(super) address: IpAddr,
}

/// How many sockets of each address are on their way.
type Waiting = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// The way from the shards to the plane: one address cannot fill it.
#[derive(Clone)]
pub(super) struct HandOffs {
    sender: mpsc::Sender<HandedOff>,
    waiting: Waiting,
    bounds: Bounds,
}

/// Its end at the plane.
pub(super) struct Arrivals {
    receiver: mpsc::Receiver<HandedOff>,
    waiting: Waiting,
}

pub(super) fn hand_offs(bounds: Bounds) -> (HandOffs, Arrivals) {
    let (sender, receiver) = mpsc::channel(bounds.hand_offs);
    let waiting = Waiting::default();
    (HandOffs { sender, waiting: Arc::clone(&waiting), bounds }, Arrivals { receiver, waiting })
}

impl HandOffs {
    /// Hands a socket over, or refuses it: a shard cannot wait.
    pub(super) fn push(&self, socket: TcpStream, read: Vec<u8>) {
        let prefix_bits = self.bounds.ipv6_prefix_bits;
        let Some(handed_off) = HandedOff::new(socket, read, prefix_bits) else { return };
        let address = handed_off.address;
        let mut waiting = lock(&self.waiting);
        let count = waiting.get(&address).copied().unwrap_or(0);
        if count >= self.bounds.share_of(self.bounds.hand_offs) {
            drop(waiting);
            handed_off.refuse();
            return;
        }
        match self.sender.try_send(handed_off) {
            Ok(()) => {
                waiting.insert(address, count + 1);
            }
            Err(mpsc::error::TrySendError::Full(back)) => back.refuse(),
            Err(mpsc::error::TrySendError::Closed(_)) => {}
        }
    }
}

impl HandedOff {
    /// `None` if the peer has left.
    pub(super) fn new(socket: TcpStream, read: Vec<u8>, ipv6_prefix_bits: u8) -> Option<Self> {
        let peer = socket.peer_addr().ok()?;
        Some(Self { socket, read, address: subnet(peer.ip(), ipv6_prefix_bits) })
    }

    fn refuse(self) {
        // It is a new socket with an empty buffer: this fits or never will.
        let _ = (&self.socket).write(BUSY);
    }
}

impl Arrivals {
    /// The next socket; `None` when the shards have ended.
    pub(super) async fn next(&mut self) -> Option<HandedOff> {
        let handed_off = self.receiver.recv().await?;
        let mut waiting = lock(&self.waiting);
        if let Some(count) = waiting.get_mut(&handed_off.address) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&handed_off.address);
            }
        }
        Some(handed_off)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_the_fixed_response_is_true() {
        let text = std::str::from_utf8(BUSY).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
    }
}
