//! What all examples take on their command line, and how they end.

use std::{io, thread};

use clap::{
    Parser,
    builder::{PossibleValuesParser, TypedValueParser},
};
use shardcast::{Builder, DriverKind, Engine, Handle};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

/// Command line arguments.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    /// Where to listen; port 0 takes any free one.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    listen: String,

    /// How many shards, each a thread [default: one for each core].
    #[arg(long, value_name = "NUMBER")]
    shards: Option<usize>,

    /// How the shards talk to the kernel.
    #[arg(long, value_name = "NAME", default_value = DriverKind::default().name(), value_parser = driver())]
    driver: DriverKind,
}

impl Arguments {
    /// An engine's builder with these settings.
    pub(crate) fn builder(self) -> Builder {
        let builder = Engine::builder().listen(self.listen).driver(self.driver);
        match self.shards {
            Some(shards) => builder.shards(shards),
            None => builder,
        }
    }
}

fn driver() -> impl TypedValueParser<Value = DriverKind> {
    PossibleValuesParser::new(DriverKind::ALL.map(DriverKind::name))
        .try_map(|name| DriverKind::by_name(&name).ok_or("there is no such driver"))
}

/// Shuts the engine down when SIGTERM or SIGINT comes.
pub(crate) fn shut_down_on_signal(handle: Handle) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            handle.shutdown();
        }
    });
    Ok(())
}
