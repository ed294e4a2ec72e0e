//! A small server of the `pubsub` dialect that can be told to misbehave, so
//! that the tests see the harness notice. One thread per connection: for a few
//! dozen connections only.

use std::collections::HashMap;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use tungstenite::{Message, WebSocket};

/// How the fake treats publications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Delivers each to every member.
    Good,
    /// Loses one delivery.
    Loses,
    /// Delivers one twice.
    Repeats,
    /// Closes a connection after a few publications.
    Closes,
    /// Refuses every subscription.
    Refuses,
}

/// Counts deliveries: the misbehaviour hits this one.
const UNLUCKY: u64 = 25;

type Member = Arc<Mutex<WebSocket<TcpStream>>>;

struct Hub {
    manner: Manner,
    deliveries: AtomicU64,
    members: Mutex<HashMap<String, Vec<Member>>>,
}

/// Starts a fake and gives the URL of its WebSocket; it ends with the test.
pub(crate) fn serve(manner: Manner) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let hub = Arc::new(Hub { manner, deliveries: AtomicU64::new(0), members: Mutex::default() });
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let hub = Arc::clone(&hub);
            thread::spawn(move || hub.attend(stream));
        }
    });
    format!("ws://{address}/ws")
}

impl Hub {
    /// Serves one connection. A read waits but a moment, so that the lock is
    /// free for those who deliver.
    fn attend(&self, stream: TcpStream) {
        let mut raw = false;
        #[allow(clippy::result_large_err, reason = "the type is the library's")]
        let callback = |request: &tungstenite::handshake::server::Request, response| {
            raw = request.uri().path().ends_with("/raw");
            Ok(response)
        };
        let Ok(mut socket) = tungstenite::accept_hdr(stream, callback) else {
            return;
        };
        let pause = Some(Duration::from_millis(1));
        socket.get_ref().set_read_timeout(pause).expect("a timeout");
        if !raw {
            let greeting = r#"{"type":"connected","data":{"client_id":"00000000-0000-4000-8000-000000000000"},"timestamp":1}"#;
            let _ = socket.send(Message::text(greeting));
        }
        let member = Arc::new(Mutex::new(socket));
        loop {
            let read = member.lock().expect("a lock").read();
            match read {
                Ok(message) if raw && !message.is_close() => {
                    let _ = member.lock().expect("a lock").send(message);
                }
                Ok(Message::Text(text)) => self.handle(&member, text.as_str()),
                Ok(_) => {}
                Err(tungstenite::Error::Io(error))
                    if error.kind() == std::io::ErrorKind::WouldBlock =>
                {
                    thread::sleep(Duration::from_micros(200));
                }
                Err(_) => return,
            }
        }
    }

    fn handle(&self, member: &Member, text: &str) {
        let envelope: serde_json::Value = serde_json::from_str(text).expect("JSON");
        let room = envelope["room"].as_str().unwrap_or_default().to_owned();
        match envelope["type"].as_str() {
            Some("subscribe") => {
                if self.manner == Manner::Refuses {
                    return say(
                        member,
                        r#"{"type":"error","error":"room is at maximum capacity"}"#,
                    );
                }
                self.join(&room, member);
                say(member, &format!(r#"{{"type":"subscribed","room":"{room}"}}"#));
            }
            Some("publish") => {
                let data = &envelope["data"];
                let text =
                    format!(r#"{{"type":"message","room":"{room}","data":{data},"timestamp":1}}"#);
                self.deliver(&room, &text);
            }
            _ => {}
        }
    }

    fn join(&self, room: &str, member: &Member) {
        let mut rooms = self.members.lock().expect("a lock");
        let members = rooms.entry(room.to_owned()).or_default();
        members.push(Arc::clone(member));
    }

    /// Holds the table's lock, so that every member sees one order.
    fn deliver(&self, room: &str, text: &str) {
        let rooms = self.members.lock().expect("a lock");
        for member in rooms.get(room).into_iter().flatten() {
            let unlucky = self.deliveries.fetch_add(1, Ordering::Relaxed) == UNLUCKY;
            match self.manner {
                Manner::Loses if unlucky => {}
                Manner::Repeats if unlucky => {
                    say(member, text);
                    say(member, text);
                }
                Manner::Closes if unlucky => {
                    let _ = member.lock().expect("a lock").close(None);
                }
                _ => say(member, text),
            }
        }
    }
}

fn say(member: &Member, text: &str) {
    // A member that has gone is noticed by its own thread.
    let _ = member.lock().expect("a lock").send(Message::text(text));
}
