//! What a frame, a text and a handshake cost: times by criterion, then each as a
//! ratio to what it cannot beat or would be replaced by. Unmasking reads and
//! writes every byte once, as a copy does; text is checked by the standard
//! library, if by nobody else; a handshake parses a head and hashes a key.

mod ratio;

use std::{hint::black_box, time::Duration};

use criterion::{BenchmarkId, Criterion, Throughput};
use ratio::print_ratio;
use shardcast::proto::{
    deframe::Deframer,
    frame::{Opcode, Role, write_masked},
    handshake::{HeadLimits, parse, write_accept},
    mask,
    message::{MessageLimits, Text},
    session::Session,
};

const SIZES: [(&str, usize); 3] = [("20 B", 20), ("1 KiB", 1024), ("64 KiB", 64 * 1024)];
const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
const MESSAGES: MessageLimits = MessageLimits { message_bytes: 1 << 20, frames_per_message: 16 };
const HEADS: HeadLimits = HeadLimits { head_bytes: 8192, headers: 64 };

/// What a browser sends.
const HEAD: &[u8] = b"GET /ws HTTP/1.1\r\n\
    Host: chat.example.org\r\n\
    Connection: Upgrade\r\n\
    Pragma: no-cache\r\n\
    Cache-Control: no-cache\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Upgrade: websocket\r\n\
    Origin: https://chat.example.org\r\n\
    Sec-WebSocket-Version: 13\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en;q=0.5\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";

/// Kinds of text, and what each repeats. The second has characters of every length.
const TEXTS: [(&str, &str); 2] = [("ASCII", "x"), ("mixed", "Grüß dich, Ωμέγα, 你好 🌍 ")];

/// `size` bytes of whole characters, from `pattern` again and again.
fn text(pattern: &str, size: usize) -> String {
    let mut text = String::with_capacity(size);
    for character in pattern.chars().cycle() {
        if text.len() + character.len_utf8() > size {
            break;
        }
        text.push(character);
    }
    text.extend(std::iter::repeat_n('x', size - text.len()));
    text
}

/// What becomes of the payload of a text message.
fn validate(text: &[u8]) {
    black_box(Text::lent(black_box(text)).is_ok());
}

fn frame(payload: usize) -> Vec<u8> {
    let mut frame = Vec::new();
    write_masked(&mut frame, true, Opcode::Binary, KEY, &vec![b'x'; payload]);
    frame
}

/// A frame's bytes as steps. That they are unmasked in place, and masked again by
/// the next call, changes nothing of the cost.
fn deframe(deframer: &mut Deframer, frame: &mut [u8]) {
    let mut input = black_box(frame);
    while let Ok(Some(step)) = deframer.next(&mut input) {
        black_box(&step);
    }
}

/// A frame's bytes as a message: what a connection does with them.
fn receive(session: &mut Session, frame: &mut [u8]) {
    let mut input = black_box(frame);
    while let Ok(Some(received)) = session.next(&mut input, &MESSAGES) {
        black_box(&received);
    }
}

fn shake_hands(response: &mut Vec<u8>) {
    response.clear();
    let Ok(Some(head)) = parse(black_box(HEAD), &HEADS) else { return };
    if let Ok(upgrade) = head.upgrade() {
        write_accept(response, upgrade.key, None);
    }
    black_box(response);
}

fn times(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("proto");
    for (name, size) in SIZES {
        group.throughput(Throughput::Bytes(size as u64));
        let (source, mut payload) = (vec![1u8; size], vec![0; size]);
        group.bench_function(BenchmarkId::new("copy", name), |bencher| {
            bencher.iter(|| black_box(&mut payload).copy_from_slice(black_box(&source)));
        });
        group.bench_function(BenchmarkId::new("unmask", name), |bencher| {
            bencher.iter(|| mask::apply(black_box(&mut payload), black_box(KEY)));
        });
        let (mut bytes, mut deframer) = (frame(size), Deframer::new(Role::Server));
        group.bench_function(BenchmarkId::new("deframe", name), |bencher| {
            bencher.iter(|| deframe(&mut deframer, &mut bytes));
        });
        let mut session = Session::new();
        group.bench_function(BenchmarkId::new("receive", name), |bencher| {
            bencher.iter(|| receive(&mut session, &mut bytes));
        });
        for (kind, pattern) in TEXTS {
            let text = text(pattern, size);
            group.bench_function(BenchmarkId::new(format!("validate {kind}"), name), |bencher| {
                bencher.iter(|| validate(text.as_bytes()));
            });
        }
    }
    group.throughput(Throughput::Bytes(HEAD.len() as u64));
    let mut response = Vec::new();
    group.bench_function("handshake", |bencher| bencher.iter(|| shake_hands(&mut response)));
    group.finish();
}

fn ratios() {
    for (name, size) in SIZES {
        let (source, mut target) = (vec![1u8; size], vec![0; size]);
        let mut copy = || black_box(&mut target).copy_from_slice(black_box(&source));
        let mut payload = vec![0; size];
        let unmask = || mask::apply(black_box(&mut payload), black_box(KEY));
        print_ratio(&format!("unmask {name}"), "copy", 1, unmask, &mut copy);
        let (mut bytes, mut deframer) = (frame(size), Deframer::new(Role::Server));
        let deframe = || deframe(&mut deframer, &mut bytes);
        print_ratio(&format!("deframe {name}"), "copy", 1, deframe, &mut copy);
        let (mut bytes, mut session) = (frame(size), Session::new());
        let receive = || receive(&mut session, &mut bytes);
        print_ratio(&format!("receive {name}"), "copy", 1, receive, &mut copy);
        for (kind, pattern) in TEXTS {
            let text = text(pattern, size);
            let standard = || {
                black_box(str::from_utf8(black_box(text.as_bytes())).is_ok());
            };
            let name = format!("validate {kind} {name}");
            print_ratio(&name, "std::str::from_utf8", 1, || validate(text.as_bytes()), standard);
        }
    }
    let mut response = Vec::new();
    let parse_and_hash = || {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut headers);
        black_box(request.parse(black_box(HEAD)).is_ok());
        let key = black_box(b"dGhlIHNhbXBsZSBub25jZQ==");
        black_box(tungstenite::handshake::derive_accept_key(key));
    };
    let handshake = || shake_hands(&mut response);
    print_ratio("handshake", "httparse and SHA-1", 1, handshake, parse_and_hash);
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
