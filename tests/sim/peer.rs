//! A client in the simulated world: what it wrote, and what it was sent, frame
//! by frame.

use serde_json::Value;
use shardcast::{
    driver::sim::{PeerId, SimNet},
    proto::frame::{Opcode, Role, decode, write_masked},
};

/// A frame as the peer saw it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Frame {
    /// A message of the dialect, without its timestamp.
    Event(Value),
    Pong(Vec<u8>),
    Ping,
    /// With its code.
    Close(Option<u16>),
}

/// One client.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, not a state")]
pub(crate) struct Peer {
    pub(crate) id: PeerId,
    pub(crate) shard: usize,
    /// It has reset or closed, and does nothing more.
    pub(crate) left: bool,
    /// It has reset: what it was sent may be cut off.
    pub(crate) broken: bool,
    /// It has stopped reading at some time.
    pub(crate) stalled: bool,
    bytes: Vec<u8>,
    upgraded: bool,
    pub(crate) frames: Vec<Frame>,
    pub(crate) client_id: Option<String>,
}

impl Peer {
    pub(crate) fn new(id: PeerId, shard: usize) -> Self {
        Self {
            id,
            shard,
            left: false,
            broken: false,
            stalled: false,
            bytes: Vec::new(),
            upgraded: false,
            frames: Vec::new(),
            client_id: None,
        }
    }

    /// Writes a text message, in one frame or several.
    pub(crate) fn send(&self, net: &SimNet, text: &str, pieces: usize) {
        let bytes = text.as_bytes();
        let mut out = Vec::new();
        let size = bytes.len().div_ceil(pieces.max(1)).max(1);
        let parts: Vec<&[u8]> = bytes.chunks(size).collect();
        for (index, part) in parts.iter().enumerate() {
            let opcode = if index == 0 { Opcode::Text } else { Opcode::Continuation };
            write_masked(&mut out, index + 1 == parts.len(), opcode, [7, 1, 9, 3], part);
        }
        net.write(self.id, &out);
    }

    pub(crate) fn send_control(&self, net: &SimNet, opcode: Opcode, payload: &[u8]) {
        let mut out = Vec::new();
        write_masked(&mut out, true, opcode, [1, 2, 3, 4], payload);
        net.write(self.id, &out);
    }

    /// Reads what has arrived, and answers pings. Whatever the server sends must be
    /// the answer to the upgrade and then whole, unmasked frames with nothing behind a
    /// Close. Returns whether there was anything.
    pub(crate) fn read(&mut self, net: &SimNet) -> bool {
        let came = net.take(self.id);
        if came.is_empty() {
            return false;
        }
        self.bytes.extend(came);
        let before = self.frames.len();
        self.take_frames();
        if self.frames[before..].contains(&Frame::Ping) && !self.left {
            self.send_control(net, Opcode::Pong, b"");
        }
        true
    }

    fn take_frames(&mut self) {
        if !self.upgraded {
            let Some(end) = shardcast::proto::handshake::head_end(&self.bytes, 0) else { return };
            assert!(self.bytes.starts_with(b"HTTP/1.1 101 "), "the upgrade is refused");
            self.bytes.drain(..end);
            self.upgraded = true;
        }
        let mut at = 0;
        while let Some((header, len)) = decode(&self.bytes[at..], Role::Client).unwrap() {
            let end = at + len + header.len as usize;
            if end > self.bytes.len() {
                break;
            }
            assert!(header.fin, "the server fragments nothing");
            let payload = self.bytes[at + len..end].to_vec();
            self.on_frame(header.opcode, &payload);
            at = end;
        }
        self.bytes.drain(..at);
    }

    fn on_frame(&mut self, opcode: Opcode, payload: &[u8]) {
        assert!(!self.is_closed(), "a frame behind the Close frame");
        let frame = match opcode {
            Opcode::Text => {
                let mut event: Value = serde_json::from_slice(payload).unwrap();
                let stamp = event.as_object_mut().unwrap().remove("timestamp");
                assert!(stamp.is_some(), "every event has a timestamp");
                if event["type"] == "connected" {
                    self.client_id = event["data"]["client_id"].as_str().map(str::to_owned);
                }
                Frame::Event(event)
            }
            Opcode::Close => {
                let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                Frame::Close(code)
            }
            Opcode::Pong => Frame::Pong(payload.to_vec()),
            Opcode::Ping => Frame::Ping,
            other => panic!("the server sent {other:?}"),
        };
        self.frames.push(frame);
    }

    /// Its events, in order.
    pub(crate) fn events(&self) -> impl Iterator<Item = &Value> {
        self.frames.iter().filter_map(|frame| match frame {
            Frame::Event(event) => Some(event),
            _ => None,
        })
    }

    /// The numbers of what others published or sent to it, in order.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u64> {
        let messages = self.events().filter(|event| event["type"] == "message");
        messages.map(|event| event["data"]["n"].as_u64().expect("every message has a number"))
    }

    /// The code of the Close frame that it got.
    pub(crate) fn close_code(&self) -> Option<u16> {
        match self.frames.last() {
            Some(Frame::Close(code)) => *code,
            _ => None,
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.frames.last(), Some(Frame::Close(_)))
    }

    /// Whether the stream ends between two frames.
    pub(crate) fn is_between_frames(&self) -> bool {
        self.bytes.is_empty()
    }
}
