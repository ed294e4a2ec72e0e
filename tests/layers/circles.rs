//! Which file imports from which, and the circles that this makes.
//!
//! A file imports from the file that defines what it names, whatever re-exports
//! lie between. To name a module says nothing yet: what is named through it does.
//! A `mod child;` is no import, and neither is the re-export of what a file's own
//! child modules define, unless the file's own code uses the name too: `mod.rs`
//! may declare and hand on its children while they use what it defines, but then
//! must not itself be built on them. A re-export of anything else is an import.
//!
//! Tests in a file are left out. A file that is compiled for tests only is looked
//! at, since files of tests can import in circles as well.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{
    modules::{Import, Modules, Target, Written},
    rules::Finding,
    source::Source,
};

/// One name that one file imports from another. Files are numbers of sources.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Edge {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) name: String,
    /// Where it is named first.
    pub(crate) at: usize,
}

/// Every name that a file imports from another, once.
pub(crate) fn edges(sources: &[Source]) -> Vec<Edge> {
    let modules = Modules::of(sources);
    let mut first = BTreeMap::new();
    for from in 0..sources.len() {
        for written in &modules.files[from].paths {
            for (to, name) in imported(&modules, from, written) {
                if to != from {
                    let at = first.entry((from, to, name)).or_insert(written.leaf.at);
                    *at = written.leaf.at.min(*at);
                }
            }
        }
    }
    first.into_iter().map(|((from, to, name), at)| Edge { from, to, name, at }).collect()
}

/// The files and names that one path of the file `from` imports.
fn imported(modules: &Modules<'_>, from: usize, written: &Written<'_>) -> Vec<(usize, String)> {
    let mut words: Vec<String> = written.leaf.words.iter().map(|&word| word.into()).collect();
    let is_glob = words.pop_if(|word| word == "*").is_some();
    let Some(target) = modules.target(&written.module, &words) else { return Vec::new() };
    let file = &modules.files[from];
    let uses = |name: &str| file.words.iter().any(|word| word.1 == name);
    let hands_on = |to: usize| {
        let is_child = modules.files[to].module.starts_with(&file.module);
        written.import == Import::Public && is_child
    };
    match target {
        Target::Item(to, name) => {
            let known_as = written.leaf.alias.unwrap_or(&name);
            if hands_on(to) && !uses(known_as) { Vec::new() } else { vec![(to, name)] }
        }
        Target::Module(module) if is_glob => {
            let words: BTreeSet<&str> = file.words.iter().map(|word| word.1).collect();
            let named = words.into_iter().filter_map(|word| modules.item_in(&module, word));
            let mut found: Vec<(usize, String)> = named
                .filter_map(|target| match target {
                    Target::Item(to, name) => Some((to, name)),
                    Target::Module(_) => None,
                })
                .collect();
            // What is not named may be a trait, for its methods.
            let to = modules.file(&module).filter(|&to| found.is_empty() && !hands_on(to));
            found.extend(to.map(|to| (to, "*".to_owned())));
            found
        }
        Target::Module(_) => Vec::new(),
    }
}

/// Every circle of files, with the names that tie it.
pub(crate) fn circles(sources: &[Source]) -> Vec<Finding> {
    let edges = edges(sources);
    let mut imports = vec![BTreeSet::new(); sources.len()];
    for edge in &edges {
        imports[edge.from].insert(edge.to);
    }
    let reached: Vec<_> = (0..sources.len()).map(|file| distances(&imports, file)).collect();
    let mut findings = Vec::new();
    for (start, from_start) in reached.iter().enumerate() {
        let comes_back = |file: &usize| reached[*file].contains_key(&start);
        let circle: BTreeSet<usize> = from_start.keys().copied().filter(comes_back).collect();
        if circle.first() == Some(&start) {
            findings.push(finding(sources, &edges, &reached, &circle));
        }
    }
    findings
}

/// How many imports away a file is from another.
type Distances = BTreeMap<usize, usize>;

/// The distances from `start`, to itself only if it is in a circle.
fn distances(imports: &[BTreeSet<usize>], start: usize) -> Distances {
    let mut distances = BTreeMap::new();
    let mut next = VecDeque::from([(start, 0)]);
    while let Some((file, distance)) = next.pop_front() {
        for &to in &imports[file] {
            distances.entry(to).or_insert_with(|| {
                next.push_back((to, distance + 1));
                distance + 1
            });
        }
    }
    distances
}

fn finding(
    sources: &[Source],
    edges: &[Edge],
    reached: &[Distances],
    circle: &BTreeSet<usize>,
) -> Finding {
    let mut ties: BTreeMap<(usize, usize), Vec<&Edge>> = BTreeMap::new();
    for edge in edges.iter().filter(|e| circle.contains(&e.from) && circle.contains(&e.to)) {
        ties.entry((edge.from, edge.to)).or_default().push(edge);
    }
    let mut lines = vec![format!("in a circle of {} files", circle.len())];
    for ((from, to), edges) in &ties {
        // The shortest circle with this import in it: pairs are the first to look at.
        let round = 1 + reached[*to].get(from).copied().unwrap_or(0);
        let names: Vec<String> = edges
            .iter()
            .map(|edge| format!("{} (line {})", edge.name, sources[*from].line(edge.at)))
            .collect();
        let (from, to) = (&sources[*from].path, &sources[*to].path);
        lines.push(format!("{from} -> {to}, {round} round: {}", names.join(", ")));
    }
    let at = ties.values().flatten().next().map_or((0, 0), |edge| (edge.from, edge.at));
    Finding::new(&sources[at.0], at.1, lines.join("\n    "))
}
