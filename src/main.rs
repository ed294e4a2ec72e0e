//! The stand-alone server: arguments → `server::run` → exit code.

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
};

use shardcast::server::{self, Request, ServerError, Settings};

// Either gives back what a burst took, which glibc's allocator does not. The settings
// of jemalloc are in `.cargo/config.toml`.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[cfg(all(feature = "mimalloc", not(feature = "jemalloc")))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Lets mimalloc keep unused pages for a second: what is used again and again under load
/// is not asked of the kernel each time. It gives them back when the thread that freed
/// them allocates again, which a shard that has become quiet does not: see
/// [`give_memory_back`].
#[cfg(all(feature = "mimalloc", not(feature = "jemalloc")))]
#[allow(unsafe_code)]
fn set_up_allocator() {
    /// `mi_option_purge_delay` of `mimalloc.h`.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    const PURGE_DELAY_MS: std::ffi::c_long = 1_000;
    // SAFETY: sets one of the library's own numbers, which it reads anew whenever pages
    // become unused; the option exists in version 2, which the manifest asks for.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, PURGE_DELAY_MS) }
}

#[cfg(not(all(feature = "mimalloc", not(feature = "jemalloc"))))]
fn set_up_allocator() {}

/// Gives back what the calling thread keeps unused.
#[cfg(all(feature = "mimalloc", not(feature = "jemalloc")))]
#[allow(unsafe_code)]
fn give_memory_back() {
    // SAFETY: has no precondition; it collects the heap of the calling thread.
    unsafe { libmimalloc_sys::mi_collect(true) }
}

#[cfg(not(all(feature = "mimalloc", not(feature = "jemalloc"))))]
fn give_memory_back() {}

fn main() -> ExitCode {
    set_up_allocator();
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
        Request::Run(settings) => server::run(*settings, give_memory_back)?,
        Request::Probe => print(&server::probe()),
        Request::Print(text) => print(&text),
    }
    Ok(())
}

/// Prints to stdout. Whoever closed it does not want to know.
fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}
