//! The relay in the memory of this process: the reference for all others, and for one node
//! alone what gives it histories and presence. Knows no network.

mod broker;
mod journal;
mod relay;
mod store;

pub use self::{
    broker::{MemoryBroker, MemoryLink},
    journal::JournalError,
    relay::MemoryRelay,
    store::{Store, Stored},
};
