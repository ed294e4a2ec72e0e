//! What happens when somebody does not take what is sent: publishers are held
//! (`holds`), frames wait for their readers (`backlog`), and lossy readers lose some
//! (`shed`). Knows connections, rooms and windows; sends nothing.

pub(crate) mod backlog;
pub(crate) mod holds;
pub(crate) mod pending_logs;
pub(crate) mod shed;
