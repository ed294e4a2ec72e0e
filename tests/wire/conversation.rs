//! Reads golden conversations and judges what a client received against them.
//! The format is described in `tests/golden/README.md`. Does no I/O and knows no
//! server: a wire test performs the steps.

use std::collections::HashMap;

/// One file: a conversation with a fresh server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Conversation {
    /// The first comment: what the conversation protects.
    pub(crate) title: String,
    /// Flags of the server, in order.
    pub(crate) flags: Vec<String>,
    /// What happens, in order.
    pub(crate) steps: Vec<Step>,
}

/// One thing that one client does or hears.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// The line in the file, from 1.
    pub(crate) line: usize,
    /// The client's name.
    pub(crate) client: String,
    /// What it does or hears.
    pub(crate) action: Action,
}

/// What a client does or hears.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Opens a connection; `None` means the dialect of the file's folder.
    Connect(Option<String>),
    /// Sends a text message.
    SendText(String),
    /// Sends a binary message.
    SendBinary(Vec<u8>),
    /// Receives a text message next, matching this.
    ReceiveText(Pattern),
    /// Receives this binary message next.
    ReceiveBinary(Vec<u8>),
    /// Sends a close frame with code 1000.
    Close,
    /// Receives nothing more but a close frame with this code.
    Closed(u16),
}

/// A text with variables.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pattern(Vec<Piece>);

/// The name that stands for a history's epoch.
const EPOCH: &str = "EPOCH";

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Uuid(String),
    Epoch,
    Time,
}

/// What a conversation's variables stand for so far: UUIDs, and a history's epoch.
#[derive(Debug, Default)]
pub(crate) struct Captures(HashMap<String, String>);

impl Conversation {
    /// Reads a file's text.
    ///
    /// # Errors
    /// What is wrong, with the number of the line.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut conversation = Self { title: String::new(), flags: Vec::new(), steps: Vec::new() };
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            conversation.take_line(number, line).map_err(|why| format!("line {number}: {why}"))?;
        }
        if conversation.title.is_empty() {
            return Err("no comment says what it protects".to_owned());
        }
        conversation.check_connections()?;
        Ok(conversation)
    }

    fn take_line(&mut self, number: usize, line: &str) -> Result<(), String> {
        if line.trim().is_empty() {
            return Ok(());
        }
        if let Some(comment) = line.strip_prefix('#') {
            if self.title.is_empty() {
                comment.trim().clone_into(&mut self.title);
            }
            return Ok(());
        }
        if let Some(flags) = line.strip_prefix('!') {
            if !self.steps.is_empty() {
                return Err("flags come before the first step".to_owned());
            }
            self.flags.extend(flags.split_whitespace().map(str::to_owned));
            return Ok(());
        }
        let (client, action) = line.split_once(' ').ok_or("a step is a client and an action")?;
        if !is_name(client) || client == "T" || client == EPOCH {
            return Err(format!("{client:?} is no client's name"));
        }
        let action = Action::parse(action)?;
        self.steps.push(Step { line: number, client: client.to_owned(), action });
        Ok(())
    }

    /// A client connects before all else and does nothing after it was closed.
    fn check_connections(&self) -> Result<(), String> {
        let mut open: HashMap<&str, bool> = HashMap::new();
        for Step { line, client, action } in &self.steps {
            let is_open = open.get(client.as_str()).copied();
            let now_open = match (action, is_open) {
                (Action::Connect(_), None) => true,
                (Action::Connect(_), Some(_)) => {
                    return Err(format!("line {line}: {client} has connected already"));
                }
                (Action::Closed(_), Some(true)) => false,
                (_, Some(true)) => continue,
                _ => return Err(format!("line {line}: {client} is not connected")),
            };
            open.insert(client, now_open);
        }
        Ok(())
    }
}

impl Action {
    fn parse(text: &str) -> Result<Self, String> {
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        Ok(match (verb, rest) {
            ("connect", "") => Self::Connect(None),
            ("connect", dialect) => Self::Connect(Some(dialect.to_owned())),
            (">", text) => Self::SendText(text.to_owned()),
            (">x", digits) => Self::SendBinary(bytes(digits)?),
            ("<", text) => Self::ReceiveText(Pattern::parse(text)),
            ("<x", digits) => Self::ReceiveBinary(bytes(digits)?),
            ("close", "") => Self::Close,
            ("closed", code) => {
                Self::Closed(code.parse().map_err(|_| format!("{code:?} is no close code"))?)
            }
            _ => return Err(format!("{text:?} is no action")),
        })
    }
}

impl Pattern {
    /// Reads a text in which `$NAME` is a variable.
    pub(crate) fn parse(text: &str) -> Self {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            let after = &rest[at + 1..];
            let length = after.bytes().take_while(u8::is_ascii_uppercase).count();
            if length == 0 {
                literal.push_str(&rest[..=at]);
                rest = after;
                continue;
            }
            literal.push_str(&rest[..at]);
            pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            let name = &after[..length];
            pieces.push(match name {
                "T" => Piece::Time,
                EPOCH => Piece::Epoch,
                _ => Piece::Uuid(name.to_owned()),
            });
            rest = &after[length..];
        }
        literal.push_str(rest);
        pieces.push(Piece::Literal(literal));
        Self(pieces)
    }

    /// Whether `text` is what the pattern describes. Variables seen for the
    /// first time are captured.
    ///
    /// # Errors
    /// What differs, and from where on.
    pub(crate) fn judge(&self, text: &str, captures: &mut Captures) -> Result<(), String> {
        let mut rest = text;
        for piece in &self.0 {
            let length = match piece {
                Piece::Literal(literal) => literal_length(literal, rest),
                Piece::Time => time_length(rest),
                Piece::Uuid(name) => captures.uuid_length(name, rest),
                Piece::Epoch => captures.epoch_length(rest),
            };
            let length = length.map_err(|why| format!("{why} at {rest:?} of {text:?}"))?;
            rest = &rest[length..];
        }
        if rest.is_empty() { Ok(()) } else { Err(format!("{rest:?} too much in {text:?}")) }
    }
}

fn literal_length(literal: &str, text: &str) -> Result<usize, String> {
    if text.starts_with(literal) { Ok(literal.len()) } else { Err(format!("no {literal:?}")) }
}

fn time_length(text: &str) -> Result<usize, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let is_plausible = digits == 13 && text.starts_with(['1', '2', '3']);
    if is_plausible { Ok(digits) } else { Err("no time in milliseconds".to_owned()) }
}

impl Captures {
    const UUID_LENGTH: usize = 36;

    /// `text` with the epoch in the place of its variable, if it is known.
    pub(crate) fn fill(&self, text: &str) -> String {
        let epoch = self.0.get(EPOCH);
        epoch.map_or_else(|| text.to_owned(), |epoch| text.replace(&format!("${EPOCH}"), epoch))
    }

    fn epoch_length(&mut self, text: &str) -> Result<usize, String> {
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let epoch = text.get(..16).filter(|epoch| epoch.as_bytes().iter().all(is_digit));
        let epoch = epoch.ok_or("no epoch")?;
        let known = self.0.entry(EPOCH.to_owned()).or_insert_with(|| epoch.to_owned());
        if known == epoch { Ok(epoch.len()) } else { Err("another epoch".to_owned()) }
    }

    fn uuid_length(&mut self, name: &str, text: &str) -> Result<usize, String> {
        let uuid = text.get(..Self::UUID_LENGTH).filter(|uuid| is_uuid(uuid)).ok_or("no UUID")?;
        let (as_expected, others) = match self.0.get(name) {
            Some(known) => (known == uuid, false),
            None => (true, self.0.values().any(|known| known == uuid)),
        };
        if !as_expected || others {
            return Err(format!("a UUID other than ${name}"));
        }
        self.0.insert(name.to_owned(), uuid.to_owned());
        Ok(uuid.len())
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase())
}

fn is_uuid(text: &str) -> bool {
    text.bytes().enumerate().all(|(index, byte)| match index {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    })
}

fn bytes(digits: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<u32> = digits
        .chars()
        .filter(|letter| *letter != ' ')
        .map(|letter| letter.to_digit(16).ok_or(format!("{letter:?} is no hexadecimal digit")))
        .collect::<Result<_, _>>()?;
    if !digits.len().is_multiple_of(2) {
        return Err("half a byte".to_owned());
    }
    Ok(digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect())
}
