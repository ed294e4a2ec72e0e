//! A chat: users with names, rooms to join and leave, messages to a room and to
//! one user. The events are our own, in the envelope of the `pubsub` dialect.
//!
//! ```sh
//! cargo run --example chat -- --listen 127.0.0.1:8080
//! wscat -c ws://127.0.0.1:8080/ws
//! > {"type":"login","data":{"user":"alice","color":"red"}}
//! > {"type":"join","data":{"room":"general"}}
//! > {"type":"message","data":{"room":"general","content":"Hello, world!"}}
//! > {"type":"dm","data":{"to":"bob","content":"psst"}}
//! > {"type":"leave","data":{"room":"general"}}
//! ```
//!
//! The others in the room hear `user_joined`, `message` and `user_left`, the last
//! also when a connection just ends. The built-in commands work as well: who
//! subscribes to a room has joined it.

mod arguments;

use std::error::Error;

use clap::Parser;
use serde::Deserialize;
use serde_json::json;
use shardcast::{Conn, Data, HandlerError, HandlerResult, Message};

use arguments::{Arguments, shut_down_on_signal};

fn main() -> Result<(), Box<dyn Error>> {
    let engine = Arguments::parse()
        .builder()
        .on_message(nothing_before_login)
        .on("login", login)
        .on("join", join)
        .on("leave", leave)
        .on("message", message)
        .on("dm", direct_message)
        .on_join(|conn, room| tell_others(conn, room, "user_joined"))
        .on_leave(|conn, room| tell_others(conn, room, "user_left"))
        .build()?;
    shut_down_on_signal(engine.handle())?;
    println!("listening on {}", engine.local_addr());
    engine.run()?;
    Ok(())
}

/// Called before every handler and built-in command.
fn nothing_before_login(conn: &mut Conn<'_>, msg: &Message<'_>) -> HandlerResult {
    if conn.user().is_none() && msg.event() != "login" {
        return Err(HandlerError::reply("log in first"));
    }
    Ok(())
}

#[derive(Deserialize)]
struct Login {
    user: String,
    color: Option<String>,
}

fn login(conn: &mut Conn<'_>, msg: &Message<'_>) -> HandlerResult {
    let Login { user, color } = msg.parse()?;
    if conn.user().is_some() {
        return Err(HandlerError::reply("you are logged in already"));
    }
    conn.set_user(&user)?;
    conn.set_metadata("color", color);
    conn.emit("welcome", &Data::json(&json!({ "user": user }))?);
    Ok(())
}

#[derive(Deserialize)]
struct InRoom {
    room: String,
}

fn join(conn: &mut Conn<'_>, msg: &Message<'_>) -> HandlerResult {
    let InRoom { room } = msg.parse()?;
    conn.join(&room)?;
    let users = conn.members(&room);
    conn.emit("joined", &Data::json(&json!({ "room": room, "users": users }))?);
    Ok(())
}

fn leave(conn: &mut Conn<'_>, msg: &Message<'_>) -> HandlerResult {
    let InRoom { room } = msg.parse()?;
    if !conn.leave(&room) {
        return Err(HandlerError::reply("you are not in this room"));
    }
    conn.emit("left", &Data::json(&json!({ "room": room }))?);
    Ok(())
}

#[derive(Deserialize)]
struct ToRoom {
    room: String,
    content: String,
}

fn message(conn: &mut Conn<'_>, msg: &Message<'_>) -> HandlerResult {
    let ToRoom { room, content } = msg.parse()?;
    if !conn.is_in(&room) {
        return Err(HandlerError::reply("you are not in this room"));
    }
    let (user, color) = (conn.user(), conn.metadata("color"));
    let data = Data::json(&json!({ "user": user, "color": color, "content": content }))?;
    conn.to(&room).emit("message", &data);
    Ok(())
}

#[derive(Deserialize)]
struct ToUser {
    to: String,
    content: String,
}

/// Reaches every connection of the user, on whichever shard.
fn direct_message(conn: &mut Conn<'_>, msg: &Message<'_>) -> HandlerResult {
    let ToUser { to, content } = msg.parse()?;
    let data = Data::json(&json!({ "from": conn.user(), "content": content }))?;
    conn.to_user(&to).emit("dm", &data);
    Ok(())
}

fn tell_others(conn: &mut Conn<'_>, room: &str, event: &str) {
    if let Ok(data) = Data::json(&json!({ "user": conn.user() })) {
        conn.to(room).except_self().emit(event, &data);
    }
}
