//! What an embedding program says before the engine starts: where to listen, how
//! many shards, which limits, and what to do with what comes in.

use std::{
    fmt,
    net::TcpStream,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::available_parallelism,
};

use tracing::error;

use super::{
    bind::bind,
    driver_kind::DriverKind,
    error::BuildError,
    housekeeping::Chore,
    parts::{HttpHandOff, Parts, PlainRequest},
    runtime::Engine,
};
use crate::{
    dialect::Dialect,
    engine::{App, Conn, Disconnect, Fault, HandlerResult, Limits, Message},
    id::ConnId,
    relay::Relay,
};

/// Settings and handlers of an engine; see [`Engine::builder`].
#[must_use = "nothing runs before `build`"]
pub struct Builder {
    listen: String,
    shards: Option<usize>,
    driver: DriverKind,
    pin: bool,
    dialect: Dialect,
    path: String,
    limits: Limits,
    app: App,
    http: Option<HttpHandOff>,
    relay: Option<Box<dyn Relay>>,
    chore: Option<Chore>,
}

// Here, so that what runs knows nothing of how it is built.
impl Engine {
    /// An engine with default settings and no handlers.
    pub fn builder() -> Builder {
        Builder::default()
    }
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".to_owned(),
            shards: None,
            driver: DriverKind::default(),
            pin: true,
            dialect: Dialect::default(),
            path: "/ws".to_owned(),
            limits: Limits::default(),
            app: App::default(),
            http: None,
            relay: None,
            chore: None,
        }
    }
}

impl Builder {
    /// Where to listen: `address:port`; port 0 takes any free one. Of a name with
    /// several addresses, the first that this host has. Default `127.0.0.1:8080`.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = address.into();
        self
    }

    /// How many shards, from 1 to 64. Default: one for each core that the
    /// process may use.
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = Some(shards);
        self
    }

    /// How the shards talk to the kernel. Default: whatever is best here, which
    /// [`Builder::build`] finds out and [`Engine::driver`] tells.
    pub fn driver(mut self, driver: DriverKind) -> Self {
        self.driver = driver;
        self
    }

    /// Whether each shard's thread is bound to a core of its own. Default: yes,
    /// over the cores that the process may use.
    pub fn pin(mut self, pin: bool) -> Self {
        self.pin = pin;
        self
    }

    /// The wire format of paths that name none. Default: `pubsub`.
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        self.dialect = dialect;
        self
    }

    /// The path of WebSocket handshakes, which clients send as it stands here, without
    /// escapes; `<path>/<dialect>` names a dialect. Default `/ws`.
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// All bounds and time-outs.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The way to other nodes, or what keeps history and presence on this one. It runs on
    /// a thread of its own. Default: none.
    pub fn relay(mut self, relay: impl Relay) -> Self {
        self.relay = Some(Box::new(relay));
        self
    }

    /// The same with what was chosen while the program runs.
    #[cfg(feature = "server")]
    pub(crate) fn boxed_relay(mut self, relay: Option<Box<dyn Relay>>) -> Self {
        self.relay = relay;
        self
    }

    /// Called when a connection has been upgraded and greeted. An error is told
    /// to the client and closes it with 1008; of an internal error the client
    /// learns no more than that.
    pub fn on_connect(
        mut self,
        hook: impl Fn(&mut Conn<'_>) -> HandlerResult + Send + Sync + 'static,
    ) -> Self {
        self.app.connect.push(Box::new(hook));
        self
    }

    /// Called when a connection has ended or is about to, while it still is in
    /// its rooms; once for each whose connect hook was called. The leave hooks of
    /// its rooms follow; what they send it does not reach it any more.
    pub fn on_disconnect(
        mut self,
        hook: impl Fn(&mut Conn<'_>, &Disconnect) + Send + Sync + 'static,
    ) -> Self {
        self.app.disconnect.push(Box::new(hook));
        self
    }

    /// Called for each message that was understood, before anything is done
    /// about it. An error is told to the client (not in `raw`, which has no form
    /// for it) and stops the message.
    pub fn on_message(
        mut self,
        hook: impl Fn(&mut Conn<'_>, &Message<'_>) -> HandlerResult + Send + Sync + 'static,
    ) -> Self {
        self.app.message.push(Box::new(hook));
        self
    }

    /// Called for every fault: a handler that failed or panicked, a peer that
    /// broke the protocol.
    pub fn on_error(mut self, hook: impl Fn(ConnId, &Fault<'_>) + Send + Sync + 'static) -> Self {
        self.app.error.push(Box::new(hook));
        self
    }

    /// Called after a connection has joined a room.
    pub fn on_join(mut self, hook: impl Fn(&mut Conn<'_>, &str) + Send + Sync + 'static) -> Self {
        self.app.join.push(Box::new(hook));
        self
    }

    /// Called after a connection has left a room, also because it ends.
    pub fn on_leave(mut self, hook: impl Fn(&mut Conn<'_>, &str) + Send + Sync + 'static) -> Self {
        self.app.leave.push(Box::new(hook));
        self
    }

    /// Handles messages of that event name, instead of the built-in command of
    /// that name if there is one (`subscribe`, `unsubscribe`, `publish`,
    /// `broadcast`, `presence`, `ping`). A later handler of the same name replaces the
    /// earlier.
    ///
    /// It runs on the shard's thread and must not block. An error is told to
    /// the client; a panic closes the connection with 1011 and harms nothing
    /// else.
    pub fn on(
        mut self,
        event: impl Into<Box<str>>,
        handler: impl Fn(&mut Conn<'_>, &Message<'_>) -> HandlerResult + Send + Sync + 'static,
    ) -> Self {
        self.app.events.insert(event.into(), Box::new(handler));
        self
    }

    /// Handles text messages of connections in the `raw` dialect; a later handler
    /// replaces the earlier. Errors are told to the error hook alone.
    pub fn on_text(
        mut self,
        handler: impl Fn(&mut Conn<'_>, &str) -> HandlerResult + Send + Sync + 'static,
    ) -> Self {
        self.app.text = Some(Box::new(handler));
        self
    }

    /// Handles binary messages of connections in the `raw` dialect; a later
    /// handler replaces the earlier. Errors are told to the error hook alone.
    pub fn on_binary(
        mut self,
        handler: impl Fn(&mut Conn<'_>, &[u8]) -> HandlerResult + Send + Sync + 'static,
    ) -> Self {
        self.app.binary = Some(Box::new(handler));
        self
    }

    /// Hands connections whose request is no WebSocket handshake to `take`, with the
    /// bytes that were read of them, instead of answering 404 or 426. The sockets do
    /// not block. `take` is called on a shard's thread and must not block either.
    pub fn hand_off_http(self, take: impl Fn(TcpStream, Vec<u8>) + Send + Sync + 'static) -> Self {
        self.hand_off_http_by_turn(move |requests| {
            for PlainRequest { socket, read } in requests {
                // Foreign code: its panic costs this connection, not the shard.
                if catch_unwind(AssertUnwindSafe(|| take(socket, read))).is_err() {
                    error!("the HTTP hand-off panicked; the connection is closed");
                }
            }
        })
    }

    /// The same for all of one turn at once. `take` must not panic.
    pub(crate) fn hand_off_http_by_turn(
        mut self,
        take: impl Fn(Vec<PlainRequest>) + Send + Sync + 'static,
    ) -> Self {
        self.app.hands_off_http = true;
        self.http = Some(Arc::new(take));
        self
    }

    /// Has `chore` called on the thread of each shard, and of the relay: a second after it
    /// worked last, and every ten seconds while it works all the time. For what a thread
    /// keeps for itself, such as the freed memory of an allocator with heaps for threads.
    /// It must not block; if it panics, it is not called on that thread again. Default:
    /// nothing.
    ///
    /// ```
    /// # use shardcast::Engine;
    /// // With mimalloc: `libmimalloc_sys::mi_collect(true)`.
    /// let builder = Engine::builder().housekeeping(|| {});
    /// ```
    pub fn housekeeping(mut self, chore: impl Fn() + Send + Sync + 'static) -> Self {
        self.chore = Some(Arc::new(chore));
        self
    }

    /// Binds the address, settles on a driver and puts the engine together.
    ///
    /// # Errors
    /// See [`BuildError`]. A port on which another program listens is one, even
    /// if that program would share it.
    pub fn build(mut self) -> Result<Engine, BuildError> {
        let (driver, pin, http) = (self.driver, self.pin, self.http.take());
        let listen = std::mem::take(&mut self.listen);
        let chore = self.chore.take();
        let parts = Parts { chore, ..self.into_parts()? };
        let (local, listeners) = bind(&listen, parts.process.shards)?;
        Ok(Engine::new(parts, driver.resolve(), pin, http, local, listeners))
    }

    /// Checks the settings and makes what does not depend on sockets.
    pub(super) fn into_parts(self) -> Result<Parts, BuildError> {
        let shards = self.shards.unwrap_or_else(default_shards);
        Parts::new(self.app, self.limits, self.dialect, &self.path, shards, self.relay)
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("listen", &self.listen).finish_non_exhaustive()
    }
}

/// How many shards an engine has if it is not told: one for each core that the
/// process may use, at most 64.
pub fn default_shards() -> usize {
    available_parallelism().map_or(1, usize::from).min(Limits::SHARDS)
}
