//! A network that fails as the test says: between a node and a server, for all
//! connections at once.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

#[derive(Default)]
struct State {
    /// Nothing passes, in either direction, and nothing is closed.
    holds: AtomicBool,
    /// New connections are closed at once.
    refuses: AtomicBool,
    /// Each piece is kept back for so many milliseconds.
    delay_ms: AtomicU64,
    has_ended: AtomicBool,
    streams: Mutex<Vec<TcpStream>>,
}

pub(crate) struct Proxy {
    port: u16,
    state: Arc<State>,
}

impl Proxy {
    pub(crate) fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.has_ended.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(near) = stream else { continue };
                if shared.refuses.load(Ordering::Relaxed) {
                    continue;
                }
                let Ok(far) = TcpStream::connect(("127.0.0.1", to)) else { continue };
                let mut streams = shared.streams.lock().unwrap();
                for (from, to) in [(&near, &far), (&far, &near)] {
                    streams.push(from.try_clone().unwrap());
                    pass(from.try_clone().unwrap(), to.try_clone().unwrap(), shared.clone());
                }
            }
        });
        Self { port, state }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn hold(&self, holds: bool) {
        self.state.holds.store(holds, Ordering::Relaxed);
    }

    pub(crate) fn refuse(&self, refuses: bool) {
        self.state.refuses.store(refuses, Ordering::Relaxed);
    }

    pub(crate) fn delay(&self, delay: Duration) {
        self.state.delay_ms.store(delay.as_millis() as u64, Ordering::Relaxed);
    }

    /// Breaks all connections, and with them what is on its way.
    pub(crate) fn reset(&self) {
        for stream in self.state.streams.lock().unwrap().drain(..) {
            // Closed with unread or unsent data, a connection is reset.
            let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.has_ended.store(true, Ordering::Relaxed);
        self.reset();
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, state: Arc<State>) {
    thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let delay = state.delay_ms.load(Ordering::Relaxed);
            thread::sleep(Duration::from_millis(delay));
            while state.holds.load(Ordering::Relaxed) && !state.has_ended.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(1));
            }
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    });
}
