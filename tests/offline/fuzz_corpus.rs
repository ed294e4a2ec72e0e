//! Every fuzz target, replayed without a fuzzer: each file of its corpus, and a
//! bounded number of seeded mutations of each. A failure names the file and
//! shows the input.
//!
//! A new target takes a body in `fuzz/bodies/`, a corpus beside it, and one line
//! in `targets!` below.

use std::{fs, panic, path::Path};

/// A module of each body, and a test of the same name.
macro_rules! targets {
    ($($name:ident: $body:literal,)*) => {
        $(
            #[path = $body]
            mod $name;

            #[test]
            fn $name() {
                replay(stringify!($name), $name::run);
            }
        )*
    };
}

targets! {
    deframe: "../../fuzz/bodies/deframe.rs",
    dialect: "../../fuzz/bodies/dialect.rs",
    engine: "../../fuzz/bodies/engine.rs",
    handshake: "../../fuzz/bodies/handshake.rs",
    session: "../../fuzz/bodies/session.rs",
}

/// Mutations of each file: what a second of test time can pay.
const MUTATIONS: usize = 300;
/// Changes in one mutation, at most.
const CHANGES: usize = 4;

fn replay(target: &str, run: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let entries = fs::read_dir(corpus.join(target)).expect("each target has a corpus");
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    let files: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).unwrap()).collect();

    let mut random = XorShift(0x9E37_79B9_7F4A_7C15);
    for (path, file) in paths.iter().zip(&files) {
        let name = path.file_name().unwrap().to_string_lossy();
        check(&name, file, run);
        for _ in 0..MUTATIONS {
            let other = &files[random.below(files.len())];
            check(&name, &mutate(file, other, &mut random), run);
        }
    }
}

fn check(name: &str, input: &[u8], run: fn(&[u8])) {
    let outcome = panic::catch_unwind(|| run(input));
    assert!(outcome.is_ok(), "from {name}: {}", input.escape_ascii());
}

/// `file` with a few bytes changed, cut, doubled, or taken from `other`.
fn mutate(file: &[u8], other: &[u8], random: &mut XorShift) -> Vec<u8> {
    let mut bytes = file.to_vec();
    for _ in 0..=random.below(CHANGES) {
        let at = random.below(bytes.len() + 1);
        let end = at + random.below(bytes.len() - at + 1);
        match random.below(6) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end.min(at + 8))),
            2 => bytes.insert(at, random.next() as u8),
            3 => bytes.extend_from_within(at..end.min(at + 64)),
            4 => drop(bytes.splice(at.., other.iter().skip(at).copied())),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
        }
    }
    bytes
}

/// Marsaglia's xorshift64: the same mutations on every machine.
struct XorShift(u64);

impl XorShift {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `bound`, which is not 0.
    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}
