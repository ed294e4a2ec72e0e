//! Clients that are not ours, run as programs of their own: the npm package `ws`,
//! the Python package `websockets`, and the browser client of the guide.
//! `tests/run.sh` installs what they need.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::support::{Bed, on_every_driver, run_to_end};

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// A tool that `tests/run.sh` installs.
fn tool(path: &str) -> PathBuf {
    let tool = tests().join(".tools").join(path);
    assert!(tool.exists(), "{} is missing: run tests/run.sh", tool.display());
    tool
}

/// Runs `interpreter script` against a fresh server and requires that it is
/// content.
fn assert_content(bed: Bed, interpreter: &mut Command, script: &str) {
    let server = bed.server(&["--max-message-size", "400000"]);
    let url = format!("ws://{}", server.address());
    let command = interpreter.arg(tests().join("interop").join(script)).arg(url);
    let output = run_to_end(command);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{script} ended with {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
}

/// Node, which finds the packages that are installed for the tests.
fn node() -> Command {
    let packages = tool("node/node_modules");
    let mut node = Command::new("node");
    node.env("NODE_PATH", packages);
    node
}

fn python() -> Command {
    Command::new(tool("venv/bin/python"))
}

#[test]
fn the_npm_package_ws_understands_the_server() {
    on_every_driver(|bed| assert_content(bed, &mut node(), "ws.cjs"));
}

#[test]
fn the_browser_client_of_the_guide_works_as_it_is() {
    on_every_driver(|bed| assert_content(bed, &mut node(), "guide.cjs"));
}

#[test]
fn the_python_package_websockets_understands_the_server() {
    on_every_driver(|bed| assert_content(bed, &mut python(), "websockets_client.py"));
}
