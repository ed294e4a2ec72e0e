//! A chat on as many processes as there are: they share one Redis, and a room's members
//! hear each other wherever they are connected.
//!
//! ```sh
//! redis-server --port 6379 &
//! cargo run --example with_redis -- --listen 127.0.0.1:8080 redis://127.0.0.1:6379 &
//! cargo run --example with_redis -- --listen 127.0.0.1:8081 redis://127.0.0.1:6379 &
//! wscat -c ws://127.0.0.1:8080/ws     # in one terminal
//! wscat -c ws://127.0.0.1:8081/ws     # in another
//! > {"type":"join","data":{"room":"general"}}
//! > {"type":"say","data":{"room":"general","text":"Hello, other node!"}}
//! ```
//!
//! Rooms whose names begin with `log:` keep their last thousand messages for five
//! minutes: whoever subscribes again with the last offset gets what was missed. Without
//! a URL the variable `WS_REDIS_URL` says where Redis is.

mod arguments;

use std::error::Error;

use clap::Parser;
use serde::Deserialize;
use serde_json::json;
use shardcast::{
    Conn, Data, HandlerError, HandlerResult, Message,
    relay::{
        broker::HistoryLimits,
        node::{HistoryRule, NodeSettings},
        pattern::Pattern,
        redis::{DEFAULT_PREFIX, RedisRelay, RedisSettings},
    },
};

use arguments::{Arguments, shut_down_on_signal};

/// Command line arguments.
#[derive(Debug, Parser)]
struct WithRedis {
    #[command(flatten)]
    arguments: Arguments,

    /// Where Redis is: `redis://`, `rediss://`, `redis+sentinel://` or `redis+cluster://`.
    #[arg(value_name = "URL")]
    redis: Option<String>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let WithRedis { arguments, redis } = WithRedis::parse();
    let url = redis.or_else(|| std::env::var("WS_REDIS_URL").ok());
    let url = url.ok_or("say where Redis is: redis://127.0.0.1:6379")?;
    let history = HistoryRule {
        pattern: Pattern::parse("log:*")?,
        limits: HistoryLimits { count: 1_000, age_ms: 5 * 60 * 1_000 },
    };
    let node = NodeSettings { history: vec![history], ..NodeSettings::default() };
    let relay = RedisRelay::new(RedisSettings::new(&url, DEFAULT_PREFIX)?, node);
    // Redis need not be there yet: the relay connects when it can.
    let engine = arguments.builder().relay(relay).on("join", join).on("say", say).build()?;
    shut_down_on_signal(engine.handle())?;
    println!("listening on {}", engine.local_addr());
    engine.run()?;
    Ok(())
}

#[derive(Deserialize)]
struct Join {
    room: String,
}

fn join(conn: &mut Conn<'_>, msg: &Message<'_>) -> HandlerResult {
    let Join { room } = msg.parse()?;
    conn.join(&room)?;
    conn.emit("joined", &Data::json(&json!({ "room": room }))?);
    Ok(())
}

#[derive(Deserialize)]
struct Say {
    room: String,
    text: String,
}

/// Reaches the room's members on all nodes.
fn say(conn: &mut Conn<'_>, msg: &Message<'_>) -> HandlerResult {
    let Say { room, text } = msg.parse()?;
    if !conn.is_in(&room) {
        return Err(HandlerError::reply("you are not in this room"));
    }
    conn.to(&room).emit("said", &Data::json(&json!({ "text": text }))?);
    Ok(())
}
