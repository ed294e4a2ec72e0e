//! tokio-uring: a task per connection, owned buffers that travel through the
//! ring and come back. It has no WebSocket library, so the frames are read by
//! hand, in the buffer that they arrived in. All that arrived in one read is
//! answered by one write.

use super::frames::{self, BINARY, CLOSE, TEXT};
use super::hub::Hub;
use super::speech::{self, Wish};
use super::upgrade::{self, Upgrade};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use std::io;
use std::net;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::broadcast;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_uring::Runtime;
use tokio_uring::buf::BoundedBuf;
use tokio_uring::net::{TcpListener, TcpStream};

/// Entries of the submission queue, and of the completion queue: one operation
/// is in flight for each connection.
const SUBMISSIONS: u32 = 4096;
const COMPLETIONS: u32 = 65_536;

/// What a connection's buffer holds at first.
const BUFFER_BYTES: usize = 4096;

/// What the reading task asks of the writing one.
enum Order {
    /// To listen to another room from now on, and to say so.
    Join(broadcast::Receiver<Bytes>, Vec<u8>),
    /// To answer a close frame.
    Close(Vec<u8>),
}

/// Serves for ever.
///
/// # Errors
/// If the kernel refuses a ring.
pub(super) fn serve(listener: net::TcpListener) -> Result<()> {
    let mut ring = tokio_uring::uring_builder();
    ring.setup_cqsize(COMPLETIONS);
    let mut runtime = tokio_uring::builder();
    runtime.entries(SUBMISSIONS).uring_builder(&ring);
    // Accepting goes through the ring, where a socket that does not block would
    // fail instead of waiting.
    listener.set_nonblocking(false)?;
    let runtime = Runtime::new(&runtime).context("this kernel gives tokio-uring no ring")?;
    super::listener::announce(&listener)?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener);
        let hub = Hub::new();
        loop {
            let (stream, _) = listener.accept().await?;
            let hub = Arc::clone(&hub);
            // A client that goes away ends its task with an error.
            tokio_uring::spawn(async move { drop(attend(stream, &hub).await) });
        }
    })
}

/// A socket and what was read from it but not yet used.
struct Inlet {
    stream: Rc<TcpStream>,
    buffer: Vec<u8>,
}

impl Inlet {
    /// Reads once more, behind what is there.
    async fn fill(&mut self) -> Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let filled = buffer.len();
        if buffer.capacity() - filled < BUFFER_BYTES / 4 {
            buffer.reserve(BUFFER_BYTES.max(filled));
        }
        let (count, slice) = self.stream.read(buffer.slice(filled..)).await;
        self.buffer = slice.into_inner();
        ensure!(count? > 0, "gone");
        Ok(())
    }

    /// Hands every whole frame to `take` and keeps the rest. Says whether to
    /// go on: no frame was a close.
    fn frames(&mut self, mut take: impl FnMut(u8, &[u8])) -> Result<bool> {
        let (mut at, mut is_open) = (0, true);
        while let Some(frame) = frames::next(&mut self.buffer[at..])? {
            let payload = at + frame.payload.start..at + frame.payload.end;
            at = payload.end;
            is_open &= frame.first != CLOSE;
            take(frame.first, &self.buffer[payload]);
        }
        self.buffer.drain(..at);
        Ok(is_open)
    }
}

async fn attend(stream: TcpStream, hub: &Hub<Bytes>) -> Result<()> {
    stream.set_nodelay(true)?;
    let buffer = Vec::with_capacity(BUFFER_BYTES);
    let mut inlet = Inlet { stream: Rc::new(stream), buffer };
    let Upgrade { is_raw, response } = loop {
        inlet.fill().await?;
        if let Some(upgrade) = upgrade::accept(&inlet.buffer)? {
            break upgrade;
        }
    };
    inlet.buffer.clear();
    inlet.stream.write_all(response).await.0?;
    if is_raw { echo(inlet).await } else { converse(inlet, hub).await }
}

async fn echo(mut inlet: Inlet) -> Result<()> {
    let mut answer = Vec::new();
    let mut is_open = true;
    while is_open {
        inlet.fill().await?;
        answer.clear();
        is_open = inlet.frames(|first, payload| {
            if matches!(first, TEXT | BINARY | CLOSE) {
                frames::append(first, payload, &mut answer);
            }
        })?;
        if !answer.is_empty() {
            let (sent, buffer) = inlet.stream.write_all(answer).await;
            answer = buffer;
            sent?;
        }
    }
    Ok(())
}

async fn converse(mut inlet: Inlet, hub: &Hub<Bytes>) -> Result<()> {
    let (orders, ordered) = unbounded_channel();
    let (stream, heard) = (Rc::clone(&inlet.stream), hub.lobby());
    tokio_uring::spawn(async move { drop(tell(&stream, ordered, heard).await) });
    let mut is_open = true;
    while is_open {
        inlet.fill().await?;
        is_open = inlet.frames(|first, payload| match first {
            TEXT => obey(payload, hub, &orders),
            // The writing task may have ended before.
            CLOSE => drop(orders.send(Order::Close(frame(CLOSE, payload)))),
            _ => {}
        })?;
    }
    Ok(())
}

fn obey(text: &[u8], hub: &Hub<Bytes>, orders: &UnboundedSender<Order>) {
    let message = |room, data| Bytes::from(frame(TEXT, speech::message(room, data).as_bytes()));
    let order = match speech::read(text) {
        Wish::Publish(room, data) => return hub.publish(&room, message(Some(&room), data)),
        Wish::Broadcast(data) => return hub.broadcast(&message(None, data)),
        Wish::Subscribe(room) => {
            Order::Join(hub.room(&room), frame(TEXT, speech::subscribed(&room).as_bytes()))
        }
        Wish::Unsubscribe(room) => {
            Order::Join(hub.lobby(), frame(TEXT, speech::unsubscribed(&room).as_bytes()))
        }
        Wish::Other => return,
    };
    // The writing task may have ended; the next read ends this one.
    let _ = orders.send(order);
}

/// The writing task: what is heard in the room, and what is ordered. A single
/// message is sent from where it was published, several are put together.
async fn tell(
    stream: &TcpStream,
    mut ordered: UnboundedReceiver<Order>,
    mut heard: broadcast::Receiver<Bytes>,
) -> io::Result<()> {
    stream.write_all(frame(TEXT, speech::GREETING.as_bytes())).await.0?;
    let mut several = Vec::new();
    loop {
        tokio::select! {
            biased;
            order = ordered.recv() => match order {
                Some(Order::Join(room, answer)) => {
                    heard = room;
                    stream.write_all(answer).await.0?;
                }
                Some(Order::Close(answer)) => return stream.write_all(answer).await.0,
                None => return Ok(()),
            },
            message = heard.recv() => {
                let Ok(first) = message else { continue };
                let Ok(second) = heard.try_recv() else {
                    stream.write_all(first).await.0?;
                    continue;
                };
                several.clear();
                several.extend_from_slice(&first);
                several.extend_from_slice(&second);
                while let Ok(more) = heard.try_recv() {
                    several.extend_from_slice(&more);
                }
                let (sent, buffer) = stream.write_all(several).await;
                several = buffer;
                sent?;
            }
        }
    }
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 10);
    frames::append(first, payload, &mut frame);
    frame
}
