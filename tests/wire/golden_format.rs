//! That the golden conversations are well formed and their reader judges rightly.

use std::{fs, path::Path};

use serde::de::IgnoredAny;
use shardcast::dialect::Dialect;

use crate::conversation::{Action, Captures, Conversation, Pattern};

const UUID: &str = "01234567-89ab-8def-8123-456789abcdef";
const OTHER_UUID: &str = "11234567-89ab-8def-8123-456789abcdef";

/// Every file of the dialect's folder: its path and its text.
fn files(dialect: Dialect) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(dialect.name());
    fs::read_dir(folder)
        .expect("a folder for each dialect")
        .map(|entry| entry.expect("a readable folder").path())
        .map(|path| (path.display().to_string(), fs::read_to_string(path).expect("a text file")))
        .collect()
}

#[test]
fn every_conversation_is_well_formed() {
    let all = Dialect::ALL.iter().flat_map(|&dialect| files(dialect));
    for (path, text) in all {
        let conversation = Conversation::parse(&text).unwrap_or_else(|why| panic!("{path}: {why}"));
        assert!(!conversation.steps.is_empty(), "{path}: no steps");
        for step in &conversation.steps {
            if let Action::Connect(Some(dialect)) = &step.action {
                assert!(Dialect::by_name(dialect).is_some(), "{path}:{}: {dialect}", step.line);
            }
        }
    }
}

#[test]
fn every_error_of_the_guide_is_in_a_conversation() {
    let all: String = files(Dialect::Pubsub).into_iter().map(|(_, text)| text).collect();
    for words in [
        "invalid JSON format",
        "unknown message type",
        "room name is required",
        "not subscribed to this room",
        "room is at maximum capacity",
        "server is at maximum capacity",
    ] {
        assert!(all.contains(&format!(r#"{{"type":"error","error":"{words}","timestamp":$T}}"#)));
    }
}

#[test]
fn every_action_is_read() {
    let text = "# title\n! --a 1 --b\n\nA connect\nB connect raw\nA >\nA >  x \nA >x 00 fF\n\
                A < $1\nB <x 0a0b\nA close\nA closed 1000\n";
    let conversation = Conversation::parse(text).unwrap();
    assert_eq!(conversation.title, "title");
    assert_eq!(conversation.flags, ["--a", "1", "--b"]);
    let (lines, actions): (Vec<_>, Vec<_>) =
        conversation.steps.into_iter().map(|step| (step.line, step.action)).unzip();
    assert_eq!(lines, (4..=12).collect::<Vec<_>>());
    let expected = [
        Action::Connect(None),
        Action::Connect(Some("raw".to_owned())),
        Action::SendText(String::new()),
        Action::SendText(" x ".to_owned()),
        Action::SendBinary(vec![0, 0xFF]),
        Action::ReceiveText(Pattern::parse("$1")),
        Action::ReceiveBinary(vec![10, 11]),
        Action::Close,
        Action::Closed(1000),
    ];
    assert_eq!(actions, expected);
}

#[test]
fn what_is_not_in_the_format_is_named_with_its_line() {
    for (text, why) in [
        ("A connect\n", "no comment"),
        ("# t\nA > x\n", "line 2: A is not connected"),
        ("# t\nA connect\nA connect\n", "line 3"),
        ("# t\nA connect\nA closed 1000\nA > x\n", "line 4"),
        ("# t\nA connect\n! --x\n", "line 3"),
        ("# t\nT connect\n", "line 2"),
        ("# t\na connect\n", "line 2"),
        ("# t\nA connect\nA say x\n", "line 3"),
        ("# t\nA connect\nA >x 0\n", "line 3"),
        ("# t\nA connect\nA closed soon\n", "line 3"),
    ] {
        let error = Conversation::parse(text).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn a_name_stands_for_one_uuid_and_for_no_other() {
    let (mut captures, pattern) = (Captures::default(), Pattern::parse("$A!"));
    assert!(pattern.judge("nonsense", &mut captures).is_err());
    assert_eq!(pattern.judge(&format!("{UUID}!"), &mut captures), Ok(()));
    assert_eq!(pattern.judge(&format!("{UUID}!"), &mut captures), Ok(()));
    assert!(pattern.judge(&format!("{OTHER_UUID}!"), &mut captures).is_err());
    assert!(pattern.judge(UUID, &mut captures).is_err());
    let other = Pattern::parse("$B");
    assert!(other.judge(UUID, &mut captures).is_err());
    assert_eq!(other.judge(OTHER_UUID, &mut captures), Ok(()));
}

#[test]
fn an_epoch_is_the_same_from_then_on_and_can_be_sent() {
    let (mut captures, pattern) = (Captures::default(), Pattern::parse(r#""$EPOCH""#));
    assert_eq!(captures.fill("$EPOCH"), "$EPOCH");
    for wrong in ["0123456789abcde", "0123456789ABCDEF"] {
        assert!(pattern.judge(&format!("\"{wrong}\""), &mut captures).is_err(), "{wrong}");
    }
    assert_eq!(pattern.judge(r#""0123456789abcdef""#, &mut captures), Ok(()));
    assert_eq!(pattern.judge(r#""0123456789abcdef""#, &mut captures), Ok(()));
    assert!(pattern.judge(r#""1123456789abcdef""#, &mut captures).is_err());
    assert_eq!(captures.fill(r#"{"epoch":"$EPOCH"}"#), r#"{"epoch":"0123456789abcdef"}"#);
}

#[test]
fn a_text_must_match_to_its_end() {
    let pattern = Pattern::parse(r#"{"price":"$5","timestamp":$T}"#);
    for (text, matches) in [
        (r#"{"price":"$5","timestamp":1234567890123}"#, true),
        (r#"{"price":"$5","timestamp":1234567890123} "#, false),
        (r#"{"price":"$5","timestamp":12345678901}"#, false),
        (r#"{"price":"$5","timestamp":"1234567890123"}"#, false),
        (r#"{"price":"$6","timestamp":1234567890123}"#, false),
        ("", false),
    ] {
        assert_eq!(pattern.judge(text, &mut Captures::default()).is_ok(), matches, "{text}");
    }
}

#[test]
fn pubsub_clients_hear_json() {
    for (path, text) in files(Dialect::Pubsub) {
        for line in text.lines() {
            let Some((_, heard)) = line.split_once(" < ") else {
                continue;
            };
            let heard = heard.replace("$T", "1");
            // Not a `Value`: 1e400 is JSON, but fits none.
            let json: Result<IgnoredAny, _> = serde_json::from_str(&heard);
            assert!(json.is_ok(), "{path}: {line}");
        }
    }
}
