//! The paths that a file names, in `use` and in the midst of code, each resolved
//! to where it begins: `crate`, `std` or another crate. Knows no rules and no
//! file but the one that it reads.

use super::source::{Source, bracket_end, is_word};

/// A path, and where the word is that ends it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// From the root of a crate: `crate::engine::core::Core`, `std::io`.
    pub(crate) path: String,
    pub(crate) at: usize,
}

impl Named {
    /// Whether it is `outer` or something in it.
    pub(crate) fn is_in(&self, outer: &str) -> bool {
        let rest = self.path.strip_prefix(outer);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    }
}

/// Every path of two or more words in what `source` ships.
pub(crate) fn paths(source: &Source) -> Vec<Named> {
    let tokens = tokens(&source.shipped);
    let modules = Modules::of(source);
    let mut found = Vec::new();
    let mut index = 0;
    while index < tokens.len() {
        if !begins_path(&tokens, index) {
            index += 1;
            continue;
        }
        let mut leaves = Vec::new();
        let at = tokens[index].0;
        index = tree(&tokens, index, &mut Vec::new(), &mut leaves);
        for leaf in leaves {
            let path = modules.resolve(&leaf.words, at).join("::");
            found.push(Named { path, at: leaf.at });
        }
    }
    found
}

/// A word, `::` or one other character, and where it begins.
pub(crate) type Token<'s> = (usize, &'s str);

/// One path of a tree of paths.
#[derive(Debug)]
pub(crate) struct Leaf<'s> {
    pub(crate) words: Vec<&'s str>,
    /// Where its last word begins.
    pub(crate) at: usize,
    /// The name after `as`.
    pub(crate) alias: Option<&'s str>,
}

pub(crate) fn tokens(code: &str) -> Vec<Token<'_>> {
    let bytes = code.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let len = match &bytes[at..] {
            [byte, ..] if is_word(*byte) => bytes[at..].iter().take_while(|b| is_word(**b)).count(),
            [b':', b':', ..] => 2,
            _ => 1,
        };
        if !bytes[at].is_ascii_whitespace() {
            tokens.push((at, &code[at..at + len]));
        }
        at += len;
    }
    tokens
}

pub(crate) fn is_name(token: &str) -> bool {
    token.bytes().next().is_some_and(is_word)
}

pub(crate) fn begins_path(tokens: &[Token<'_>], index: usize) -> bool {
    let word = |back: usize| index.checked_sub(back).map_or("", |index| tokens[index].1);
    let goes_on = word(1) == "::" && (is_name(word(2)) || word(2) == ">");
    is_name(tokens[index].1) && !goes_on && tokens.get(index + 1).is_some_and(|t| t.1 == "::")
}

/// Reads one branch of a tree of paths into `leaves`; returns the index behind it.
pub(crate) fn tree<'s>(
    tokens: &[Token<'s>],
    mut index: usize,
    words: &mut Vec<&'s str>,
    leaves: &mut Vec<Leaf<'s>>,
) -> usize {
    let (begin, own) = (index, words.len());
    let mut at = tokens[index].0;
    while let Some(&(start, token)) = tokens.get(index) {
        if token == "{" {
            index += 1;
            while tokens.get(index).is_some_and(|token| token.1 != "}") {
                let next = tree(tokens, index, words, leaves);
                index = next.max(index + 1);
            }
            words.truncate(own);
            return index + 1;
        }
        if !is_name(token) && token != "*" {
            break;
        }
        // `{self}` is what encloses it.
        if token != "self" || own == 0 {
            words.push(token);
        }
        at = start;
        index += 1;
        if tokens.get(index).is_none_or(|token| token.1 != "::") {
            break;
        }
        index += 1;
    }
    let named = words.len() > own || (index > begin && tokens[index - 1].1 == "self");
    let last = index;
    let mut alias = None;
    if tokens.get(last).is_some_and(|token| token.1 == "as") {
        alias = tokens.get(last + 1).map(|token| token.1).filter(|name| is_name(name));
        index += 2;
    }
    if named {
        leaves.push(Leaf { words: words.clone(), at, alias });
    }
    words.truncate(own);
    index
}

/// Which module each place of a file is in.
struct Modules {
    file: Vec<String>,
    /// Modules written out in the file: name, first and last byte.
    inner: Vec<(String, usize, usize)>,
}

impl Modules {
    fn of(source: &Source) -> Self {
        let stem = source.path.trim_end_matches(".rs");
        let mut file: Vec<String> = stem.split('/').skip(1).map(str::to_owned).collect();
        if file.last().is_some_and(|name| matches!(name.as_str(), "mod" | "lib" | "main")) {
            file.pop();
        }
        let mut inner = Vec::new();
        for window in tokens(&source.shipped).windows(3) {
            if let [(_, "mod"), (_, name), (start, "{")] = window {
                let end = bracket_end(source.shipped.as_bytes(), *start);
                inner.push(((*name).to_owned(), *start, end));
            }
        }
        Self { file, inner }
    }

    fn resolve<'s>(&'s self, words: &[&'s str], at: usize) -> Vec<&'s str> {
        let mut module: Vec<&str> = self.file.iter().map(String::as_str).collect();
        let enclosing = self.inner.iter().filter(|inner| (inner.1..inner.2).contains(&at));
        module.extend(enclosing.map(|inner| inner.0.as_str()));
        let mut resolved = match words[0] {
            "self" | "super" => [vec!["crate"], module].concat(),
            // The binary's library is the same package.
            "shardcast" => vec!["crate"],
            first => vec![first],
        };
        if words[0] == "super" {
            resolved.pop();
        }
        for word in &words[1..] {
            if *word == "super" {
                resolved.pop();
            } else {
                resolved.push(word);
            }
        }
        resolved
    }
}
