//! An operation that a server has been asked for, and what its answer means. Does no I/O.

use redis::{ServerError, Value};

use super::{
    names::Names,
    scripts::{self, Append, Place, PresenceCall, Read, Scripts},
};
use crate::relay::broker::{Arrival, BrokerError, Operation};

/// An operation on its way.
pub(super) struct Pending {
    /// Its place among all operations.
    pub(super) sequence: u64,
    pub(super) partition: u16,
    pub(super) operation: Operation,
    /// Since when it is held back, in milliseconds; 0 if it never was.
    pub(super) held_since: u64,
}

/// What an answer means.
pub(super) enum Meaning {
    /// Done, or refused for good.
    Done(Option<Arrival>),
    /// Refused for good because of the server's state.
    Refused(Option<Arrival>, RefusalCause, String),
    /// Not done: it is to be asked again, of another server perhaps.
    Again(Again),
}

/// Why a server refuses operations of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RefusalCause {
    /// It cannot store more.
    Storage,
    /// It does not let us.
    Permission,
    /// This key is of another kind: nothing that concerns others.
    Key,
}

/// Why an operation was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// The partition is elsewhere.
    Moved,
    /// Soon.
    Later,
    /// The server has forgotten the scripts.
    Scripts,
    /// The server has become a replica.
    Replica,
}

/// What an operation weighs until it is answered, in bytes.
pub(super) fn weight(operation: &Operation) -> usize {
    let message = match operation {
        Operation::Publish { message, .. } | Operation::Append { message, .. } => message.len(),
        _ => 0,
    };
    message + 256
}

/// Whether an operation needs room on the server.
pub(super) fn stores(operation: &Operation) -> bool {
    matches!(operation, Operation::Append { .. } | Operation::Enter { .. })
}

/// The partition that an operation is for.
pub(super) fn partition(operation: &Operation, names: &Names) -> u16 {
    match operation {
        Operation::Subscribe(channel)
        | Operation::Unsubscribe(channel)
        | Operation::Publish { channel, .. } => names.partition_of(channel),
        Operation::Append { room, .. }
        | Operation::Read { room, .. }
        | Operation::Enter { room, .. }
        | Operation::Leave { room, .. }
        | Operation::Expire { room }
        | Operation::List { room, .. } => names.room(room),
    }
}

/// The command for an operation, but for subscribing.
pub(super) fn command(
    operation: &Operation,
    names: &Names,
    scripts: &Scripts,
    epoch: impl FnOnce() -> u64,
    place: &Place,
) -> Option<redis::Cmd> {
    Some(match operation {
        Operation::Subscribe(_) | Operation::Unsubscribe(_) => return None,
        Operation::Publish { channel, message, .. } => {
            scripts.publish(&names.channel(channel).1, message)
        }
        Operation::Append { room, message, limits, once, .. } => {
            let once = once.as_ref().map(|(once, window)| (&**once, *window));
            let append = Append { room, message, limits: *limits, once };
            scripts.append(names, &append, epoch(), place)
        }
        Operation::Read { room, after, count, limits, .. } => {
            let read = Read { room, after: *after, count: *count, limits: *limits };
            scripts.read(names, &read, epoch(), place)
        }
        Operation::Enter { room, who, ttl_ms } => {
            scripts.presence(names, &PresenceCall::Enter(room, who, *ttl_ms))
        }
        Operation::Leave { room, who } => scripts.presence(names, &PresenceCall::Leave(room, who)),
        Operation::Expire { room } => scripts.presence(names, &PresenceCall::Expire(room)),
        Operation::List { room, .. } => scripts.presence(names, &PresenceCall::List(room)),
    })
}

/// What is told of an operation that was not done, if anything.
pub(super) fn failed(operation: &Operation, error: BrokerError) -> Option<Arrival> {
    match operation {
        Operation::Publish { token, .. } | Operation::Append { token, .. } => {
            Some(Arrival::Published { token: *token, result: Err(error) })
        }
        Operation::Read { token, .. } => Some(Arrival::History { token: *token, history: None }),
        Operation::List { token, .. } => Some(Arrival::Present { token: *token, present: None }),
        _ => None,
    }
}

/// What `answer` means for `operation`.
pub(super) fn meaning(operation: &Operation, answer: Value) -> Meaning {
    let answer = match answer {
        Value::ServerError(error) => return refusal(operation, &error),
        answer => answer,
    };
    let unknown = || BrokerError::Refused("an answer of an unknown form".to_owned());
    Meaning::Done(match operation {
        Operation::Publish { token, .. } => {
            Some(Arrival::Published { token: *token, result: Ok(None) })
        }
        Operation::Append { token, .. } => {
            let result = scripts::appended(&answer).map(Some).ok_or_else(unknown);
            Some(Arrival::Published { token: *token, result })
        }
        Operation::Read { token, .. } => {
            Some(Arrival::History { token: *token, history: scripts::history(answer) })
        }
        Operation::List { token, .. } => {
            Some(Arrival::Present { token: *token, present: scripts::present(&answer) })
        }
        _ => None,
    })
}

/// What a refusal means. An error in a script has the code `ERR` before Redis 7 and its
/// own code since.
fn refusal(operation: &Operation, error: &ServerError) -> Meaning {
    let details = error.details().unwrap_or_default();
    let text = format!("{} {details}", error.code());
    let is = |code: &str| error.code() == code || details.contains(&format!("-{code} "));
    if is("NOSCRIPT") {
        return Meaning::Again(Again::Scripts);
    }
    if is("MOVED") || is("CLUSTERDOWN") {
        return Meaning::Again(Again::Moved);
    }
    if is("ASK") || is("TRYAGAIN") || is("LOADING") || is("MASTERDOWN") || is("BUSY") {
        return Meaning::Again(Again::Later);
    }
    if is("READONLY") || details.contains("read only replica") {
        return Meaning::Again(Again::Replica);
    }
    let refused = failed(operation, BrokerError::Refused(text.clone()));
    if is("OOM") || details.contains("command not allowed when used memory") {
        let why = "Redis is out of memory: its maxmemory is reached".to_owned();
        return Meaning::Refused(refused, RefusalCause::Storage, why);
    }
    if is("MISCONF") || is("NOREPLICAS") {
        return Meaning::Refused(
            refused,
            RefusalCause::Storage,
            format!("Redis does not write: {text}"),
        );
    }
    let acl = details.contains("No permissions") || details.contains("can't run this command");
    if is("NOPERM") || is("NOAUTH") || acl {
        let why = format!("Redis does not permit what is needed: {text}");
        return Meaning::Refused(refused, RefusalCause::Permission, why);
    }
    Meaning::Refused(refused, RefusalCause::Key, format!("Redis refused an operation: {text}"))
}
