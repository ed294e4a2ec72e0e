//! The architecture as data, held against the sources. Each rule is a test of
//! its own and names the file, the line and the reason.
//!
//! `layers/source.rs` reads files, `layers/paths.rs` what they name,
//! `layers/modules.rs` finds the file that defines it, `layers/circles.rs` which
//! files import in a circle, `layers/rooms.rs` which against an order,
//! `layers/rules.rs` says what each other kind of rule means; this file has the
//! data.

#[path = "layers/circles.rs"]
mod circles;
#[path = "layers/modules.rs"]
mod modules;
#[path = "layers/paths.rs"]
mod paths;
#[path = "layers/planted.rs"]
mod planted;
#[path = "layers/planted_circles.rs"]
mod planted_circles;
#[path = "layers/rooms.rs"]
mod rooms;
#[path = "layers/rules.rs"]
mod rules;
#[path = "layers/source.rs"]
mod source;

use std::{fs, path::Path};

use rules::{Allowed, BannedPath, BannedWord, Finding, Layer, Packages};
use source::Source;

const LAYERS: &[Layer] = &[
    // The values that cross threads.
    Layer { name: "id", layers: &[], packages: Packages::These(&[]) },
    Layer { name: "copy", layers: &[], packages: Packages::These(&["bytes"]) },
    Layer { name: "batch", layers: &[], packages: Packages::These(&["bytes"]) },
    Layer {
        name: "publication",
        layers: &["id"],
        packages: Packages::These(&["bytes", "serde", "serde_json"]),
    },
    // Blind to each other.
    Layer {
        name: "proto",
        layers: &["copy"],
        packages: Packages::These(&[
            "bytes",
            "flate2",
            "httparse",
            "simdutf8",
            "smallvec",
            "tungstenite",
        ]),
    },
    Layer {
        name: "dialect",
        layers: &["cluster", "copy", "id", "publication"],
        packages: Packages::These(&["bytes", "serde", "serde_json", "simdutf8", "smallvec"]),
    },
    Layer {
        name: "driver",
        layers: &["batch", "copy", "id"],
        packages: Packages::These(&[
            "bytes", "io_uring", "io_uring", "libc", "mio", "rustix", "slab", "smallvec",
            "socket2", "tracing",
        ]),
    },
    // What shards and the relay tell each other.
    Layer { name: "cluster", layers: &["id", "publication"], packages: Packages::These(&[]) },
    Layer {
        name: "relay",
        layers: &["cluster", "copy", "id", "publication"],
        packages: Packages::All,
    },
    // What a connection, a room and a turn are.
    Layer {
        name: "engine",
        layers: &["proto", "dialect", "batch", "cluster", "copy", "id", "publication"],
        packages: Packages::These(&[
            "bytes",
            "foldhash",
            "hashbrown",
            "serde",
            "serde_json",
            "simd_json",
            "slab",
            "smallvec",
            "tracing",
        ]),
    },
    // The only place where a driver meets the engine.
    Layer {
        name: "shard",
        layers: &["engine", "driver", "batch", "cluster", "id", "publication", "dialect", "relay"],
        packages: Packages::All,
    },
    Layer {
        name: "server",
        layers: &[
            "shard",
            "engine",
            "driver",
            "relay",
            "proto",
            "dialect",
            "batch",
            "cluster",
            "id",
            "publication",
        ],
        packages: Packages::All,
    },
    Layer {
        name: "main",
        layers: &["server"],
        // The program's allocator is the program's choice.
        packages: Packages::These(&["libmimalloc_sys", "mimalloc", "tikv_jemallocator"]),
    },
    // Re-exports.
    Layer {
        name: "lib",
        layers: &[
            "cluster",
            "copy",
            "server",
            "shard",
            "engine",
            "driver",
            "relay",
            "proto",
            "dialect",
            "batch",
            "id",
            "publication",
        ],
        packages: Packages::These(&[]),
    },
];

/// The folders of `src/engine/` from the top to the leaves: a file imports only from
/// its own and those below.
const ENGINE_ROOMS: &[&str] = &[
    "shard_engine",
    "dispatch",
    "fanout",
    "lifecycle",
    "backpressure",
    "state",
    "process",
    "types",
];

/// The layers that take bytes and time and return values.
const PURE: &[&str] =
    &["engine", "proto", "dialect", "id", "publication", "batch", "cluster", "copy"];
/// All but the shards and the product, which start threads.
const THREADLESS: &[&str] =
    &["engine", "proto", "dialect", "id", "publication", "batch", "cluster", "copy", "driver"];

const BANNED_PATHS: &[BannedPath] = &[
    BannedPath {
        path: "std::net",
        but: &[
            "std::net::SocketAddr",
            "std::net::IpAddr",
            "std::net::Ipv4Addr",
            "std::net::Ipv6Addr",
        ],
        layers: PURE,
        not_in: &[],
        why: "addresses are values, sockets are the driver's",
    },
    BannedPath {
        path: "std::io",
        but: &[],
        layers: PURE,
        not_in: &[],
        why: "bytes come as arguments and go as values",
    },
    BannedPath {
        path: "std::fs",
        but: &[],
        layers: &["engine", "proto", "dialect", "id", "publication", "batch", "driver", "shard"],
        // The kernel tells its settings by files.
        not_in: &["src/driver/uring/probe.rs"],
        why: "files are the product's",
    },
    BannedPath {
        path: "std::env",
        but: &[],
        layers: &["engine", "proto", "dialect", "id", "publication", "batch", "driver", "shard"],
        not_in: &[],
        why: "settings come as arguments",
    },
    BannedPath {
        path: "std::thread",
        but: &[],
        layers: THREADLESS,
        not_in: &[],
        why: "threads are the shards'",
    },
    BannedPath {
        path: "std::time",
        but: &["std::time::Duration"],
        layers: PURE,
        not_in: &[],
        why: "time is an argument",
    },
    BannedPath {
        path: "std::sync",
        but: &["std::sync::Arc", "std::sync::Weak"],
        layers: &["engine", "proto", "dialect"],
        // What the shards of a process share.
        not_in: &["src/engine/process/"],
        why: "no lock and no atomic on the path of a message",
    },
    BannedPath {
        path: "crate::relay::redis",
        but: &[],
        layers: &["shard"],
        not_in: &[],
        why: "shards know the relay's seam, not what is behind it",
    },
];

/// What is ours. The rules on layers look at `src/` only.
const OURS: &[&str] = &["src/", "loadtest/src/"];

const CLOCKS: BannedWord = BannedWord {
    words: &["Instant::now", "SystemTime::now", ".elapsed("],
    in_tests: false,
    within: &["src/"],
    // `scarcity.rs` reads it when accepting fails, for its lines in the log.
    not_in: &["src/shard/clock.rs", "src/relay/clock.rs", "src/server/", "src/driver/scarcity.rs"],
    why: "the clock is read once per turn, in src/shard/clock.rs or src/relay/clock.rs",
};

const PRINTS: BannedWord = BannedWord {
    words: &["println!", "print!", "eprintln!", "eprint!"],
    in_tests: true,
    within: &["src/"],
    not_in: &["src/server/", "src/main.rs"],
    why: "a library does not write to the terminal",
};

const UNFINISHED: BannedWord = BannedWord {
    words: &["todo!", "unimplemented!", "dbg!"],
    in_tests: true,
    within: OURS,
    not_in: &[],
    why: "unfinished work",
};

const PANICS: BannedWord = BannedWord {
    words: &[".unwrap()", "::unwrap", ".expect(", "panic!", "unreachable!"],
    in_tests: false,
    within: &["src/proto/", "src/dialect/", "src/engine/", "src/driver/", "src/shard/"],
    not_in: &[],
    why: "nothing that a peer sends may panic: return an error, or state the invariant in the type",
};

const PANICS_ALLOWED: &[Allowed] = &[Allowed {
    file: "src/shard/sim.rs",
    line: "panic!(\"a shard never comes to rest\")",
    why: "a test bed reports a bug to its test, and its documentation says so",
}];

/// Each is a file of `src/driver/`, but for the program's, which sets its allocator up.
// `unsent.rs` has one call: no package that is in use here wraps SIOCOUTQ.
const UNSAFE_FILES: &[&str] = &[
    "src/driver/unsent.rs",
    "src/driver/uring/buffers.rs",
    "src/driver/uring/ring/completions.rs",
    "src/driver/uring/ring/mod.rs",
    "src/driver/uring/ring/operations.rs",
    "src/main.rs",
];

const FILE_LINES: usize = 500;
const MEDIAN_LINES: usize = 220;
const FUNCTION_LINES: usize = 70;
/// Files that are one static table, of whatever length.
const STATIC_TABLES: &[&str] = &[];

const BANNED_NAMES: &[&str] = &["util", "utils", "common", "helper", "helpers", "manager"];
const BANNED_STARTS: &[&str] = &["get_"];
/// Names that are banned and right all the same, with the reason.
const NAMES_ALLOWED: &[(&str, &str)] = &[];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The crate and the load test.
fn ours() -> Vec<Source> {
    let sources = source::read(root(), &["src", "loadtest/src"]);
    assert!(sources.len() > 50, "the sources are not where they are looked for");
    sources
}

#[track_caller]
fn none(findings: &[Finding]) {
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{} findings:\n{}", lines.len(), lines.join("\n"));
}

#[test]
fn every_file_is_of_a_layer() {
    none(&rules::homeless(&ours(), LAYERS));
}

#[test]
fn layers_import_only_what_is_below_them() {
    none(&rules::imports(&ours(), LAYERS));
}

#[test]
fn no_files_import_in_a_circle() {
    none(&circles::circles(&ours()));
}

#[test]
fn rooms_of_the_engine_import_only_from_those_below() {
    none(&rooms::out_of_order(&ours(), "src/engine/", ENGINE_ROOMS));
}

#[test]
fn layers_use_only_their_packages() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    none(&rules::packages(&ours(), LAYERS, &rules::dependencies(&manifest)));
}

#[test]
fn pure_layers_have_no_sockets_threads_files_or_locks() {
    none(&rules::banned_paths(&ours(), LAYERS, BANNED_PATHS));
}

#[test]
fn the_clock_is_read_in_one_place() {
    none(&rules::banned_words(&ours(), &CLOCKS));
}

#[test]
fn unsafe_code_is_only_where_it_is_expected() {
    for file in UNSAFE_FILES {
        assert!(file.starts_with("src/driver/") || *file == "src/main.rs", "{file}");
    }
    none(&rules::unsafe_code(&ours(), UNSAFE_FILES));
}

#[test]
fn only_the_product_prints() {
    none(&rules::banned_words(&ours(), &PRINTS));
}

#[test]
fn nothing_is_left_unfinished() {
    none(&rules::banned_words(&ours(), &UNFINISHED));
}

#[test]
fn nothing_panics_on_what_a_peer_sends() {
    let sources = ours();
    let findings = rules::banned_words(&sources, &PANICS);
    none(&rules::excuse(findings, &sources, PANICS_ALLOWED));
}

#[test]
fn files_are_short() {
    none(&rules::long_files(&ours(), FILE_LINES, STATIC_TABLES));
}

#[test]
fn most_files_are_shorter() {
    let median = rules::median_lines(&ours(), "src/");
    assert!(median <= MEDIAN_LINES, "the median file has {median} lines");
}

#[test]
fn functions_are_short() {
    none(&rules::long_functions(&ours(), FUNCTION_LINES));
}

#[test]
fn every_module_says_what_it_is_for() {
    none(&rules::headless(&ours()));
}

#[test]
fn names_say_something() {
    none(&rules::names(&ours(), BANNED_NAMES, BANNED_STARTS, NAMES_ALLOWED));
}
