//! What needs no socket and no clock: connections in a simulated world, the fuzz
//! targets on their corpora, and the model of the doorbell.

mod doorbell_model;
mod fuzz_corpus;
mod lifecycle;
#[path = "../support/received.rs"]
#[allow(dead_code, reason = "a simulated world is asked for frames alone")]
mod received;
