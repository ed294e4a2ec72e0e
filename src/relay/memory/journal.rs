//! Histories in a file, so that they outlive the process: what is appended is written
//! behind what is there, before it is answered.
//!
//! | field | form |
//! | --- | --- |
//! | head | `shardcast history 1`, a line feed |
//! | record, repeated | length of the rest (4 bytes), check sum (4 bytes), then: epoch, offset, time in ms, count, age in ms (8 bytes each), length of the room's name (4 bytes), name, 1 and the message, or 0 |
//!
//! Numbers are little-endian. A record that ends too early at the end of the file was
//! being written when the process ended, and was not answered: it is cut off. Everything
//! else that is wrong is an error. Nothing is forced to the disk: the file outlives the
//! process, not the machine's power.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;

use super::{
    super::broker::HistoryLimits,
    store::{Store, Stored},
};
use crate::cluster::Position;

const HEAD: &[u8] = b"shardcast history 1\n";
/// Length and check sum.
const RECORD_HEAD: usize = 8;
/// Epoch, offset, time, count, age, length of the name, and whether there is a message.
const RECORD_FIXED: usize = 5 * 8 + 4 + 1;
/// A file of this size is not written anew, however little of it is still kept.
const SMALL: u64 = 4 << 20;

/// A file of histories cannot be used.
#[derive(Debug)]
pub struct JournalError {
    path: PathBuf,
    what: What,
}

#[derive(Debug)]
enum What {
    Io(io::Error),
    Foreign,
    Broken(usize),
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the file of histories {}: ", self.path.display())?;
        match &self.what {
            What::Io(error) => error.fmt(f),
            What::Foreign => f.write_str("it does not begin as such a file does"),
            What::Broken(at) => write!(f, "the record at byte {at} is broken"),
        }
    }
}

impl std::error::Error for JournalError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.what {
            What::Io(error) => Some(error),
            What::Foreign | What::Broken(_) => None,
        }
    }
}

/// An open file.
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    /// Not written yet.
    buffer: Vec<u8>,
    bytes: u64,
    /// Beyond this size it is looked whether the file is worth being written anew.
    look_at: u64,
    error: Option<io::Error>,
}

fn check_sum(bytes: &[u8]) -> u32 {
    // FNV-1a, folded: finds what went wrong by chance.
    let hash = bytes.iter().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
    });
    (hash >> 32) as u32 ^ hash as u32
}

fn encode(out: &mut Vec<u8>, room: &str, stored: &Stored) {
    let start = out.len();
    out.extend_from_slice(&[0; RECORD_HEAD]);
    let Stored { position, at_ms, limits, message } = stored;
    for number in [position.epoch, position.offset, *at_ms, limits.count, limits.age_ms] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&(room.len() as u32).to_le_bytes());
    out.extend_from_slice(room.as_bytes());
    out.push(u8::from(message.is_some()));
    out.extend_from_slice(message.as_deref().unwrap_or_default());
    let body = start + RECORD_HEAD;
    let (len, sum) = ((out.len() - body) as u32, check_sum(&out[body..]));
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
    out[start + 4..body].copy_from_slice(&sum.to_le_bytes());
}

/// The record at the front of `bytes` and how long it is; `None` if it ends too early.
fn decode(bytes: &Bytes) -> Result<Option<(Arc<str>, Stored, usize)>, ()> {
    let number = |at: usize| -> Option<u32> {
        Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
    };
    let (Some(len), Some(sum)) = (number(0), number(4)) else { return Ok(None) };
    let end = RECORD_HEAD + len as usize;
    if bytes.len() < end {
        return Ok(None);
    }
    let body = bytes.slice(RECORD_HEAD..end);
    if check_sum(&body) != sum || body.len() < RECORD_FIXED {
        return Err(());
    }
    let wide = |index: usize| {
        let bytes = body.get(index * 8..index * 8 + 8)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    };
    let fields = || {
        let position = Position { epoch: wide(0)?, offset: wide(1)? };
        let limits = HistoryLimits { count: wide(3)?, age_ms: wide(4)? };
        let name_len = u32::from_le_bytes(body.get(40..44)?.try_into().ok()?) as usize;
        let name_end = 44_usize.checked_add(name_len)?;
        let room = std::str::from_utf8(body.get(44..name_end)?).ok()?;
        let message = match body.get(name_end)? {
            0 => None,
            1 => Some(Bytes::copy_from_slice(&body[name_end + 1..])),
            _ => return None,
        };
        Some((room.into(), Stored { position, at_ms: wide(2)?, limits, message }))
    };
    let (room, stored) = fields().ok_or(())?;
    Ok(Some((room, stored, end)))
}

/// Puts everything that the file has into the store.
fn load(content: &Bytes, store: &mut Store) -> Result<(), What> {
    if content.is_empty() {
        return Ok(());
    }
    if !content.starts_with(HEAD) {
        return Err(What::Foreign);
    }
    let mut at = HEAD.len();
    while at < content.len() {
        let record = decode(&content.slice(at..)).map_err(|()| What::Broken(at))?;
        let Some((room, stored, len)) = record else { return Ok(()) };
        store.restore(&room, stored);
        at += len;
    }
    Ok(())
}

/// Writes everything that the store has to a new file, and puts that in the place of the
/// old one.
fn write_anew(path: &Path, store: &Store) -> io::Result<(File, u64)> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).open(&new)?;
    let mut buffer = HEAD.to_vec();
    let mut bytes = 0;
    for (room, stored) in store.stored() {
        encode(&mut buffer, room, &stored);
        if buffer.len() > 1 << 20 {
            file.write_all(&buffer)?;
            bytes += buffer.len() as u64;
            buffer.clear();
        }
    }
    file.write_all(&buffer)?;
    bytes += buffer.len() as u64;
    fs::rename(&new, path)?;
    Ok((file, bytes))
}

impl Journal {
    /// Loads the file, if there is one, and goes on with it.
    pub(super) fn open(path: PathBuf, store: &mut Store) -> Result<Self, JournalError> {
        let content = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            read => read,
        };
        let opened = content
            .map_err(What::Io)
            .and_then(|content| load(&content.into(), store))
            .and_then(|()| write_anew(&path, store).map_err(What::Io));
        match opened {
            Ok((file, bytes)) => {
                let look_at = SMALL.max(bytes * 2);
                Ok(Self { path, file, buffer: Vec::new(), bytes, look_at, error: None })
            }
            Err(what) => Err(JournalError { path, what }),
        }
    }

    /// Why nothing can be written any more.
    pub(super) fn error(&self) -> Option<String> {
        let error = self.error.as_ref()?;
        Some(format!("the file of histories {}: {error}", self.path.display()))
    }

    pub(super) fn write(&mut self, room: &str, stored: &Stored) {
        encode(&mut self.buffer, room, stored);
    }

    /// Writes what was appended. A file of which little is kept any more is written anew.
    pub(super) fn flush(&mut self, store: &Store) {
        if self.buffer.is_empty() {
            return;
        }
        let written = self.file.write_all(&self.buffer);
        self.bytes += self.buffer.len() as u64;
        self.buffer.clear();
        let anew = written.and_then(|()| {
            if self.bytes < self.look_at {
                return Ok(());
            }
            (self.file, self.bytes) = write_anew(&self.path, store)?;
            self.look_at = SMALL.max(self.bytes * 2);
            Ok(())
        });
        if let Err(error) = anew {
            self.error = Some(error);
        }
    }
}
