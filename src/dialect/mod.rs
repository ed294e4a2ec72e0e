//! Wire formats: what a client writes ↔ the vocabulary inside. Pure; knows
//! nothing of frames, connections or rooms' members.

mod vocabulary;

pub use vocabulary::{Command, Encoding, Event, Incoming, Payload, Refusal};
