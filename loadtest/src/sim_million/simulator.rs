//! All that is used of the engine and of its simulated driver, in one place, and
//! what both sides do alike.

pub(super) use shardcast::{
    Builder, ConnId, Engine, Limits, MESSAGE_EVENT, Payload,
    batch::Slice,
    driver::{
        Driver, Event,
        sim::{Faults, PeerId, SimDriver, SimNet},
    },
    shard::sim::World,
};

/// A client's upgrade request.
pub(super) const REQUEST: &[u8] = b"GET /ws/raw HTTP/1.1\r\nHost: sim\r\n\
    Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";

/// What every client sends in answer to a ping.
pub(super) const PONG: &[u8] = b"\x8A\x80\0\0\0\0";

/// A client's text message. The key is zero: masking costs what it costs.
pub(super) fn text_frame(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81, 0x80 | text.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// Takes and drops what all of `peers` were sent. Gives the bytes.
pub(super) fn take_all(net: &SimNet, peers: &[PeerId]) -> usize {
    peers.iter().map(|peer| net.take(*peer).len()).sum()
}
