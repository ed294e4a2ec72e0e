//! Every message comes back as it is: the `raw` dialect, text and binary.
//!
//! ```sh
//! cargo run --example echo -- --listen 127.0.0.1:8080
//! wscat -c ws://127.0.0.1:8080/ws
//! > hello
//! < hello
//! ```

mod arguments;

use std::error::Error;

use clap::Parser;
use shardcast::Dialect;

use arguments::{Arguments, shut_down_on_signal};

fn main() -> Result<(), Box<dyn Error>> {
    let engine = Arguments::parse()
        .builder()
        .dialect(Dialect::Raw)
        .on_text(|conn, text| {
            conn.send_text(text);
            Ok(())
        })
        .on_binary(|conn, bytes| {
            conn.send_binary(bytes);
            Ok(())
        })
        .build()?;
    shut_down_on_signal(engine.handle())?;
    println!("listening on {}", engine.local_addr());
    engine.run()?;
    Ok(())
}
