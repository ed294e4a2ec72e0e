//! The stand-alone server: arguments → `server::run` → exit code.

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
};

use shardcast::server::{self, Request, ServerError, Settings};

// Gives back what a burst took, which glibc's allocator does not; its settings are
// in `.cargo/config.toml`.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line, whatever was quoted in it. Stderr may be closed.
            let text = error.to_string().replace(char::is_control, " ");
            let _ = writeln!(io::stderr(), "shardcast: error: {text}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn serve() -> Result<(), ServerError> {
    match Settings::from_args(env::args_os())? {
        Request::Run(settings) => server::run(*settings)?,
        Request::Probe => print(&server::probe()),
        Request::Print(text) => print(&text),
    }
    Ok(())
}

/// Prints to stdout. Whoever closed it does not want to know.
fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}
