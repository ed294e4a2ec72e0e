//! Replays the golden conversations against the server: each with a fresh one,
//! on every driver, with one shard and with two.

use std::{collections::HashMap, fs, path::Path};

use tungstenite::Message;

use crate::{
    conversation::{Action, Captures, Conversation, Step},
    support::{Bed, Client, on_every_driver},
};

/// Every file of a folder of `tests/golden`: its path and what it says.
fn conversations(dialect: &str) -> Vec<(String, Conversation)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(dialect);
    let files = fs::read_dir(folder).expect("a folder for each dialect");
    let mut all: Vec<_> = files
        .map(|entry| {
            let path = entry.expect("a readable folder").path();
            let text = fs::read_to_string(&path).expect("a text file");
            let path = path.display().to_string();
            let conversation =
                Conversation::parse(&text).unwrap_or_else(|why| panic!("{path}: {why}"));
            (path, conversation)
        })
        .collect();
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    all
}

fn replay_all(dialect: &str) {
    let conversations = conversations(dialect);
    on_every_driver(|bed| {
        for (path, conversation) in &conversations {
            println!("{path}: {}", conversation.title);
            let failure = replay(bed, dialect, conversation).err();
            assert_eq!(failure, None, "{path}");
        }
    });
}

/// Performs one conversation with a fresh server.
fn replay(bed: Bed, dialect: &str, conversation: &Conversation) -> Result<(), String> {
    let flags: Vec<&str> = conversation.flags.iter().map(String::as_str).collect();
    let server = bed.server(&flags);
    let (mut clients, mut captures) = (HashMap::new(), Captures::default());
    for Step { line, client, action } in &conversation.steps {
        if let Action::Connect(other) = action {
            let path = format!("/ws/{}", other.as_deref().unwrap_or(dialect));
            clients.insert(client.as_str(), Client::open(server.address(), &path));
            continue;
        }
        let client = clients.get_mut(client.as_str()).ok_or("a client that is not connected")?;
        perform(client, action, &mut captures).map_err(|why| format!("line {line}: {why}"))?;
    }
    Ok(())
}

fn perform(client: &mut Client, action: &Action, captures: &mut Captures) -> Result<(), String> {
    match action {
        Action::Connect(_) => {}
        Action::SendText(text) => client.send(Message::text(captures.fill(text))),
        Action::SendBinary(bytes) => client.send(Message::binary(bytes.clone())),
        Action::ReceiveText(pattern) => match client.receive() {
            Message::Text(text) => pattern.judge(&text, captures)?,
            other => return Err(format!("no text but {other:?}")),
        },
        Action::ReceiveBinary(bytes) => {
            let message = client.receive();
            if message != Message::binary(bytes.clone()) {
                return Err(format!("not {bytes:02x?} but {message:?}"));
            }
        }
        Action::Close => client.begin_close(1000),
        Action::Closed(code) => drop(client.expect_close(*code)),
    }
    Ok(())
}

#[test]
fn the_conversations_in_pubsub_go_as_written() {
    replay_all("pubsub");
}

#[test]
fn the_conversations_in_raw_go_as_written() {
    replay_all("raw");
}
