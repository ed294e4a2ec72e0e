//! The stand-alone server: arguments → `server::run` → exit code.
fn main() {}
