//! What each kind of rule means. Knows no layer and no word: those are the data
//! in `layers.rs`.

use std::{collections::BTreeSet, fmt};

use super::{
    paths::paths,
    source::{Source, bracket_end, is_word},
};

/// A part of the crate: a file or folder directly under `src/`.
pub(crate) struct Layer {
    pub(crate) name: &'static str,
    /// The layers that it may name.
    pub(crate) layers: &'static [&'static str],
    /// The packages that it may name, but for `std`.
    pub(crate) packages: Packages,
}

pub(crate) enum Packages {
    These(&'static [&'static str]),
    All,
}

/// Paths that must not be named.
pub(crate) struct BannedPath {
    pub(crate) path: &'static str,
    /// What of it may be named all the same.
    pub(crate) but: &'static [&'static str],
    /// The layers to which it applies.
    pub(crate) layers: &'static [&'static str],
    /// Files to which it does not.
    pub(crate) not_in: &'static [&'static str],
    pub(crate) why: &'static str,
}

/// Words that must not be written, in what is shipped or anywhere.
pub(crate) struct BannedWord {
    pub(crate) words: &'static [&'static str],
    pub(crate) in_tests: bool,
    /// Beginnings of the paths to which it applies.
    pub(crate) within: &'static [&'static str],
    /// Beginnings of the paths to which it does not.
    pub(crate) not_in: &'static [&'static str],
    pub(crate) why: &'static str,
}

/// One place at which something that is banned is right.
pub(crate) struct Allowed {
    pub(crate) file: &'static str,
    /// Part of the line.
    pub(crate) line: &'static str,
    pub(crate) why: &'static str,
}

/// A rule is broken.
pub(crate) struct Finding {
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) what: String,
}

impl Finding {
    pub(crate) fn new(source: &Source, at: usize, what: String) -> Self {
        Self { file: source.path.clone(), line: source.line(at), what }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

/// The layer of a file: what stands first under `src/`.
fn layer_of<'l>(source: &Source, layers: &'l [Layer]) -> Option<&'l Layer> {
    let rest = source.path.strip_prefix("src/")?;
    let name = rest.split('/').next()?.trim_end_matches(".rs");
    layers.iter().find(|layer| layer.name == name)
}

/// Files under `src/` that are of no layer.
pub(crate) fn homeless(sources: &[Source], layers: &[Layer]) -> Vec<Finding> {
    let homeless = sources
        .iter()
        .filter(|source| source.path.starts_with("src/") && layer_of(source, layers).is_none());
    let what = "of no layer that `LAYERS` names";
    homeless.map(|source| Finding::new(source, 0, what.to_owned())).collect()
}

/// Paths into layers that a layer must not know, or through the crate's root,
/// which hides the layer.
pub(crate) fn imports(sources: &[Source], layers: &[Layer]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        let Some(layer) = layer_of(source, layers) else { continue };
        for named in paths(source) {
            let Some(rest) = named.path.strip_prefix("crate::") else { continue };
            let target = rest.split("::").next().unwrap();
            if target == layer.name || layer.layers.contains(&target) {
                continue;
            }
            let what = if layers.iter().any(|layer| layer.name == target) {
                format!("`{}` must not know `{target}`: {}", layer.name, named.path)
            } else {
                format!("`{}` names no layer: import from the layer itself", named.path)
            };
            findings.push(Finding::new(source, named.at, what));
        }
    }
    findings
}

/// Packages that a layer must not use. `packages` are all that there are.
pub(crate) fn packages(
    sources: &[Source],
    layers: &[Layer],
    packages: &BTreeSet<String>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        let Some(layer) = layer_of(source, layers) else { continue };
        let Packages::These(allowed) = layer.packages else { continue };
        for named in paths(source) {
            let package = named.path.split("::").next().unwrap();
            if packages.contains(package) && !allowed.contains(&package) {
                let what = format!("`{}` stands without `{package}`", layer.name);
                findings.push(Finding::new(source, named.at, what));
            }
        }
    }
    findings
}

/// The packages under `dependencies` in the text of a manifest, as code names
/// them.
pub(crate) fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut inside = false;
    let mut names = BTreeSet::new();
    for line in manifest.lines() {
        if let Some(section) = line.strip_prefix('[') {
            inside = section.trim_end_matches(']').ends_with("dependencies");
        } else if inside && let Some((name, _)) = line.split_once('=') {
            let name = name.trim().trim_end_matches(".workspace");
            names.insert(name.replace('-', "_"));
        }
    }
    names
}

pub(crate) fn banned_paths(
    sources: &[Source],
    layers: &[Layer],
    bans: &[BannedPath],
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        let Some(layer) = layer_of(source, layers) else { continue };
        for named in paths(source) {
            for ban in bans {
                if ban.layers.contains(&layer.name)
                    && !ban.not_in.iter().any(|start| source.path.starts_with(start))
                    && named.is_in(ban.path)
                    && !ban.but.iter().any(|but| named.is_in(but))
                {
                    let what = format!("`{}` in `{}`: {}", named.path, layer.name, ban.why);
                    findings.push(Finding::new(source, named.at, what));
                }
            }
        }
    }
    findings
}

pub(crate) fn banned_words(sources: &[Source], ban: &BannedWord) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        let is_under = |starts: &[&str]| starts.iter().any(|start| source.path.starts_with(start));
        if !is_under(ban.within) || is_under(ban.not_in) {
            continue;
        }
        let code = if ban.in_tests { &source.code } else { &source.shipped };
        for word in ban.words {
            for at in occurrences(code, word) {
                findings.push(Finding::new(source, at, format!("`{word}`: {}", ban.why)));
            }
        }
    }
    findings
}

/// Takes what is allowed out of `findings`, and adds what is allowed in vain.
pub(crate) fn excuse(
    findings: Vec<Finding>,
    sources: &[Source],
    allowed: &[Allowed],
) -> Vec<Finding> {
    let mut used = vec![false; allowed.len()];
    let mut left: Vec<Finding> = findings
        .into_iter()
        .filter(|finding| {
            let source = sources.iter().find(|source| source.path == finding.file);
            let line = source.and_then(|source| source.text.lines().nth(finding.line - 1));
            let excuse = allowed.iter().position(|allowed| {
                allowed.file == finding.file && line.is_some_and(|line| line.contains(allowed.line))
            });
            excuse.inspect(|&index| used[index] = true).is_none()
        })
        .collect();
    let in_vain = allowed.iter().zip(used).filter(|(_, used)| !used);
    left.extend(in_vain.map(|(allowed, _)| Finding {
        file: allowed.file.to_owned(),
        line: 1,
        what: format!("`{}` is allowed ({}) but not there", allowed.line, allowed.why),
    }));
    left
}

/// Where `word` stands in `code`, whole.
fn occurrences<'c>(code: &'c str, word: &'c str) -> impl Iterator<Item = usize> + 'c {
    let bytes = code.as_bytes();
    let (starts, ends) = (word.as_bytes()[0], word.as_bytes()[word.len() - 1]);
    code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let before = at.checked_sub(1).map(|at| bytes[at]);
        let after = bytes.get(at + word.len()).copied();
        !(is_word(starts) && before.is_some_and(is_word)
            || is_word(ends) && after.is_some_and(is_word))
    })
}

/// Every `unsafe` must be in one of `files`, under a comment that begins with
/// `SAFETY:`.
pub(crate) fn unsafe_code(sources: &[Source], files: &[&str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        for at in occurrences(&source.code, "unsafe") {
            let what = if !files.contains(&source.path.as_str()) {
                "`unsafe` in a file that may have none"
            } else if !has_safety_note(source, at) {
                "`unsafe` without a SAFETY note above it"
            } else {
                continue;
            };
            findings.push(Finding::new(source, at, what.to_owned()));
        }
    }
    findings
}

fn has_safety_note(source: &Source, at: usize) -> bool {
    let above: Vec<&str> = source.text.lines().take(source.line(at) - 1).collect();
    let notes = above.iter().rev().map(|line| line.trim_start());
    let mut notes = notes.take_while(|line| line.starts_with("//"));
    notes.any(|line| line.trim_start_matches('/').trim_start().starts_with("SAFETY:"))
}

/// Files with more lines than `most`, their tests not counted; a file of nothing
/// but tests is counted whole.
pub(crate) fn long_files(sources: &[Source], most: usize, tables: &[&str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        let lines = if source.is_test { source.line_count() } else { source.shipped_lines };
        if lines > most && !tables.contains(&source.path.as_str()) {
            let what = format!("{lines} lines, more than {most}");
            findings.push(Finding { file: source.path.clone(), line: most + 1, what });
        }
    }
    findings
}

/// The lines of the median file under `folder`, without tests.
pub(crate) fn median_lines(sources: &[Source], folder: &str) -> usize {
    let shipped = sources.iter().filter(|source| !source.is_test);
    let shipped = shipped.filter(|source| source.path.starts_with(folder));
    let mut lines: Vec<usize> = shipped.map(|source| source.shipped_lines).collect();
    lines.sort_unstable();
    lines.get(lines.len() / 2).copied().unwrap_or(0)
}

pub(crate) fn long_functions(sources: &[Source], most: usize) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        for at in occurrences(&source.code, "fn") {
            let Some(end) = function_end(source.code.as_bytes(), at) else { continue };
            let lines = source.line(end) - source.line(at) + 1;
            if lines > most {
                let what = format!("a function of {lines} lines, more than {most}");
                findings.push(Finding::new(source, at, what));
            }
        }
    }
    findings
}

/// Where the body of the function ends whose `fn` is at `at`, if it has one.
fn function_end(code: &[u8], mut at: usize) -> Option<usize> {
    while at < code.len() {
        match code[at] {
            b'(' | b'[' => at = bracket_end(code, at),
            b'{' => return Some(bracket_end(code, at) - 1),
            // A signature in a trait, or a type.
            b';' | b')' | b',' | b'}' | b'=' => return None,
            b'-' => at += 2,
            _ => at += 1,
        }
    }
    None
}

pub(crate) fn headless(sources: &[Source]) -> Vec<Finding> {
    let headless = sources.iter().filter(|source| !source.text.starts_with("//!"));
    let what = "does not begin with a `//!` that says what the module is for";
    headless.map(|source| Finding::new(source, 0, what.to_owned())).collect()
}

/// Files, folders and declared names with a banned word in them, or that begin
/// with a banned start.
pub(crate) fn names(
    sources: &[Source],
    words: &[&str],
    starts: &[&str],
    allowed: &[(&str, &str)],
) -> Vec<Finding> {
    let is_bad = |name: &str| {
        let bad = split(name).any(|word| words.contains(&word.to_lowercase().as_str()));
        bad && !allowed.iter().any(|(allowed, _)| *allowed == name)
    };
    let mut findings = Vec::new();
    for source in sources {
        if source.path.trim_end_matches(".rs").split('/').any(is_bad) {
            findings.push(Finding::new(source, 0, "its name says nothing".to_owned()));
        }
        for (at, name, is_function) in declared(&source.code) {
            if is_bad(name) || is_function && starts.iter().any(|start| name.starts_with(start)) {
                findings.push(Finding::new(source, at, format!("`{name}` is a banned name")));
            }
        }
    }
    findings
}

/// The words of a name, in whichever case it is.
fn split(name: &str) -> impl Iterator<Item = &str> {
    name.split('_').flat_map(|part| {
        let mut starts: Vec<usize> =
            part.match_indices(char::is_uppercase).map(|(at, _)| at).collect();
        starts.insert(0, 0);
        starts.push(part.len());
        starts.windows(2).map(|pair| &part[pair[0]..pair[1]]).collect::<Vec<_>>()
    })
}

/// The names that `code` declares: items, variables, fields and parameters.
fn declared(code: &str) -> Vec<(usize, &str, bool)> {
    const ITEMS: &[&str] =
        &["fn", "struct", "enum", "union", "trait", "mod", "type", "const", "static", "let", "as"];
    let mut found = Vec::new();
    let mut previous = "";
    let mut at = 0;
    for word in code.split_inclusive(|c: char| !(c.is_alphanumeric() || c == '_')) {
        let name = word.trim_end_matches(|c: char| !(c.is_alphanumeric() || c == '_'));
        let start = at;
        at += word.len();
        if name.is_empty() {
            continue;
        }
        let rest = &code[start + name.len()..];
        let is_field = rest.starts_with(':') && !rest.starts_with("::");
        if ITEMS.contains(&previous) || is_field {
            found.push((start, name, previous == "fn"));
        }
        if name != "mut" {
            previous = name;
        }
    }
    found
}
