//! fastwebsockets on a current-thread runtime, tasks unconstrained as in its
//! examples, vectored writes as by default. It is given plain sockets after the
//! handshake, which spares it hyper's boxed streams. Echo is its example with a
//! `FragmentCollector`; for rooms its halves are split, and the writing one is
//! buffered, so that all that was published meanwhile takes one write.

use super::hub::Hub;
use super::speech::{self, Wish};
use super::upgrade::{self, Upgrade};
use anyhow::Result;
use bytes::Bytes;
use fastwebsockets::{
    FragmentCollector, Frame, OpCode, Payload, Role, WebSocket, WebSocketError, WebSocketWrite,
    after_handshake_split,
};
use std::net;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::unconstrained;

/// What a connection's reading half asks of its writing half.
enum Order {
    /// To listen to another room from now on, and to say so.
    Join(broadcast::Receiver<Bytes>, String),
    /// To answer a close frame.
    Close(Vec<u8>),
}

type Writer = WebSocketWrite<BufWriter<OwnedWriteHalf>>;

/// Serves for ever.
pub(super) fn serve(listener: net::TcpListener) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        super::listener::announce(&listener)?;
        let listener = TcpListener::from_std(listener)?;
        let hub = Hub::new();
        loop {
            let (stream, _) = listener.accept().await?;
            let hub = Arc::clone(&hub);
            // A client that goes away ends its task with an error.
            tokio::spawn(unconstrained(async move { drop(attend(stream, &hub).await) }));
        }
    })
}

async fn attend(mut stream: TcpStream, hub: &Hub<Bytes>) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut head = Vec::new();
    let Upgrade { is_raw, response } = loop {
        anyhow::ensure!(stream.read_buf(&mut head).await? > 0, "gone");
        if let Some(upgrade) = upgrade::accept(&head)? {
            break upgrade;
        }
    };
    stream.write_all(&response).await?;
    let served = if is_raw { echo(stream).await } else { converse(stream, hub).await };
    Ok(served?)
}

async fn echo(stream: TcpStream) -> Result<(), WebSocketError> {
    let mut socket = FragmentCollector::new(WebSocket::after_handshake(stream, Role::Server));
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => socket.write_frame(frame).await?,
            _ => {}
        }
    }
}

async fn converse(stream: TcpStream, hub: &Hub<Bytes>) -> Result<(), WebSocketError> {
    let (read, write) = stream.into_split();
    let (mut reader, writer) = after_handshake_split(read, BufWriter::new(write), Role::Server);
    let (orders, ordered) = unbounded_channel();
    let heard = hub.lobby();
    tokio::spawn(unconstrained(async move { drop(tell(writer, ordered, heard).await) }));
    loop {
        // The answer to a close frame goes through the writing half, below; a
        // client here never pings.
        let unsent = &mut |_| async { Ok::<_, WebSocketError>(()) };
        let frame = reader.read_frame(unsent).await?;
        match frame.opcode {
            OpCode::Text => obey(&frame.payload, hub, &orders),
            OpCode::Close => {
                // The writing half may have ended before.
                let _ = orders.send(Order::Close(frame.payload.to_vec()));
                return Ok(());
            }
            _ => {}
        }
    }
}

fn obey(text: &[u8], hub: &Hub<Bytes>, orders: &UnboundedSender<Order>) {
    let order = match speech::read(text) {
        Wish::Publish(room, data) => {
            return hub.publish(&room, speech::message(Some(&room), data).into());
        }
        Wish::Broadcast(data) => return hub.broadcast(&speech::message(None, data).into()),
        Wish::Subscribe(room) => Order::Join(hub.room(&room), speech::subscribed(&room)),
        Wish::Unsubscribe(room) => Order::Join(hub.lobby(), speech::unsubscribed(&room)),
        Wish::Other => return,
    };
    // The writing half may have ended; the next read ends this one.
    let _ = orders.send(order);
}

/// The writing half: what is heard in the room, and what is ordered.
async fn tell(
    mut writer: Writer,
    mut ordered: UnboundedReceiver<Order>,
    mut heard: broadcast::Receiver<Bytes>,
) -> Result<(), WebSocketError> {
    say(&mut writer, speech::GREETING.as_bytes()).await?;
    writer.flush().await?;
    loop {
        tokio::select! {
            biased;
            order = ordered.recv() => match order {
                Some(Order::Join(room, answer)) => {
                    heard = room;
                    say(&mut writer, answer.as_bytes()).await?;
                }
                Some(Order::Close(payload)) => {
                    writer.write_frame(Frame::close_raw(payload.into())).await?;
                    return writer.flush().await;
                }
                None => return Ok(()),
            },
            message = heard.recv() => {
                let mut next = message.ok();
                while let Some(text) = next {
                    say(&mut writer, &text).await?;
                    next = heard.try_recv().ok();
                }
            }
        }
        writer.flush().await?;
    }
}

async fn say(writer: &mut Writer, text: &[u8]) -> Result<(), WebSocketError> {
    writer.write_frame(Frame::text(Payload::Borrowed(text))).await
}
