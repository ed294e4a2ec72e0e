//! What programs that embed the engine can name: `tests/surface.txt` lists it, so that
//! a change of it is seen in review. Reads the sources as rustfmt leaves them.
//!
//! `UPDATE_SURFACE=1 cargo test --test surface` writes the list anew.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
};

const LIST: &str = "tests/surface.txt";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files under `folder` that are shipped.
fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            if name != "tests" {
                sources(&path, into);
            }
        } else if name != "tests.rs" && path.extension().is_some_and(|kind| kind == "rs") {
            into.push(path);
        }
    }
}

/// The identifier at the beginning of `text`.
fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    &text[..end.unwrap_or(text.len())]
}

/// The names that `text`, a source with `pub use` and `pub mod`, makes public without
/// the feature `internals`: each with the path by which it is reached.
fn exported(text: &str) -> Vec<(String, String)> {
    let (mut names, mut module, mut is_internal) = (Vec::new(), String::new(), false);
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let (indent, item) = (line.len() - line.trim_start().len(), line.trim_start());
        if let Some(module_name) = item.strip_prefix("pub mod ")
            && !is_internal
        {
            names.push((String::new(), format!("mod {}", word(module_name))));
            if item.ends_with('{') {
                module = format!("{}::", word(module_name));
            }
        } else if let Some(used) = item.strip_prefix("pub use ") {
            let mut whole = used.to_owned();
            while !whole.ends_with(';') {
                whole += lines.next().expect("the end of a `pub use`").trim();
            }
            for part in whole.split(['{', '}', ',', ';', ' ']) {
                let name = part.rsplit("::").next().unwrap_or_default();
                if !name.is_empty() && (!part.ends_with("::")) {
                    names.push((module.clone(), name.to_owned()));
                }
            }
        } else if indent == 0 && item == "}" {
            module.clear();
        }
        is_internal = item.starts_with("#[cfg(") && item.contains("internals");
    }
    names
}

/// The public members of the type `name` in `text`: methods, fields and variants.
fn members(text: &str, name: &str) -> Vec<String> {
    let (mut found, mut inside, mut is_enum) = (Vec::new(), false, false);
    for line in text.lines() {
        if line == "mod tests {" {
            break;
        }
        if !line.starts_with([' ', '}']) && !line.is_empty() {
            let declared = ["pub struct ", "pub enum ", "pub trait "]
                .iter()
                .find_map(|kind| line.strip_prefix(kind));
            let subject = declared.or_else(|| subject_of_impl(line));
            inside = subject.is_some_and(|subject| word(subject) == name) && line.ends_with('{');
            is_enum = line.starts_with("pub enum ");
        }
        let Some(item) = line.strip_prefix("    ").filter(|item| inside && !item.starts_with(' '))
        else {
            continue;
        };
        let item = match item.strip_prefix("pub ") {
            Some(item) => item,
            None if is_enum && item.starts_with(char::is_uppercase) => item,
            None => continue,
        };
        let item = item.trim_start_matches("const ");
        found.push(word(item.strip_prefix("fn ").unwrap_or(item)).to_owned());
    }
    found
}

/// The type of an inherent `impl` block.
fn subject_of_impl(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("impl")?;
    let rest = match rest.strip_prefix('<') {
        Some(generic) => generic.split_once("> ")?.1,
        None => rest.trim_start(),
    };
    (!rest.contains(" for ")).then_some(rest)
}

fn surface() -> String {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    let texts: Vec<_> = files.iter().map(|file| fs::read_to_string(file).expect("text")).collect();
    let mut lines = BTreeSet::new();
    let read = |path: &str| fs::read_to_string(root().join(path)).expect("text");
    let server = exported(&read("src/server/mod.rs"));
    let server = server.into_iter().map(|(_, name)| ("server::".to_owned(), name));
    for (module, name) in exported(&read("src/lib.rs")).into_iter().chain(server) {
        lines.insert(format!("{module}{name}"));
        for member in texts.iter().flat_map(|text| members(text, &name)) {
            lines.insert(format!("{module}{name}::{member}"));
        }
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

#[test]
fn what_is_public_is_what_the_list_says() {
    let (now, path) = (surface(), root().join(LIST));
    if env::var_os("UPDATE_SURFACE").is_some() {
        fs::write(&path, &now).expect("a list that can be written");
    }
    let listed = fs::read_to_string(&path).expect("the list");
    let (listed, now): (BTreeSet<_>, BTreeSet<_>) =
        (listed.lines().collect(), now.lines().collect());
    let new: Vec<_> = now.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&now).collect();
    assert!(new.is_empty() && gone.is_empty(), "new: {new:#?}\ngone: {gone:#?}");
}

#[test]
fn the_layers_are_not_public() {
    let names = exported(&fs::read_to_string(root().join("src/lib.rs")).expect("text"));
    let modules: Vec<_> = names.iter().filter_map(|(_, name)| name.strip_prefix("mod ")).collect();
    assert_eq!(modules, ["cluster", "relay", "server", "sim"]);
}
