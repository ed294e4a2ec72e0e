//! What a log promises to cursors, and what it costs.

use super::{super::entries, *};
use crate::driver::sim::Rng;

fn append(log: &mut RoomLog, text: &str, except: u32) {
    let sequence = u64::from(log.end());
    log.open().extend_from_slice(text.as_bytes());
    log.commit(sequence, except, None);
}

fn read(log: &RoomLog, from: Cursor, to: Cursor, slot: u32) -> (String, usize) {
    let mut slices = Slices::new();
    log.slices_except(from, to, slot, &mut slices);
    let bytes: Vec<u8> = slices.iter().flat_map(|s| s.as_slice().to_vec()).collect();
    (String::from_utf8(bytes).unwrap(), slices.len())
}

#[test]
fn many_entries_are_one_run_of_bytes() {
    let mut log = RoomLog::default();
    for text in ["a", "bb", "ccc"] {
        append(&mut log, text, NOBODY);
    }
    log.freeze();
    assert_eq!(read(&log, 0, 3, 7), ("abbccc".into(), 1));
    assert_eq!(read(&log, 1, 2, 7), ("bb".into(), 1));
    assert_eq!(log.bytes_behind(1), 5);
    assert_eq!(log.bytes_between(0, 2), 3);
}

#[test]
fn what_is_excepted_is_a_hole() {
    let mut log = RoomLog::default();
    for (text, except) in [("a", NOBODY), ("b", 7), ("c", NOBODY), ("d", 7)] {
        append(&mut log, text, except);
    }
    log.freeze();
    assert_eq!(read(&log, 0, 4, 7), ("ac".into(), 2));
    assert_eq!(read(&log, 0, 4, 8), ("abcd".into(), 1));
}

#[test]
fn a_run_over_several_segments_is_several_slices() {
    let mut log = RoomLog::default();
    append(&mut log, "aa", NOBODY);
    log.freeze();
    log.append_shared(Bytes::from_static(b"BIG"), 1, NOBODY, None);
    append(&mut log, "cc", NOBODY);
    log.freeze();
    assert_eq!(read(&log, 0, 3, 7), ("aaBIGcc".into(), 3));
    assert_eq!(read(&log, 2, 3, 7), ("cc".into(), 1));
}

#[test]
fn trimming_keeps_exactly_what_a_cursor_needs() {
    let mut log = RoomLog::default();
    for round in 0..5 {
        append(&mut log, &format!("<{round}>"), NOBODY);
        log.freeze();
    }
    log.trim(3);
    assert_eq!(log.segments.len(), 2);
    assert_eq!(read(&log, 3, 5, 7), ("<3><4>".into(), 2));
    log.trim(5);
    assert!(log.is_empty() && log.segments.is_empty());
    append(&mut log, "next", NOBODY);
    log.freeze();
    assert_eq!(read(&log, 5, 6, 7), ("next".into(), 1));
}

#[test]
fn cursors_wrap() {
    let mut log = RoomLog::default();
    log.entries.begin_at(u64::from(u32::MAX - 1));
    for text in ["a", "b", "c"] {
        append(&mut log, text, NOBODY);
    }
    log.freeze();
    assert_eq!(log.end(), 1);
    assert_eq!(log.behind(u32::MAX), 2);
    assert_eq!(read(&log, u32::MAX, 1, 7).0, "bc");
    log.trim(0);
    assert_eq!(read(&log, 0, 1, 7).0, "c");
}

#[test]
fn sequences_and_ends_beyond_48_bits_come_back_whole() {
    let mut log = RoomLog::default();
    let (sequence, offset) = ((1 << 48) - 2, (1 << 50) - 3);
    log.open_start = offset;
    log.entries.begin_at_offset(offset);
    for number in 0..5 {
        log.open().extend_from_slice(b"<>");
        log.commit(sequence + number, NOBODY, None);
    }
    log.freeze();
    log.trim(1);
    for number in 1..5 {
        assert_eq!(log.entries().publication(number), Some(sequence + u64::from(number)));
        assert_eq!(log.entries().offset(number), offset + u64::from(number) * 2);
    }
    assert_eq!(read(&log, 1, 5, 7).0, "<><><><>");
}

#[test]
fn keys_are_found_and_counted_for_those_behind_them() {
    let mut log = RoomLog::default();
    for (number, key) in [(0, None), (1, Some("a")), (2, None), (3, Some("bcd"))] {
        log.open().extend_from_slice(b"xy");
        log.commit(number, NOBODY, key);
    }
    let keys: Vec<_> = (0..5).map(|cursor| log.entries().key(cursor)).collect();
    assert_eq!(keys, [None, Some("a"), None, Some("bcd"), None]);
    let plain = log.cost_between(2, 3);
    assert_eq!(plain, 2 + entries::ENTRY_BYTES);
    let with_key = log.cost_between(1, 2);
    assert!((plain + 17..plain + 64).contains(&with_key), "{with_key}");
    assert_eq!(log.cost_between(3, 4), with_key + 2);
    assert_eq!(log.cost_behind(0), 2 * plain + 2 * with_key + 2);
    log.trim(2);
    assert_eq!(log.cost_behind(2), plain + with_key + 2);
    log.trim(4);
    assert_eq!((log.cost_behind(4), log.entries().has_keys()), (0, false));
}

/// Appends, trims and reads at random, held against a list of the frames.
#[test]
fn a_log_gives_back_what_was_appended_and_is_counted_as_what_it_costs() {
    for seed in 0..2000 {
        let mut rng = Rng::new(seed);
        let (mut log, mut frames, mut base) = (RoomLog::default(), Vec::<Vec<u8>>::new(), 0);
        for number in 0..rng.below(400) as u64 {
            let max = if rng.chance(5) { 3000 } else { 5 };
            let frame = vec![number as u8; 1 + rng.below(max)];
            if rng.chance(10) {
                log.append_shared(frame.clone().into(), number, NOBODY, None);
            } else {
                log.open().extend_from_slice(&frame);
                log.commit(number, NOBODY, None);
            }
            frames.push(frame);
            if rng.chance(60) {
                log.freeze();
            }
            if rng.chance(2) {
                log.freeze();
                base += rng.below(frames.len() - base + 1);
                log.trim(base as Cursor);
            }
        }
        log.freeze();
        for (at, frame) in frames.iter().enumerate().skip(base) {
            assert_eq!(log.frame(at as Cursor).as_slice(), frame, "seed {seed}");
        }
        let from = base + rng.below(frames.len() - base + 1);
        let (read, slices) = {
            let mut slices = Slices::new();
            log.slices(from as Cursor, log.end(), &mut slices);
            let bytes: Vec<u8> = slices.iter().flat_map(|s| s.as_slice().to_vec()).collect();
            (bytes, slices.len())
        };
        assert_eq!(read, frames[from..].concat(), "seed {seed}");
        let bytes = read.len();
        assert!(slices <= SMALL_SEGMENTS + 2 * frames.len() / 5 + bytes / 512, "{slices}");
        let until = rng.below(frames.len() + 1) as u64;
        let sought = log.entries().seek(base as Cursor, |cursor| {
            log.entries().publication(cursor).is_some_and(|sequence| sequence < until)
        });
        assert_eq!(sought as usize, (until as usize).max(base), "seed {seed}");
    }
}

#[test]
fn a_log_of_short_frames_costs_a_tenth_more_than_it_is_counted_as_at_the_most() {
    let mut log = RoomLog::default();
    let mut first = 0;
    for number in 0..100_000u32 {
        log.open().extend_from_slice(b"abc");
        log.commit(u64::from(number), NOBODY, None);
        log.freeze();
        if number % 64 == 0 {
            // A reader that takes a part of what comes.
            first += 48;
            log.trim(first.min(number));
        }
        let (kept, counted) =
            (log.kept_bytes() - log.open.capacity(), log.cost_behind(first.min(number)));
        assert!(kept <= counted / 10 * 11 + 8 * 1024, "{kept} bytes kept, {counted} counted");
    }
    assert!(log.cost_behind(first) > 500_000);
}

#[test]
fn joining_small_segments_copies_no_large_one_and_leaves_no_small_one() {
    for large in [0, 1, 20] {
        let mut log = RoomLog::default();
        let frame = Bytes::from(vec![7; 4 * SMALL_SEGMENT_BYTES]);
        (0..large).for_each(|number| log.append_shared(frame.clone(), number, NOBODY, None));
        for _ in 0..SMALL_SEGMENTS {
            append(&mut log, "small", NOBODY);
            log.freeze();
        }
        assert_eq!(log.segments.len(), large as usize + 1);
        for cursor in 0..large as Cursor {
            assert_eq!(log.frame(cursor).as_slice().as_ptr(), frame.as_ptr());
        }
        assert_eq!(log.frame(log.end() - 1).as_slice(), b"small");
    }
}
