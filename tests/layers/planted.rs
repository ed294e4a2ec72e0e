//! Violations planted in strings: each rule must find its own, at its line, and
//! nothing in what only looks like one.

use super::{
    BANNED_NAMES, BANNED_PATHS, BANNED_STARTS, CLOCKS, LAYERS, PANICS, PRINTS, UNFINISHED,
    paths::paths,
    rules::{self, Allowed, Finding},
    source::{Source, sources},
};

fn plant(path: &str, text: &str) -> Vec<Source> {
    sources(vec![(path.to_owned(), text.to_owned())])
}

fn shown(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(ToString::to_string).collect()
}

/// The places of `findings` are just `places`.
#[track_caller]
fn found(findings: &[Finding], places: &[&str]) {
    let shown = shown(findings);
    let all = shown.len() == places.len()
        && shown.iter().zip(places).all(|(line, place)| line.starts_with(&format!("{place}:")));
    assert!(all, "expected {places:?}, found {shown:#?}");
}

fn shipped(text: &str) -> String {
    plant("src/engine/x.rs", text).remove(0).shipped
}

fn named(path: &str, text: &str) -> Vec<String> {
    paths(&plant(path, text)[0]).into_iter().map(|named| named.path).collect()
}

#[test]
fn comments_and_literals_are_no_code() {
    for hidden in [
        "// dbg!",
        "/* dbg! /* nested */ dbg! */",
        "/// dbg!(1)",
        "\"dbg!\"",
        "\"\\\"dbg!\"",
        "b\"dbg!\"",
        "r\"dbg!\"",
        "r#\"a\"dbg!\"#",
        "br##\"\"#dbg!\"##",
        "c\"dbg!\"",
    ] {
        let text = format!("let a = 1; {hidden}\n; dbg!(a);");
        let findings = rules::banned_words(&plant("src/id.rs", &text), &UNFINISHED);
        found(&findings, &["src/id.rs:2"]);
    }
}

#[test]
fn a_quote_in_quotes_opens_no_string_and_a_lifetime_no_character() {
    for code in ["let q = '\"'; dbg!(q)", "let q = b'\"'; dbg!(q)", "let q = '\\''; dbg!('é')"] {
        assert!(shipped(code).contains("dbg!("), "{code}");
    }
    let code = "fn f<'a>(x: &'a str) -> &'a str { dbg!(x) }";
    assert_eq!(shipped(code), code);
    let raw = "let r#type = for_bar\"x\";";
    assert_eq!(shipped(raw), "let r#type = for_bar   ;");
}

#[test]
fn what_is_compiled_for_tests_is_not_shipped() {
    let text = "fn a() {}\n#[cfg(test)]\n#[allow(x)]\nmod tests { fn b() { {} } }\nfn c() {}\n\
        #[cfg(test)] use z::{y, x};\n#[cfg(test)] fn d(e: [u8; 2]) -> F { G }\nfn h() {}\n\
        #[cfg(all(test, feature = \"f\"))] const I: [u8; 1] = { [0] };\nfn j() {}";
    let words = shipped(text);
    let words: Vec<&str> = words.split_whitespace().collect();
    assert_eq!(words.join(" "), "fn a() {} fn c() {} fn h() {} fn j() {}");
}

#[test]
fn modules_declared_for_tests_are_not_shipped() {
    let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
    let sources = sources(vec![
        file("src/driver/mod.rs", "#[cfg(test)]\nmod contract;\npub mod tests;"),
        file("src/driver/contract/mod.rs", "dbg!()"),
        file("src/driver/contract/worlds.rs", "dbg!()"),
        file("src/driver/contractor.rs", "dbg!()"),
        file("src/driver/tests.rs", "dbg!()"),
        file("src/engine/core.rs", "#[cfg(test)]\npub(crate) mod tests;"),
        file("src/engine/core/tests.rs", "dbg!()"),
        file("src/engine/tests.rs", "dbg!()"),
    ]);
    let shipped: Vec<&str> = sources
        .iter()
        .filter(|source| source.shipped.contains("dbg!"))
        .map(|source| source.path.as_str())
        .collect();
    assert_eq!(shipped, ["src/driver/contractor.rs", "src/driver/tests.rs", "src/engine/tests.rs"]);
}

#[test]
fn paths_are_resolved_to_their_layer() {
    let text =
        "use super::{core::{Core, Now as T}, lag};\nuse crate::{id::{self, ConnId}, proto::*};";
    assert_eq!(
        named("src/engine/flush.rs", text),
        [
            "crate::engine::core::Core",
            "crate::engine::core::Now",
            "crate::engine::lag",
            "crate::id",
            "crate::id::ConnId",
            "crate::proto::*",
        ]
    );
    let text = "fn f(x: Vec<super::super::driver::Gone>) -> self::G { ::std::io::empty(); }";
    assert_eq!(
        named("src/engine/flush.rs", text),
        ["crate::driver::Gone", "crate::engine::flush::G", "std::io::empty"]
    );
    let text = "mod sync { use super::super::id::X; }\nuse super::id::Y;";
    assert_eq!(named("src/shard/mod.rs", text), ["crate::id::X", "crate::id::Y"]);
    assert_eq!(named("src/main.rs", "shardcast::server::run()"), ["crate::server::run"]);
}

#[test]
fn a_wrong_import_is_found() {
    let check = |path, text| rules::imports(&plant(path, text), LAYERS);
    let text = "use crate::{\n    id::ConnId,\n    driver::{Driver,\n        Gone},\n};";
    found(&check("src/engine/core.rs", text), &["src/engine/core.rs:3", "src/engine/core.rs:4"]);
    let text = "fn f() {\n    super::super::shard::stop();\n}";
    found(&check("src/relay/redis.rs", text), &["src/relay/redis.rs:2"]);
    found(&check("src/proto/close.rs", "use super::super::id::ConnId;"), &["src/proto/close.rs:1"]);
    found(&check("src/main.rs", "use shardcast::engine::Limits;"), &["src/main.rs:1"]);
    let text = "use super::frame;\n#[cfg(test)]\nmod tests { use crate::shard::Engine; }";
    found(&check("src/proto/close.rs", text), &[]);
}

#[test]
fn the_root_of_the_crate_is_no_way_around() {
    for text in ["use crate::Limits;", "use crate::*;", "use crate::{Engine as E};"] {
        let findings = rules::imports(&plant("src/proto/mask.rs", text), LAYERS);
        found(&findings, &["src/proto/mask.rs:1"]);
    }
}

#[test]
fn a_file_of_no_layer_is_found() {
    let check = |path| rules::homeless(&plant(path, ""), LAYERS);
    found(&check("src/metrics.rs"), &["src/metrics.rs:1"]);
    found(&check("src/metrics/mod.rs"), &["src/metrics/mod.rs:1"]);
    found(&check("src/engine/metrics.rs"), &[]);
    found(&check("loadtest/src/metrics.rs"), &[]);
}

#[test]
fn a_package_that_a_layer_stands_without_is_found() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\nserde_json = \"1\"\n\
        hyper-util = { version = \"1\" }\nbytes.workspace = true\n[dev-dependencies]\nloom = \"1\"\n\
        [profile.dev]\nopt-level = 1";
    let packages = rules::dependencies(manifest);
    assert!(packages.iter().eq(["bytes", "hyper_util", "loom", "serde_json"]));
    let check = |path, text| rules::packages(&plant(path, text), LAYERS, &packages);
    found(
        &check("src/engine/conn.rs", "use bytes::Bytes;\nuse hyper_util::rt;"),
        &["src/engine/conn.rs:2"],
    );
    found(&check("src/id.rs", "fn f() { serde_json::to_string(1) }"), &["src/id.rs:1"]);
    found(&check("src/shard/turn.rs", "use hyper_util::rt;"), &[]);
}

#[test]
fn a_banned_path_is_found_however_it_is_written() {
    let check = |path, text| rules::banned_paths(&plant(path, text), LAYERS, BANNED_PATHS);
    for text in [
        "use std::net::TcpStream;",
        "use std::{net::{SocketAddr, UdpSocket}, sync::Arc};",
        "use std::net::*;",
        "use std::net;",
        "use std::thread;",
        "use std::{fs as files};",
        "fn f() -> std::io::Result<()> {}",
        "use std::time::{Duration, Instant};",
        "use std::sync::{Arc, Mutex};",
        "use std::{sync::atomic::{AtomicU64}};",
    ] {
        found(&check("src/engine/core.rs", text), &["src/engine/core.rs:1"]);
        found(&check("src/proto/core.rs", text), &["src/proto/core.rs:1"]);
        found(&check("src/dialect/core.rs", text), &["src/dialect/core.rs:1"]);
    }
    found(&check("src/engine/process/directory.rs", "use std::sync::{Arc, RwLock};"), &[]);
    found(&check("src/engine/core.rs", "use std::net::{IpAddr, Ipv6Addr, SocketAddr};"), &[]);
    found(&check("src/driver/epoll/mod.rs", "use std::{io, net::TcpListener};"), &[]);
    let relay = "use crate::relay::{Relay, redis::RedisRelay};";
    found(&check("src/shard/builder.rs", relay), &["src/shard/builder.rs:1"]);
}

#[test]
fn a_clock_is_found_outside_of_its_file() {
    let text = "use std::time::Instant;\nlet a = Instant::now();\nlet b = a.elapsed();";
    let check = |path| rules::banned_words(&plant(path, text), &CLOCKS);
    found(&check("src/shard/turn.rs"), &["src/shard/turn.rs:2", "src/shard/turn.rs:3"]);
    for file in ["src/shard/clock.rs", "src/server/http.rs", "loadtest/src/main.rs"] {
        found(&check(file), &[]);
    }
}

#[test]
fn unsafe_code_is_found_unless_named_and_explained() {
    let bare = "//! Head.\nfn f() {\n    unsafe { g() }\n}";
    let noted = "//! Head.\nfn f() {\n    // SAFETY: the ring owns it.\n    // For ever.\n    unsafe { g() }\n}";
    let file = "src/driver/uring/ring.rs";
    found(&rules::unsafe_code(&plant(file, noted), &[]), &["src/driver/uring/ring.rs:5"]);
    found(&rules::unsafe_code(&plant(file, bare), &[file]), &["src/driver/uring/ring.rs:3"]);
    found(&rules::unsafe_code(&plant(file, noted), &[file]), &[]);
    found(&rules::unsafe_code(&plant(file, "#![deny(unsafe_code)]\n// unsafe"), &[]), &[]);
}

#[test]
fn prints_and_leftovers_are_found() {
    let text = "fn f() {\n    println!();\n    eprintln!();\n    write!(f, \"println!\");\n}";
    let check = |path| rules::banned_words(&plant(path, text), &PRINTS);
    found(&check("src/engine/core.rs"), &["src/engine/core.rs:2", "src/engine/core.rs:3"]);
    found(&check("src/server/cli.rs"), &[]);
    let text = "todo!()\n;unimplemented!()\n;#[cfg(test)] mod tests { fn f() { dbg!() } }";
    let findings = rules::banned_words(&plant("loadtest/src/main.rs", text), &UNFINISHED);
    assert_eq!(findings.len(), 3);
}

#[test]
fn a_panic_is_found_unless_it_is_allowed_at_that_line() {
    let text = "/// a.unwrap()\nfn f() {\n    a.unwrap();\n    b.expect(\"c\");\n    a.unwrap_or(b);\n    \
        a.expect_err(b);\n    a.map(Option::unwrap);\n}\n#[cfg(test)]\nmod tests { fn g() { panic!() } }";
    let sources = plant("src/proto/utf8.rs", text);
    let lines = ["src/proto/utf8.rs:3", "src/proto/utf8.rs:7", "src/proto/utf8.rs:4"];
    found(&rules::banned_words(&sources, &PANICS), &lines);
    let allowed = |line| [Allowed { file: "src/proto/utf8.rs", line, why: "known" }];
    let check =
        |line| rules::excuse(rules::banned_words(&sources, &PANICS), &sources, &allowed(line));
    found(&check("b.expect("), &lines[..2]);
    let in_vain = shown(&check("d.expect("));
    assert!(in_vain.last().unwrap().contains("not there"), "{in_vain:?}");
    found(&rules::banned_words(&plant("src/server/http.rs", text), &PANICS), &[]);
}

#[test]
fn long_files_and_functions_are_found() {
    let text = "fn f() {\n\n}\n\nfn g(a: [u8; 2]) -> B {\n    {\n    }\n    fn h() {}\n}\ntrait T { fn i(); }\n";
    let sources = plant("src/id.rs", text);
    found(&rules::long_files(&sources, 9, &[]), &["src/id.rs:10"]);
    found(&rules::long_files(&sources, 10, &[]), &[]);
    found(&rules::long_files(&sources, 9, &["src/id.rs"]), &[]);
    found(&rules::long_functions(&sources, 4), &["src/id.rs:5"]);
    found(&rules::long_functions(&sources, 5), &[]);
}

#[test]
fn tests_do_not_lengthen_what_they_test() {
    let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
    let tested =
        "fn f() {}\n\n#[cfg(test)]\nmod tests {\n    #[cfg(test)]\n    use x::y;\n\n}\nfn g() {}\n";
    let sources = sources(vec![
        file("src/id.rs", tested),
        file("src/publication.rs", "fn f() {}\n\n\n\n#[cfg(test)]\nmod tests;\n"),
        file("src/publication/tests.rs", "\n\n\n\n\n\n\n"),
        file("src/batch.rs", "fn f() {}"),
        file("loadtest/src/main.rs", "\n\n\n\n\n\n"),
    ]);
    found(
        &rules::long_files(&sources, 3, &[]),
        &["loadtest/src/main.rs:4", "src/publication.rs:4", "src/publication/tests.rs:4"],
    );
    assert_eq!(rules::median_lines(&sources, "src/"), 3);
}

#[test]
fn a_missing_head_is_found() {
    found(&rules::headless(&plant("src/id.rs", "// Head.\nuse x;")), &["src/id.rs:1"]);
    found(&rules::headless(&plant("src/id.rs", "//! Head.\nuse x;")), &[]);
}

#[test]
fn names_that_say_nothing_are_found() {
    let check = |path, text| rules::names(&plant(path, text), BANNED_NAMES, BANNED_STARTS, &[]);
    found(&check("src/engine/util.rs", ""), &["src/engine/util.rs:1"]);
    found(&check("src/utils/mask.rs", ""), &["src/utils/mask.rs:1"]);
    for text in [
        "struct RoomManager;",
        "fn send_helper() {}",
        "mod common {}",
        "struct A { common: B }",
        "let mut util = 1;",
        "use a::b as Helper;",
        "fn get_room() {}",
    ] {
        found(&check("src/id.rs", text), &["src/id.rs:1"]);
    }
    let text = "use hyper_util::rt;\nfn get() { x.get_mut(); common::y(); uncommon(); }\nlet budget_x = 1;";
    found(&check("src/id.rs", text), &[]);
    let sources = plant("src/id.rs", "struct Common;");
    found(&rules::names(&sources, BANNED_NAMES, BANNED_STARTS, &[("Common", "known")]), &[]);
}
