//! The stream to one server: TCP or TLS, watched, so that its silence can be seen and its
//! reading paused. Knows nothing of what is said on it.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::client::TlsStream;

use super::{tls, url::Address};

/// How long a connection may take to be made, and TLS to be agreed on.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1000);
/// Bytes that have been read and not been taken, beyond which nothing more is read.
const UNTAKEN_BYTES: usize = 1 << 20;

/// What a stream tells of itself, and what it is told.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// How often something was read.
    reads: AtomicU64,
    /// Bytes of messages that wait to be taken.
    untaken: AtomicUsize,
    /// Whether nothing shall be read for now.
    paused: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Watch {
    pub(super) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Whether it is our side that does not read.
    pub(super) fn is_held(&self) -> bool {
        self.paused.load(Ordering::Acquire) || self.untaken.load(Ordering::Acquire) > UNTAKEN_BYTES
    }

    pub(super) fn pause(&self, paused: bool) {
        if self.paused.swap(paused, Ordering::AcqRel) && !paused {
            self.wake();
        }
    }

    pub(super) fn came(&self, bytes: usize) {
        self.untaken.fetch_add(bytes, Ordering::AcqRel);
    }

    pub(super) fn taken(&self, bytes: usize) {
        let before = self.untaken.fetch_sub(bytes, Ordering::AcqRel);
        if before > UNTAKEN_BYTES {
            self.wake();
        }
    }

    fn waker(&self) -> std::sync::MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        let waker = self.waker().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A stream with its watch.
pub(super) struct Watched {
    inner: Stream,
    watch: Arc<Watch>,
}

enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Watched {
    /// Connects.
    ///
    /// # Errors
    /// Why not, for people.
    pub(super) async fn connect(
        address: &Address,
        tls: Option<&tls::Connector>,
        watch: Arc<Watch>,
    ) -> Result<Self, String> {
        let connecting = TcpStream::connect((address.host.as_str(), address.port));
        let stream = match timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err("no connection within a second".to_owned()),
        };
        // Without these a connection still works.
        let _ = stream.set_nodelay(true);
        let keep_alive = socket2::TcpKeepalive::new()
            .with_time(Duration::from_secs(5))
            .with_interval(Duration::from_secs(2))
            .with_retries(3);
        let _ = socket2::SockRef::from(&stream).set_tcp_keepalive(&keep_alive);
        let inner = match tls {
            None => Stream::Tcp(stream),
            Some(tls) => match timeout(CONNECT_TIMEOUT, tls.connect(&address.host, stream)).await {
                Ok(stream) => Stream::Tls(Box::new(stream?)),
                Err(_) => return Err("no agreement on TLS within a second".to_owned()),
            },
        };
        Ok(Self { inner, watch })
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.watch.is_held() {
            *this.watch.waker() = Some(context.waker().clone());
            // Whoever let go in between has found no waker.
            if this.watch.is_held() {
                return Poll::Pending;
            }
        }
        let before = buffer.filled().len();
        let result = match &mut this.inner {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        };
        if buffer.filled().len() > before {
            this.watch.reads.fetch_add(1, Ordering::Relaxed);
        }
        result
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().inner {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().inner {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().inner {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
