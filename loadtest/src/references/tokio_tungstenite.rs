//! tokio-tungstenite on a current-thread runtime, a task per connection.
//! Messages are fed and flushed together, so that all that has arrived or was
//! published meanwhile takes one write. Of the read buffer it fills all that a
//! read may use with zeros first: 128 KiB by default, which large messages
//! need; for small ones it is the 4 KiB that its documentation names.

use super::hub::Hub;
use super::speech::{self, Wish};
use super::upgrade;
use anyhow::Result;
use futures_util::{FutureExt, SinkExt, StreamExt};
use std::net;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast::Receiver;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config};

type Socket = WebSocketStream<TcpStream>;

/// The read buffer for small messages.
const SMALL_BUFFER_BYTES: usize = 4 * 1024;

/// Serves for ever messages of about `size` bytes.
pub(super) fn serve(listener: net::TcpListener, size: usize) -> Result<()> {
    let mut config = WebSocketConfig::default();
    if size < SMALL_BUFFER_BYTES / 4 {
        config = config.read_buffer_size(SMALL_BUFFER_BYTES);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        super::listener::announce(&listener)?;
        let listener = TcpListener::from_std(listener)?;
        let hub = Hub::new();
        loop {
            let (stream, _) = listener.accept().await?;
            let hub = Arc::clone(&hub);
            tokio::spawn(async move {
                // A client that goes away ends its task with an error.
                let _ = attend(stream, config, &hub).await;
            });
        }
    })
}

async fn attend(
    stream: TcpStream,
    config: WebSocketConfig,
    hub: &Hub<Utf8Bytes>,
) -> Result<(), Error> {
    stream.set_nodelay(true)?;
    let mut is_raw = false;
    #[allow(clippy::result_large_err, reason = "the type is the library's")]
    let callback = |request: &Request, response: Response| {
        is_raw = upgrade::is_raw(request.uri().path());
        Ok(response)
    };
    let socket = accept_hdr_async_with_config(stream, callback, Some(config)).await?;
    if is_raw { echo(socket).await } else { converse(socket, hub).await }
}

async fn echo(mut socket: Socket) -> Result<(), Error> {
    while let Some(message) = socket.next().await {
        let mut next = Some(message?);
        while let Some(message) = next {
            if message.is_text() || message.is_binary() {
                socket.feed(message).await?;
            }
            next = socket.next().now_or_never().flatten().transpose()?;
        }
        socket.flush().await?;
    }
    Ok(())
}

async fn converse(mut socket: Socket, hub: &Hub<Utf8Bytes>) -> Result<(), Error> {
    let mut heard = hub.lobby();
    socket.send(Message::text(speech::GREETING)).await?;
    loop {
        tokio::select! {
            biased;
            message = socket.next() => match message {
                Some(message) => obey(&mut socket, &message?, hub, &mut heard).await?,
                None => return Ok(()),
            },
            message = heard.recv() => {
                let mut next = message.ok();
                while let Some(text) = next {
                    socket.feed(Message::Text(text)).await?;
                    next = heard.try_recv().ok();
                }
                socket.flush().await?;
            }
        }
    }
}

async fn obey(
    socket: &mut Socket,
    message: &Message,
    hub: &Hub<Utf8Bytes>,
    heard: &mut Receiver<Utf8Bytes>,
) -> Result<(), Error> {
    let Message::Text(text) = message else {
        return Ok(());
    };
    match speech::read(text.as_bytes()) {
        Wish::Publish(room, data) => {
            hub.publish(&room, speech::message(Some(&room), data).into());
            Ok(())
        }
        Wish::Broadcast(data) => {
            hub.broadcast(&speech::message(None, data).into());
            Ok(())
        }
        Wish::Subscribe(room) => {
            *heard = hub.room(&room);
            socket.send(Message::text(speech::subscribed(&room))).await
        }
        Wish::Unsubscribe(room) => {
            *heard = hub.lobby();
            socket.send(Message::text(speech::unsubscribed(&room))).await
        }
        Wish::Other => Ok(()),
    }
}
