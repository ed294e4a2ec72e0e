//! A source file as the rules see it: what is code, and what of that is shipped.
//! Knows enough of Rust's grammar to leave out comments, literals and tests, and
//! nothing of the rules.

use std::{collections::BTreeSet, fs, ops::Range, path::Path};

/// One file. `code` and `shipped` have the length and the lines of `text`.
#[derive(Debug)]
pub(crate) struct Source {
    /// From the root of the repository.
    pub(crate) path: String,
    pub(crate) text: String,
    /// With comments, strings and characters blanked.
    pub(crate) code: String,
    /// `code` without what is compiled for tests only.
    pub(crate) shipped: String,
    /// The whole file is compiled for tests only.
    pub(crate) is_test: bool,
    /// Lines without those of tests.
    pub(crate) shipped_lines: usize,
}

impl Source {
    /// The number of the line, from 1, in which byte `at` is.
    pub(crate) fn line(&self, at: usize) -> usize {
        1 + self.code[..at].matches('\n').count()
    }

    pub(crate) fn line_count(&self) -> usize {
        self.text.lines().count()
    }

    /// The folder of the modules that this file declares.
    fn module_folder(&self) -> &str {
        let stem = self.path.trim_end_matches(".rs");
        let (folder, name) = stem.rsplit_once('/').unwrap_or(("", stem));
        if matches!(name, "mod" | "lib" | "main") { folder } else { stem }
    }
}

/// Reads every Rust file in `folders` of the repository, in order of their paths.
pub(crate) fn read(root: &Path, folders: &[&str]) -> Vec<Source> {
    let mut files = Vec::new();
    for folder in folders {
        collect(root, folder, &mut files);
    }
    sources(files)
}

fn collect(root: &Path, folder: &str, files: &mut Vec<(String, String)>) {
    // Not every folder that may be there is.
    let Ok(entries) = fs::read_dir(root.join(folder)) else { return };
    for entry in entries {
        let entry = entry.unwrap();
        let path = format!("{folder}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            collect(root, &path, files);
        } else if entry.path().extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(entry.path()).unwrap();
            files.push((path, text));
        }
    }
}

/// Sources of paths and texts.
pub(crate) fn sources(mut files: Vec<(String, String)>) -> Vec<Source> {
    files.sort();
    let mut test_modules = Vec::new();
    let mut all: Vec<Source> = Vec::new();
    for (path, text) in files {
        let code = blank_opaque(&text);
        let lines = text.lines().count();
        let mut source = Source {
            path,
            text,
            shipped: code.clone(),
            code,
            is_test: false,
            shipped_lines: lines,
        };
        let mut test_lines = BTreeSet::new();
        for range in test_items(&source.code) {
            if let Some(name) = module_declared(&source.code[range.clone()]) {
                test_modules.push(format!("{}/{name}", source.module_folder()));
            }
            test_lines.extend(source.line(range.start)..=source.line(range.end - 1));
            blank(&mut source.shipped, range);
        }
        source.shipped_lines -= test_lines.len();
        all.push(source);
    }
    for source in &mut all {
        let is_test = test_modules.iter().any(|module| {
            let rest = source.path.strip_prefix(module.as_str());
            rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        });
        if is_test || source.code.contains("#![cfg(test)]") {
            source.is_test = true;
            source.shipped_lines = 0;
            let all = 0..source.shipped.len();
            blank(&mut source.shipped, all);
        }
    }
    all
}

/// Puts spaces in the place of everything in `range` but the ends of lines.
fn blank(code: &mut String, range: Range<usize>) {
    let blanked: Vec<u8> = code.as_bytes()[range.clone()]
        .iter()
        .map(|&byte| if byte == b'\n' { byte } else { b' ' })
        .collect();
    code.replace_range(range, std::str::from_utf8(&blanked).unwrap());
}

/// `text` with its comments and literals blanked.
fn blank_opaque(text: &str) -> String {
    let mut code = text.to_owned();
    let mut at = 0;
    while at < text.len() {
        match opaque_end(text.as_bytes(), at) {
            Some(end) => {
                let end = end.min(text.len());
                blank(&mut code, at..end);
                at = end;
            }
            None => at += 1,
        }
    }
    code
}

/// Where the comment or literal ends that begins at `at`, if one does.
fn opaque_end(text: &[u8], at: usize) -> Option<usize> {
    let rest = &text[at..];
    match rest {
        [b'/', b'/', ..] => Some(at + find(rest, b'\n')),
        [b'/', b'*', ..] => Some(at + block_comment_len(rest)),
        [b'"', ..] => Some(at + quoted_len(rest, b'"')),
        [b'\'', ..] => character_len(rest).map(|len| at + len),
        [b'b' | b'c' | b'r', ..] if at == 0 || !is_word(text[at - 1]) => {
            let prefix = rest.iter().take(2).take_while(|&&byte| b"bcr".contains(&byte)).count();
            let literal = &rest[prefix..];
            let raw = rest[..prefix].contains(&b'r');
            match literal {
                [b'"' | b'#', ..] if raw => raw_len(literal).map(|len| at + prefix + len),
                [b'"', ..] => Some(at + prefix + quoted_len(literal, b'"')),
                [b'\'', ..] => character_len(literal).map(|len| at + prefix + len),
                _ => None,
            }
        }
        _ => None,
    }
}

pub(crate) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn find(text: &[u8], byte: u8) -> usize {
    text.iter().position(|&each| each == byte).unwrap_or(text.len())
}

fn block_comment_len(text: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        match &text[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted_len(text: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < text.len() && text[at] != quote {
        at += if text[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

/// `'a` alone is a lifetime.
fn character_len(text: &[u8]) -> Option<usize> {
    if text.get(1) == Some(&b'\\') {
        return Some(quoted_len(text, b'\''));
    }
    let character = std::str::from_utf8(&text[1..text.len().min(5)])
        .unwrap_or_else(|error| std::str::from_utf8(&text[1..=error.valid_up_to()]).unwrap())
        .chars()
        .next()?;
    let end = 1 + character.len_utf8();
    (text.get(end) == Some(&b'\'')).then_some(end + 1)
}

fn raw_len(text: &[u8]) -> Option<usize> {
    let hashes = text.iter().take_while(|&&byte| byte == b'#').count();
    if text.get(hashes) != Some(&b'"') {
        return None;
    }
    let mut close = vec![b'#'; hashes + 1];
    close[0] = b'"';
    let body = &text[hashes + 1..];
    let end = body.windows(close.len()).position(|window| window == close);
    Some(hashes + 1 + end.map_or(body.len(), |end| end + close.len()))
}

/// The items of `code` that are compiled for tests only, with their attributes.
fn test_items(code: &str) -> Vec<Range<usize>> {
    let mut items: Vec<Range<usize>> = Vec::new();
    for attribute in ["#[cfg(test)]", "#[cfg(all(test"] {
        for (start, _) in code.match_indices(attribute) {
            items.push(start..item_end(code.as_bytes(), start));
        }
    }
    items
}

fn item_end(code: &[u8], mut at: usize) -> usize {
    loop {
        while code.get(at).is_some_and(u8::is_ascii_whitespace) {
            at += 1;
        }
        if code.get(at) != Some(&b'#') {
            break;
        }
        at = bracket_end(code, at + 1);
    }
    let head = code[at..].split(|byte| b"{;=".contains(byte)).next().unwrap_or_default();
    let has = |word: &[u8]| head.split(|&byte| !is_word(byte)).any(|each| each == word);
    let ends_with_semicolon =
        !has(b"fn") && [&b"use"[..], b"static", b"const", b"type", b"let"].into_iter().any(has);
    while at < code.len() {
        match code[at] {
            b';' => return at + 1,
            // The end of what encloses it: a field or a last expression.
            b'}' => return at,
            b'{' if !ends_with_semicolon => return bracket_end(code, at),
            b'(' | b'[' | b'{' => at = bracket_end(code, at),
            _ => at += 1,
        }
    }
    at
}

/// One past the bracket that closes the one at `at`.
pub(crate) fn bracket_end(code: &[u8], mut at: usize) -> usize {
    let mut depth = 0usize;
    while at < code.len() {
        match code[at] {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
        if depth == 0 {
            break;
        }
    }
    at
}

/// The name in `mod name;`.
fn module_declared(item: &str) -> Option<&str> {
    let (before, rest) = item.rsplit_once("mod ")?;
    let name = rest.trim().strip_suffix(';')?;
    (before.ends_with([' ', '\n', ')', ']']) && name.bytes().all(is_word)).then_some(name)
}
