//! Circles of files and imports against an order planted in strings, and what only
//! looks like one.

use super::{
    circles::{circles, edges},
    rooms::out_of_order,
    source::{Source, sources},
};

/// `files`, and the root of a crate for them.
fn plant(files: &[(&str, &str)]) -> Vec<Source> {
    let has_root = files.iter().any(|(path, _)| *path == "src/lib.rs");
    let root = (!has_root).then_some(("src/lib.rs", ""));
    let files = files.iter().copied().chain(root);
    sources(files.map(|(path, text)| (path.to_owned(), text.to_owned())).collect())
}

/// The imports of `files`: from, to, name.
fn imports(files: &[(&str, &str)]) -> Vec<String> {
    let sources = plant(files);
    let shown =
        |file: usize| sources[file].path.trim_end_matches(".rs").rsplit_once("src/").unwrap().1;
    edges(&sources)
        .iter()
        .map(|edge| format!("{} {} {}", shown(edge.from), shown(edge.to), edge.name))
        .collect()
}

/// The circles of `files`, as text.
fn found(files: &[(&str, &str)]) -> Vec<String> {
    circles(&plant(files)).iter().map(ToString::to_string).collect()
}

#[test]
fn a_circle_of_two_is_found_with_the_names_that_tie_it() {
    let found = found(&[
        ("src/proto/close.rs", "use super::error::ProtocolError;\npub struct CloseCode;"),
        ("src/proto/error.rs", "pub enum ProtocolError {}\n\nfn f(_: super::close::CloseCode) {}"),
        ("src/proto/mask.rs", "use super::close::CloseCode;"),
        ("src/proto/mod.rs", "mod close;\nmod error;\nmod mask;"),
    ]);
    let expected = "src/proto/close.rs:1: in a circle of 2 files\n    \
        src/proto/close.rs -> src/proto/error.rs, 2 round: ProtocolError (line 1)\n    \
        src/proto/error.rs -> src/proto/close.rs, 2 round: CloseCode (line 3)";
    assert_eq!(found, [expected]);
}

#[test]
fn a_circle_of_three_is_found_however_its_imports_are_written() {
    let found = found(&[
        ("src/engine/a.rs", "use crate::{id::X, engine::{b::{B, c}, d}};\npub struct A;"),
        ("src/engine/b.rs", "use super::c;\npub struct B(c::C);"),
        ("src/engine/c.rs", "pub struct C;\nfn f() -> u8 { super::super::engine::a::A::new() }"),
        ("src/engine/d.rs", "pub struct D;"),
        ("src/engine/mod.rs", "mod a;\nmod b;\nmod c;\nmod d;"),
    ]);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].contains("circle of 3 files"), "{found:#?}");
    assert!(found[0].contains("a.rs -> src/engine/b.rs, 3 round: B (line 1)"), "{found:#?}");
    assert!(found[0].contains("b.rs -> src/engine/c.rs, 3 round: C (line 2)"), "{found:#?}");
    assert!(found[0].contains("c.rs -> src/engine/a.rs, 3 round: A (line 2)"), "{found:#?}");
}

#[test]
fn a_circle_through_re_exports_is_tied_by_the_files_that_define_the_names() {
    let parent = ("src/shard/mod.rs", "mod a;\nmod b;\npub use a::A;\npub(crate) use self::b::*;");
    let found = found(&[
        ("src/shard/a.rs", "use super::B;\npub struct A;"),
        ("src/shard/b.rs", "pub struct B;\nfn f(_: crate::handle::Renamed) {}"),
        ("src/lib.rs", "mod shard;\npub mod handle;"),
        ("src/handle.rs", "pub use crate::shard::A as Renamed;"),
        parent,
    ]);
    assert_eq!(found.len(), 1, "{found:#?}");
    let lines: Vec<&str> = found[0].lines().skip(1).map(str::trim).collect();
    assert_eq!(
        lines,
        [
            "src/shard/a.rs -> src/shard/b.rs, 2 round: B (line 1)",
            "src/shard/b.rs -> src/shard/a.rs, 2 round: A (line 2)",
        ]
    );
}

#[test]
fn a_parent_that_declares_and_re_exports_its_children_is_in_no_circle() {
    let child = ("src/driver/epoll.rs", "use super::{Driver, Gone};\npub struct Epoll;");
    let text = "pub mod epoll;\npub use epoll::Epoll;\npub trait Driver { fn epoll(&self); }\n\
        pub enum Gone {}\nfn f(x: &X) { x.epoll().Epoll }";
    assert_eq!(found(&[("src/driver/mod.rs", text), child]), [""; 0]);
    assert_eq!(
        imports(&[("src/driver/mod.rs", text), child]),
        ["driver/epoll driver/mod Driver", "driver/epoll driver/mod Gone"]
    );
}

#[test]
fn a_parent_whose_own_code_uses_what_its_children_define_is_in_a_circle() {
    let child = ("src/driver/epoll.rs", "use super::Driver;\npub struct Epoll;");
    for uses in [
        "pub use epoll::Epoll;\nfn f() -> Epoll { g() }",
        "use self::epoll::Epoll;",
        "fn f() { epoll::Epoll::new() }",
        "pub use epoll::Epoll as E;\nfn f(_: &mut E) {}",
        "pub use epoll::*;\nimpl Epoll {}",
    ] {
        let text = format!("mod epoll;\npub trait Driver {{}}\n{uses}");
        let found = found(&[("src/driver/mod.rs", &text), child]);
        assert_eq!(found.len(), 1, "{uses}");
        assert!(found[0].contains("circle of 2 files"), "{found:#?}");
    }
}

#[test]
fn a_re_export_of_what_is_not_below_is_an_import() {
    let found = found(&[
        ("src/engine/a.rs", "pub use super::b::B;\npub struct A;"),
        ("src/engine/b.rs", "pub struct B(super::a::A);"),
    ]);
    assert_eq!(found.len(), 1, "{found:#?}");
}

#[test]
fn tests_close_no_circle_with_what_they_test_but_among_themselves() {
    let tied = "use super::b::g;\npub fn f() {}";
    let found = found(&[
        ("src/engine/a.rs", "pub struct A;\n#[cfg(test)]\nmod tests { use super::super::b::B; }"),
        ("src/engine/b.rs", "use super::a::A;\npub struct B;\n#[cfg(test)]\nmod tests;"),
        ("src/engine/b/tests.rs", "mod x;\nmod y;\nuse super::*;\nfn f(_: B, _: A) {}"),
        ("src/engine/b/tests/a.rs", tied),
        ("src/engine/b/tests/b.rs", "use super::a::f;\npub fn g() {}"),
    ]);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with("src/engine/b/tests/a.rs:1: in a circle of 2"), "{found:#?}");
}

#[test]
fn names_lead_to_the_file_that_a_compiler_would_find() {
    let lib = ("src/lib.rs", "mod engine;\nmod id;");
    let id = ("src/id.rs", "pub struct Id;\npub mod wire { pub struct Raw; }\nnumbers! { Small }");
    let parent = ("src/engine/mod.rs", "mod core;\nmod x;\npub use core::Core;");
    let core = ("src/engine/core.rs", "pub struct Core;\npub fn id() {}\nimpl Core { fn x() {} }");
    let check = |text: &str, expected: &[&str]| {
        let found = imports(&[lib, id, parent, core, ("src/engine/x.rs", text)]);
        let expected: Vec<String> =
            expected.iter().map(|import| format!("engine/x {import}")).collect();
        assert_eq!(found, expected, "{text}");
    };
    // Not the `core` beside it: that is the standard library's.
    check("fn f() { core::mem::swap() }", &[]);
    check("use std::io;\nfn f() { io::Core::x() }", &[]);
    check("use super::core;\nfn f() { core::Core::x() }", &["engine/core Core"]);
    check("use super::core as c;\nfn f() { c::id() }", &["engine/core id"]);
    check("use super::Core as Id;\nfn f() { Id::x() }", &["engine/core Core"]);
    check("use crate::id::wire::Raw;", &["id Raw"]);
    check("use crate::id::{self, wire};\nfn f(_: wire::Raw, _: id::Id) {}", &["id Id", "id Raw"]);
    check("use crate::id::Small;", &["id Small"]);
    check("use super::*;\nfn f(_: Core) {}", &["engine/core Core"]);
    check("mod inner {\n use super::super::Core;\n}\nuse crate::id;", &["engine/core Core"]);
    check("fn f() {\n use crate::id;\n id::Id::new();\n}", &["id Id"]);
    check(
        "fn f(x: Vec<crate::id::Id>) -> <u8 as super::core::Core>::Y {}",
        &["engine/core Core", "id Id"],
    );
    check("struct Own;\nfn f() { Own::new(); self::Own::new(); Self::x(); u8::MAX }", &[]);
    check("pub(in crate::engine) fn f() {}\nuse super::x::Own;", &[]);
    check("// use crate::id::Id;\nconst A: &str = \"crate::id::Id\";", &[]);
}

#[test]
fn a_binary_names_its_library_by_the_name_of_the_package() {
    let files = [
        ("src/lib.rs", "pub mod server;\npub use server::Settings;"),
        ("src/server.rs", "pub struct Settings;\nuse crate::main::X;"),
        ("src/main.rs", "use shardcast::{Settings, server};\nfn main() { server::run() }"),
        ("loadtest/src/main.rs", "mod cli;\nuse cli::Plan;\nfn main(_: crate::cli::Level) {}"),
        ("loadtest/src/cli.rs", "pub struct Plan;\npub enum Level {}"),
    ];
    let expected = ["cli Plan", "cli Level", "server Settings", "server run"];
    let mut found = imports(&files);
    found.sort();
    for import in expected {
        assert!(found.iter().any(|line| *line == format!("main {import}")), "{import}: {found:#?}");
    }
    assert_eq!(found.iter().filter(|line| line.starts_with("main ")).count(), 4, "{found:#?}");
}

const ROOMS: &[&str] = &["shard_engine", "fanout", "state"];

/// What is out of order in the engine, each file of which is `files` or empty.
fn disorder(files: &[(&str, &str)]) -> Vec<String> {
    let rooms = [
        (
            "src/engine/mod.rs",
            "mod fanout;\nmod shard_engine;\nmod state;\npub use state::log::Log;",
        ),
        ("src/engine/shard_engine.rs", "pub struct ShardEngine;"),
        ("src/engine/fanout/mod.rs", "mod flush;\nmod gather;"),
        ("src/engine/fanout/flush.rs", "pub struct Outlet;"),
        ("src/engine/state/mod.rs", "mod log;\nmod timers;"),
        ("src/engine/state/log.rs", "pub struct Log;"),
    ];
    let empty = rooms.iter().filter(|(path, _)| !files.iter().any(|(own, _)| own == path));
    let files: Vec<(&str, &str)> = empty.chain(files).copied().collect();
    let findings = out_of_order(&plant(&files), "src/engine/", ROOMS);
    findings.iter().map(ToString::to_string).collect()
}

#[test]
fn a_room_imports_from_itself_and_from_below() {
    let gather = "use super::flush::Outlet;\nuse crate::{engine::Log, id::Id};";
    let engine = "use super::{fanout::flush::Outlet, state::log};\nfn f(_: log::Log) {}";
    let found = disorder(&[
        ("src/engine/fanout/gather.rs", gather),
        ("src/engine/shard_engine.rs", engine),
        ("src/id.rs", "pub struct Id;"),
        ("src/shard.rs", "use crate::engine::Log;"),
    ]);
    assert_eq!(found, [""; 0]);
}

#[test]
fn an_import_from_a_room_above_is_found_however_it_is_written() {
    for text in [
        "use super::super::fanout::flush::Outlet;",
        "fn f(_: crate::engine::fanout::flush::Outlet) {}",
        "use crate::engine::fanout::flush;\nfn f(_: flush::Outlet) {}",
    ] {
        let found = disorder(&[("src/engine/state/timers.rs", text)]);
        assert_eq!(found.len(), 1, "{text}: {found:#?}");
        let what = "`state` is below `fanout`: Outlet of src/engine/fanout/flush.rs";
        assert!(found[0].contains(what), "{found:#?}");
    }
    let parent = "mod fanout;\npub use fanout::flush::Outlet;\npub struct Now;";
    let found = disorder(&[
        ("src/engine/mod.rs", parent),
        ("src/engine/state/timers.rs", "use super::super::Outlet;\nuse crate::engine::Now;"),
    ]);
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].contains("`state` is below `fanout`: Outlet"), "{found:#?}");
    assert!(found[1].contains("`state` is below `mod.rs`: Now of"), "{found:#?}");
}

#[test]
fn tests_of_a_room_import_from_above() {
    let above = "use crate::engine::fanout::flush::Outlet;";
    let own = format!("#[cfg(test)]\nmod tests {{ {above} }}\n#[cfg(test)]\nmod drive;");
    let found = disorder(&[
        ("src/engine/state/log.rs", &format!("pub struct Log;\n{own}")),
        ("src/engine/state/log/drive.rs", above),
    ]);
    assert_eq!(found, [""; 0]);
}

#[test]
fn rooms_and_the_table_of_them_are_the_same() {
    let found = disorder(&[("src/engine/limits.rs", "")]);
    assert_eq!(found, ["src/engine/limits.rs:1: of no room in src/engine/"]);
    let files = [("src/engine/state/log.rs", "pub struct Log;")];
    let findings = out_of_order(&plant(&files), "src/engine/", &["fanout", "state"]);
    let found: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert_eq!(found, ["src/engine/:1: `fanout` is in the order of rooms, but not in src/engine/"]);
    assert!(out_of_order(&plant(&files), "src/engine/", &[]).is_empty());
}
