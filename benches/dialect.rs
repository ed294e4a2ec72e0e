//! What it costs to understand a publish and to tell it: times by criterion,
//! then each as a ratio. Reading is held against `serde_json` into a struct made
//! for just this message and against `simd-json` into a tape, writing against a
//! copy of what is written.
//!
//! `simd-json` has no raw slices: its tape has the data as values, which would
//! still have to be written out again to be forwarded. What it does in any case is
//! counted: it writes into what it reads, so the message is copied for it, and it
//! copies that again to pad it. All of its buffers are used again. The name of its
//! implementation is printed: `Native` is the one without SIMD, which a build for
//! no particular processor gets unless `simd-json` detects features at run time.

mod ratio;

use std::{hint::black_box, mem, time::Duration};

use bytes::BytesMut;
use criterion::{BenchmarkId, Criterion, Throughput};
use ratio::print_ratio;
use serde::Deserialize;
use serde_json::value::RawValue;
use shardcast::{
    ClientId, ConnId,
    dialect::{Dialect, Event, Incoming, Payload, Stamp},
};
use simd_json::{prelude::*, tape::Tape};

const STAMP: Stamp = Stamp { timestamp_ms: 1_700_000_000_000 };

/// A publish with about `bytes` bytes of data.
fn publish(bytes: usize) -> String {
    format!(r#"{{"type":"publish","room":"chat","data":{}}}"#, data(bytes))
}

fn data(bytes: usize) -> String {
    format!(r#"{{"text":"{}"}}"#, "x".repeat(bytes))
}

/// The data's name, and its bytes.
const SIZES: [(&str, usize); 3] = [("20 B", 20), ("1 KiB", 1024), ("64 KiB", 64 * 1024)];

/// The envelope as `serde` would read it.
#[derive(Deserialize)]
struct Envelope<'m> {
    #[serde(rename = "type", borrow)]
    kind: &'m str,
    #[serde(borrow)]
    room: Option<&'m str>,
    #[serde(borrow)]
    data: Option<&'m RawValue>,
}

fn parse(message: &str) {
    black_box(Dialect::Pubsub.parse(Incoming::Text(black_box(message))).command.is_ok());
}

fn parse_with_serde(message: &str) {
    if let Ok(envelope) = serde_json::from_str::<Envelope<'_>>(black_box(message)) {
        black_box((envelope.kind, envelope.room, envelope.data));
    }
}

/// All that `simd-json` keeps from message to message.
struct SimdJson {
    copy: Vec<u8>,
    buffers: simd_json::Buffers,
    /// Empty between messages.
    tape: Tape<'static>,
}

impl SimdJson {
    fn new() -> Self {
        Self { copy: Vec::new(), buffers: simd_json::Buffers::default(), tape: Tape(Vec::new()) }
    }

    fn parse(&mut self, message: &str) {
        self.copy.clear();
        self.copy.extend_from_slice(black_box(message).as_bytes());
        let mut tape = mem::replace(&mut self.tape, Tape(Vec::new())).reset();
        if simd_json::fill_tape(&mut self.copy, &mut self.buffers, &mut tape).is_ok() {
            let envelope = tape.as_value();
            let (kind, room) = (envelope.get_str("type"), envelope.get_str("room"));
            black_box((kind, room, envelope.get("data")));
        }
        self.tape = tape.reset();
    }
}

/// The event that a publish brings about, written into `out`.
fn encode(json: &str, out: &mut BytesMut) {
    out.clear();
    let event = Event::Message {
        event: "message",
        room: Some("chat"),
        data: Some(Payload::Json(black_box(json))),
        from: Some(ClientId::new(1, ConnId::new(0, 1, 1))),
        user: None,
        offset: None,
    };
    black_box(Dialect::Pubsub.encode(&event, &STAMP, out));
}

fn times(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("dialect");
    for (name, size) in SIZES {
        let (message, json) = (publish(size), data(size));
        group.throughput(Throughput::Bytes(message.len() as u64));
        group.bench_function(BenchmarkId::new("parse", name), |bencher| {
            bencher.iter(|| parse(&message));
        });
        let mut out = BytesMut::new();
        group.bench_function(BenchmarkId::new("encode", name), |bencher| {
            bencher.iter(|| encode(&json, &mut out));
        });
    }
    group.finish();
}

fn ratios() {
    let mut simd_json = SimdJson::new();
    let simd_json_name = format!("simd-json ({:?})", simd_json::Deserializer::algorithm());
    for (name, size) in SIZES {
        let (message, json) = (publish(size), data(size));
        print_ratio(
            &format!("parse {name}"),
            "serde_json",
            1,
            || parse(&message),
            || parse_with_serde(&message),
        );
        print_ratio(
            &format!("parse {name}"),
            &simd_json_name,
            1,
            || parse(&message),
            || simd_json.parse(&message),
        );
        let mut out = BytesMut::new();
        encode(&json, &mut out);
        let (source, mut target) = (out.to_vec(), vec![0; out.len()]);
        print_ratio(
            &format!("encode {name}"),
            "copy",
            1,
            || encode(&json, &mut out),
            || black_box(&mut target[..]).copy_from_slice(black_box(&source)),
        );
    }
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    times(&mut criterion);
    criterion.final_summary();
    ratios();
}
