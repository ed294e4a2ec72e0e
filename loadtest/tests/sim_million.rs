//! The engine on the simulated driver, with few connections: every phase comes to
//! its end, checks itself, and is written down.

use std::fs;
use std::process::Command;

#[test]
fn each_number_of_connections_has_its_figures_and_a_place_in_the_plots() {
    let folder = std::env::temp_dir();
    let path = |kind: &str| folder.join(format!("million-{}.{kind}", std::process::id()));
    let (json, html) = (path("json"), path("html"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    command.args(["sim-million", "--connections", "1000,17000"]);
    let output = command.arg("--json").arg(&json).arg("--html").arg(&html).output();
    let output = output.expect("the program runs");
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");

    let read = fs::read_to_string(&json).expect("the file");
    let read: serde_json::Value = serde_json::from_str(&read).expect("JSON");
    let run = &read["runs"][0];
    for count in [1_000, 17_000] {
        for key in ["open", "rooms", "everyone", "heartbeat", "drain"] {
            assert!(run["figures"][format!("{key}_{count}_ns")].is_number(), "{key} {count}");
        }
    }
    let bytes = run["figures"]["bytes_17000"].as_f64().expect("a number");
    assert!((50.0..5_000.0).contains(&bytes), "{bytes} bytes for a connection");
    let page = fs::read_to_string(&html).expect("the file");
    assert!(page.contains("Cost over connections") && page.contains("publish to all"));
    for path in [json, html] {
        fs::remove_file(path).expect("the file is ours");
    }
}
