//! The documents, held against the program and the sources: links, paths, flags,
//! messages.
//! What they say in prose, no test knows.

use std::{collections::BTreeMap, fs, path::Path, process};

use serde_json::Value;
use shardcast::dialect::{Command, Dialect, Incoming};

/// How long the README may be, which is for users.
const README_LINES: usize = 150;

/// It also names flags and paths that exist no more.
const HISTORY: &str = "CHANGELOG.md";

/// Flags of other programs: the load test, cargo's tests, docker.
const FOREIGN_FLAGS: [&str; 8] = [
    "--features",
    "--html",
    "--json",
    "--pid",
    "--require",
    "--stop-timeout",
    "--test-threads",
    "--url",
];

/// Folders of the repository whose files documents name.
const FOLDERS: [&str; 9] = [
    ".cargo/",
    "benches/",
    "docs/",
    "examples/",
    "fuzz/bodies/",
    "fuzz/corpus/",
    "loadtest/",
    "src/",
    "tests/",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every document, by its path from the root.
fn documents() -> Vec<(String, String)> {
    let in_docs = fs::read_dir(root().join("docs")).expect("a folder of documents");
    let mut paths: Vec<String> = in_docs
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a plain name"))
        .filter(|name| Path::new(name).extension().is_some_and(|end| end == "md"))
        .map(|name| format!("docs/{name}"))
        .collect();
    paths.extend(["README.md", "CONTRIBUTING.md", HISTORY].map(str::to_owned));
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), read(&path))).collect()
}

/// The documents that describe the present state.
fn of_today() -> impl Iterator<Item = (String, String)> {
    documents().into_iter().filter(|(path, _)| path != HISTORY)
}

/// The lines outside of fenced blocks.
fn prose(text: &str) -> String {
    let mut fenced = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            lines.push(line);
        }
    }
    assert!(!fenced, "a fenced block has no end");
    lines.join("\n")
}

/// What stands between `open` and `close`, for each `open`.
fn between<'t>(text: &'t str, open: &str, close: char) -> Vec<&'t str> {
    let parts = text.split(open).skip(1);
    parts.filter_map(|part| Some(part.split_once(close)?.0)).collect()
}

/// What is set as code, line breaks as blanks.
fn code_spans(text: &str) -> Vec<String> {
    let spans = text.split('`').skip(1).step_by(2);
    spans.map(|span| span.replace('\n', " ")).collect()
}

/// The anchor that a heading gets: lower case, blanks as hyphens, other signs left out.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn has_heading(text: &str, wanted: &str) -> bool {
    let text = prose(text);
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#'))).any(|one| one == wanted)
}

/// Flags with the default of each, if it has one, as the program's help tells them.
fn flags() -> BTreeMap<String, Option<String>> {
    let help = process::Command::new(env!("CARGO_BIN_EXE_shardcast")).arg("--help").output();
    let help = String::from_utf8(help.expect("the help").stdout).expect("text");
    let mut flags = BTreeMap::new();
    let mut last = None;
    for line in help.lines() {
        // A description is indented further than its flag.
        let is_flag = line.starts_with("  -") || line.starts_with("      --");
        let line = line.trim();
        if let Some(at) = is_flag.then(|| line.find("--")).flatten() {
            let name = line[at..].split_whitespace().next().expect("a name").to_owned();
            flags.insert(name.clone(), None);
            last = Some(name);
        }
        let default = line.strip_prefix("[default: ").and_then(|rest| rest.strip_suffix(']'));
        if let (Some(default), Some(name)) = (default, &last) {
            flags.insert(name.clone(), Some(default.to_owned()));
        }
    }
    flags
}

/// The flags that the settings describe, one in a line of a table, with the cell of
/// the default.
fn described_flags() -> BTreeMap<String, String> {
    let text = read("docs/settings.md");
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `--")?.split(" | ");
        let name = cells.next()?.split(['`', ' ']).next()?;
        Some((format!("--{name}"), cells.next()?.to_owned()))
    });
    rows.collect()
}

#[test]
fn links_lead_to_files_and_headings() {
    let mut broken = Vec::new();
    for (path, text) in documents() {
        let folder = Path::new(&path).parent().expect("a folder");
        for link in between(&prose(&text), "](", ')') {
            if link.contains("://") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target =
                if file.is_empty() { root().join(&path) } else { root().join(folder).join(file) };
            let leads = target.exists()
                && (heading.is_empty()
                    || fs::read_to_string(&target).is_ok_and(|text| has_heading(&text, heading)));
            if !leads {
                broken.push(format!("{path}: {link}"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn paths_that_are_named_exist() {
    let mut missing = Vec::new();
    for (path, text) in of_today() {
        for span in code_spans(&prose(&text)) {
            let is_path = FOLDERS.iter().any(|folder| span.starts_with(folder));
            let is_one = !span.contains([' ', '*', '<', '{', '…']);
            if is_path && is_one && !root().join(&span).exists() {
                missing.push(format!("{path}: {span}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_flag_is_described_with_its_default() {
    let described = described_flags();
    for (flag, default) in flags() {
        let cell = described.get(&flag).unwrap_or_else(|| panic!("{flag} is not described"));
        if let Some(default) = default {
            assert_eq!(cell.trim(), format!("`{default}`"), "the default of {flag}");
        }
    }
}

#[test]
fn no_flag_is_described_that_does_not_exist() {
    let flags = flags();
    for (flag, _) in described_flags() {
        assert!(flags.contains_key(&flag), "{flag} does not exist");
    }
}

#[test]
fn flags_that_any_document_names_exist() {
    let flags = flags();
    for (path, text) in of_today() {
        for span in code_spans(&prose(&text)) {
            let Some(name) = span.split([' ', '=']).next().filter(|name| name.starts_with("--"))
            else {
                continue;
            };
            let exists = flags.contains_key(name) || FOREIGN_FLAGS.contains(&name);
            assert!(exists, "{path}: {name} does not exist");
        }
    }
}

#[test]
fn the_readme_is_short_and_names_the_oldest_compiler() {
    let readme = read("README.md");
    let lines = readme.lines().count();
    assert!(lines <= README_LINES, "{lines} lines");
    let oldest = format!("Rust {}", env!("CARGO_PKG_RUST_VERSION"));
    assert!(readme.contains(&oldest), "{oldest} is not named");
}

#[test]
fn every_document_is_reached_from_the_readme() {
    let readme = read("README.md");
    for (path, _) in documents() {
        let is_linked = readme.contains(&format!("]({path})"));
        assert!(path == "README.md" || is_linked, "{path} is not linked");
    }
}

#[test]
fn messages_that_the_protocol_shows_are_understood() {
    let text = read("docs/protocol.md");
    let blocks = text.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut shown = 0;
    for line in blocks.flat_map(str::lines) {
        let message: Value =
            serde_json::from_str(line).unwrap_or_else(|why| panic!("{line}: {why}"));
        // The server's have a time, the client's have none.
        if message.get("timestamp").is_none() {
            let parsed = Dialect::Pubsub.parse(Incoming::Text(line));
            let is_built_in = !matches!(parsed.command, Err(_) | Ok(Command::Custom { .. }));
            assert!(is_built_in, "{line}: {parsed:?}");
        }
        shown += 1;
    }
    assert!(shown > 0);
}
