//! From what arrives to what it brings about: bytes to messages (`opening`,
//! `receiving`), messages to commands (`commands`), and calls of the embedding
//! program (`hooks`, `conn`); mail from other threads (`incoming_mail`), and what they
//! ask (`queries`). Knows no batches and no flush.

pub(crate) mod commands;
pub(crate) mod conn;
pub(crate) mod hooks;
pub(crate) mod incoming_mail;
pub(crate) mod opening;
mod publishing;
pub(crate) mod queries;
pub(crate) mod receiving;
mod relayed;
mod subscribing;
