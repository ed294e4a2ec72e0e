//! Every message goes to everyone, whoever sent it included. A client without an
//! envelope (`raw`) and one with it (`pubsub`) hear the same, each in its form.
//!
//! ```sh
//! cargo run --example broadcast -- --listen 127.0.0.1:8080
//! wscat -c ws://127.0.0.1:8080/ws              # as many as you like
//! > hello
//! < hello
//! wscat -c ws://127.0.0.1:8080/ws/pubsub       # one with the envelope
//! < {"type":"message","data":"hello","client_id":"…","timestamp":1700000000000}
//! > {"type":"broadcast","data":{"n":1}}
//! ```

mod arguments;

use std::error::Error;

use clap::Parser;
use shardcast::{Dialect, MESSAGE_EVENT, Payload};

use arguments::{Arguments, shut_down_on_signal};

fn main() -> Result<(), Box<dyn Error>> {
    let engine = Arguments::parse()
        .builder()
        .dialect(Dialect::Raw)
        .on_text(|conn, text| {
            conn.to_everyone().emit(MESSAGE_EVENT, Payload::Text(text));
            Ok(())
        })
        .on_binary(|conn, bytes| {
            conn.to_everyone().emit(MESSAGE_EVENT, Payload::Binary(bytes));
            Ok(())
        })
        .build()?;
    shut_down_on_signal(engine.handle())?;
    println!("listening on {}", engine.local_addr());
    engine.run()?;
    Ok(())
}
