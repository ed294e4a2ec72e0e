//! The logic of one node: what it asks of its broker and gives to its shards, from what
//! these tell it. No I/O, no threads, no clock: `now` is an argument.

mod arrivals;
mod asks;
mod audit;
mod beats;
mod core;
mod history;
mod map;
mod numbering;
mod outputs;
mod presence;
mod publishing;
mod received;
mod resumption;
mod sequence;
mod settings;
mod subscriptions;
#[cfg(test)]
mod tests;
mod ticks;

pub use self::{
    core::Node,
    outputs::Asker,
    settings::{
        ARRIVAL_MS, ASK_MS, BEAT_MS, HistoryRule, LINGER_MS, NODE_MS, NodeSettings, PRESENCE_MS,
        READ_MS, SILENCE_MS,
    },
};
