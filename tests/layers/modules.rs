//! The modules of a package: what each declares and imports, and in which file a
//! path is defined in the end. Knows no rules.
//!
//! Seen is what is written: items at the level of a module, imports, paths. What
//! a macro makes is taken to be defined in the module that a path says. Not seen
//! are methods, whose file no path names.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    paths::{Leaf, Token, begins_path, is_name, tokens, tree},
    source::Source,
};

/// A path to a module, its crate first: `["src", "engine", "core"]`.
pub(crate) type ModulePath = Vec<String>;

/// How many imports of imports are followed.
const MAX_IMPORTS: usize = 32;

/// One search for what a path leads to: it ends though imports lead in circles.
struct Search {
    left: usize,
    /// The names that were looked for in what a module imports as a whole.
    globbed: BTreeSet<(ModulePath, String)>,
}

impl Search {
    fn new() -> Self {
        Self { left: MAX_IMPORTS, globbed: BTreeSet::new() }
    }

    /// One step further, if that is allowed.
    fn step(&mut self) -> Option<()> {
        self.left = self.left.checked_sub(1)?;
        Some(())
    }
}

/// A path as it is written in a file.
#[derive(Debug)]
pub(crate) struct Written<'s> {
    pub(crate) leaf: Leaf<'s>,
    /// Where it is resolved: the innermost module of the file.
    pub(crate) module: ModulePath,
    pub(crate) import: Import,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Import {
    /// No import but a path in code.
    No,
    Private,
    /// `pub use`, with whatever visibility.
    Public,
}

/// What a path leads to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// An item of a module, by the number of the file that defines it.
    Item(usize, String),
    Module(ModulePath),
}

/// What is written in one file.
pub(crate) struct File<'s> {
    pub(crate) module: ModulePath,
    pub(crate) paths: Vec<Written<'s>>,
    /// The first words in its code outside of imports, but for fields and methods.
    pub(crate) words: Vec<Token<'s>>,
}

#[derive(Default)]
struct Module {
    file: usize,
    items: Vec<String>,
    /// Words of a path, by the name that they are imported as.
    imports: BTreeMap<String, Vec<String>>,
    globs: Vec<Vec<String>>,
}

/// All modules of `sources`, and what is written in each file.
pub(crate) struct Modules<'s> {
    pub(crate) files: Vec<File<'s>>,
    modules: BTreeMap<ModulePath, Module>,
}

impl<'s> Modules<'s> {
    pub(crate) fn of(sources: &'s [Source]) -> Self {
        let mut all = Self { files: Vec::new(), modules: BTreeMap::new() };
        for (index, source) in sources.iter().enumerate() {
            let code = if source.is_test { &source.code } else { &source.shipped };
            let module = module_path(&source.path);
            all.modules.entry(module.clone()).or_default().file = index;
            let file = all.read(index, module, &tokens(code));
            all.files.push(file);
        }
        all
    }

    /// Reads one file: its modules, their items and imports, and its paths.
    fn read(&mut self, index: usize, module: ModulePath, tokens: &[Token<'s>]) -> File<'s> {
        let mut file = File { module: module.clone(), paths: Vec::new(), words: Vec::new() };
        // The modules around a place, each with the depth of its brackets.
        let mut around = vec![(module, 0)];
        let (mut depth, mut at) = (0usize, 0);
        while at < tokens.len() {
            let (inner, own_depth) = around.last().cloned().unwrap_or_default();
            let word = tokens[at].1;
            match word {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth = depth.saturating_sub(1),
                "mod" if is_at(tokens, at + 2, "{") => {
                    let path = [inner, vec![tokens[at + 1].1.to_owned()]].concat();
                    self.modules.entry(path.clone()).or_default().file = index;
                    depth += 1;
                    around.push((path, depth));
                    at += 3;
                    continue;
                }
                "use" => {
                    let end = self.read_imports(tokens, at, &inner, &mut file);
                    at = end.max(at + 1);
                    continue;
                }
                _ => {}
            }
            if depth < own_depth {
                around.pop();
            } else if depth == own_depth
                && let Some(name) = item_declared(tokens, at)
            {
                self.modules.entry(inner.clone()).or_default().items.push(name.to_owned());
            }
            if is_name(word) && is_first(tokens, at) {
                file.words.push(tokens[at]);
            }
            if begins_path(tokens, at) {
                let mut leaves = Vec::new();
                at = tree(tokens, at, &mut Vec::new(), &mut leaves).max(at + 1);
                let written = |leaf| Written { leaf, module: inner.clone(), import: Import::No };
                file.paths.extend(leaves.into_iter().map(written));
            } else {
                at += 1;
            }
        }
        file
    }

    /// Reads the `use` at `at`; returns the index behind it.
    fn read_imports(
        &mut self,
        tokens: &[Token<'s>],
        at: usize,
        inner: &ModulePath,
        file: &mut File<'s>,
    ) -> usize {
        let is_public = at > 0 && matches!(tokens[at - 1].1, "pub" | ")");
        let import = if is_public { Import::Public } else { Import::Private };
        let begin = at + 1 + usize::from(is_at(tokens, at + 1, "::"));
        let mut leaves = Vec::new();
        let end = tree(tokens, begin, &mut Vec::new(), &mut leaves);
        let module = self.modules.entry(inner.clone()).or_default();
        for leaf in leaves {
            let words: Vec<String> = leaf.words.iter().map(|&word| word.to_owned()).collect();
            match leaf.words.as_slice() {
                [path @ .., "*"] => {
                    module.globs.push(path.iter().map(|&word| word.to_owned()).collect());
                }
                // `use name` and `use name::{self}` import a crate.
                [_] if leaf.alias.is_none() => {}
                [.., last] => {
                    module.imports.insert(leaf.alias.unwrap_or(last).to_owned(), words);
                }
                [] => {}
            }
            file.paths.push(Written { leaf, module: inner.clone(), import });
        }
        end
    }

    /// What `words` lead to from the module `from`, if it is in these sources.
    pub(crate) fn target(&self, from: &ModulePath, words: &[String]) -> Option<Target> {
        self.resolve(from, words, &mut Search::new())
    }

    /// The file of a module.
    pub(crate) fn file(&self, module: &ModulePath) -> Option<usize> {
        self.modules.get(module).map(|module| module.file)
    }

    /// Whether `module` declares or imports `name`.
    pub(crate) fn item_in(&self, module: &ModulePath, name: &str) -> Option<Target> {
        let target = self.walk(module, &[name.to_owned()], &mut Search::new())?;
        matches!(target, Target::Item(..)).then_some(target)
    }

    fn resolve(&self, from: &ModulePath, words: &[String], search: &mut Search) -> Option<Target> {
        let (first, mut rest) = words.split_first()?;
        let mut module = match first.as_str() {
            "crate" => from[..1].to_vec(),
            "self" => from.clone(),
            "super" => from[..from.len().checked_sub(1)?].to_vec(),
            "shardcast" => vec!["src".to_owned()],
            _ => {
                let target = self.walk(from, words, search);
                return target.or_else(|| {
                    // A name of this module's, made by what is not seen.
                    self.modules.contains_key(&child(from, first)).then(|| {
                        Target::Item(self.modules[&child(from, first)].file, words.join("::"))
                    })
                });
            }
        };
        while let Some((_, after)) = rest.split_first().filter(|(word, _)| *word == "super") {
            module.pop();
            rest = after;
        }
        self.walk(&module, rest, search).or_else(|| {
            let file = self.deepest(&module, rest)?;
            Some(Target::Item(file, rest.last()?.clone()))
        })
    }

    /// The file of the last module of `words`, which name an item that is not seen.
    fn deepest(&self, module: &ModulePath, words: &[String]) -> Option<usize> {
        let mut module = module.clone();
        for word in words {
            let inner = child(&module, word);
            if !self.modules.contains_key(&inner) {
                break;
            }
            module = inner;
        }
        self.file(&module)
    }

    /// Follows `words` down from `module`, through what it imports.
    fn walk(&self, module: &ModulePath, words: &[String], search: &mut Search) -> Option<Target> {
        let here = self.modules.get(module)?;
        let Some((word, rest)) = words.split_first() else {
            return Some(Target::Module(module.clone()));
        };
        let inner = child(module, word);
        let is_module = self.modules.contains_key(&inner);
        let is_item = here.items.contains(word);
        if is_item && (rest.is_empty() || !is_module) {
            return Some(Target::Item(here.file, word.clone()));
        }
        if is_module {
            return self.walk(&inner, rest, search);
        }
        if let Some(path) = here.imports.get(word) {
            search.step()?;
            let path = [path.as_slice(), rest].concat();
            return self.resolve(module, &path, search);
        }
        if here.globs.is_empty() || !search.globbed.insert((module.clone(), word.clone())) {
            return None;
        }
        here.globs.iter().find_map(|glob| {
            let Target::Module(glob) = self.resolve(module, glob, search)? else { return None };
            if glob == *module { None } else { self.walk(&glob, words, search) }
        })
    }
}

/// The module that a file is. A binary beside a library is a crate of its own.
fn module_path(path: &str) -> ModulePath {
    let (folder, rest) = match path.split_once("src/") {
        Some((package, rest)) => (format!("{package}src"), rest),
        None => (String::new(), path),
    };
    if rest == "main.rs" && folder == "src" {
        return vec![path.to_owned()];
    }
    let mut module = vec![folder];
    module.extend(rest.trim_end_matches(".rs").split('/').map(str::to_owned));
    if module.last().is_some_and(|name| matches!(name.as_str(), "mod" | "lib" | "main")) {
        module.pop();
    }
    module
}

fn child(module: &ModulePath, name: &str) -> ModulePath {
    [module.as_slice(), &[name.to_owned()]].concat()
}

fn is_at(tokens: &[Token<'_>], index: usize, token: &str) -> bool {
    tokens.get(index).is_some_and(|each| each.1 == token)
}

/// Whether the word at `at` is looked up in the module: the first of its path and
/// neither a field nor a method.
fn is_first(tokens: &[Token<'_>], at: usize) -> bool {
    let before = |back: usize| at.checked_sub(back).map_or("", |index| tokens[index].1);
    match before(1) {
        "::" => !is_name(before(2)) && before(2) != ">",
        // A range, `..LIMIT`, is no field.
        "." => before(2) == ".",
        _ => true,
    }
}

/// The name of the item whose keyword is at `at`.
fn item_declared<'s>(tokens: &[Token<'s>], at: usize) -> Option<&'s str> {
    const ITEMS: &[&str] =
        &["fn", "struct", "enum", "union", "trait", "type", "const", "static", "mut", "!"];
    let name = tokens.get(at + 1).map(|token| token.1)?;
    let before = at.checked_sub(1).map_or("", |index| tokens[index].1);
    let is_item = match tokens[at].1 {
        "mut" => before == "static",
        "!" => before == "macro_rules",
        word => ITEMS.contains(&word),
    };
    let is_modifier = matches!(name, "fn" | "unsafe" | "mut" | "extern" | "async");
    (is_item && is_name(name) && !is_modifier).then_some(name)
}
