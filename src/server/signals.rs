//! SIGTERM and SIGINT: the first asks for a drain, the second ends the process.

use std::{
    io,
    os::unix::net::UnixStream as Pipe,
    sync::{Arc, atomic::AtomicBool},
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
    low_level::pipe,
};
use tokio::{io::AsyncReadExt, net::UnixStream};

/// What a shell reports of a process that a signal ended: 128 and the signal.
const ENDED_BY: i32 = 128;

/// The signals that ask the server to end. Caught from [`Signals::catch`] on.
///
/// A second one ends the process from within the signal handler, so that it
/// does so even if every thread hangs.
pub(super) struct Signals(Pipe);

impl Signals {
    pub(super) fn catch() -> io::Result<Self> {
        let (read, write) = Pipe::pair()?;
        read.set_nonblocking(true)?;
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT] {
            // In this order: the first signal must not see its own mark.
            flag::register_conditional_shutdown(signal, ENDED_BY + signal, Arc::clone(&asked))?;
            flag::register(signal, Arc::clone(&asked))?;
            pipe::register(signal, write.try_clone()?)?;
        }
        Ok(Self(read))
    }

    /// A future that is ready once a signal has come, also if it came before.
    /// Needs a runtime.
    pub(super) fn first(self) -> io::Result<impl Future<Output = ()>> {
        let mut read = UnixStream::from_std(self.0)?;
        Ok(async move {
            // The writing ends live as long as the process: there is no error
            // but one that leaves no better choice than to end.
            let _ = read.read_u8().await;
        })
    }
}
