//! The order of the rooms in a folder: what each may import from. Knows no room.
//!
//! A room is a folder, or a single file, directly in the folder that is ordered.
//! Its `mod.rs` stands above all rooms: it may import from any, and none from it.
//! Tests may import from above.

use super::{circles::edges, rules::Finding, source::Source};

/// Files under `folder` of no room, names in `rooms` without a room, and imports
/// that do not go to the own room or to one below. `rooms` go from the top to the
/// leaves; without any there is no order to hold.
pub(crate) fn out_of_order(sources: &[Source], folder: &str, rooms: &[&str]) -> Vec<Finding> {
    if rooms.is_empty() {
        return Vec::new();
    }
    let place = |source: &Source| place(source, folder, rooms);
    let mut findings = Vec::new();
    for (index, room) in rooms.iter().enumerate() {
        if !sources.iter().any(|source| place(source) == Place::Room(index)) {
            let what = format!("`{room}` is in the order of rooms, but not in {folder}");
            findings.push(Finding { file: folder.to_owned(), line: 1, what });
        }
    }
    for source in sources.iter().filter(|source| !source.is_test) {
        if place(source) == Place::NoRoom {
            findings.push(Finding::new(source, 0, format!("of no room in {folder}")));
        }
    }
    for edge in edges(sources) {
        let (from, to) = (&sources[edge.from], &sources[edge.to]);
        let Place::Room(own) = place(from) else { continue };
        let above = match place(to) {
            Place::Room(other) if other < own => rooms[other],
            Place::Top => "mod.rs",
            _ => continue,
        };
        if !from.is_test {
            let what = format!("`{}` is below `{above}`: {} of {}", rooms[own], edge.name, to.path);
            findings.push(Finding::new(from, edge.at, what));
        }
    }
    findings
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// By its number in the order.
    Room(usize),
    /// The folder's own `mod.rs`.
    Top,
    /// In the folder, but of none of its rooms.
    NoRoom,
    Elsewhere,
}

fn place(source: &Source, folder: &str, rooms: &[&str]) -> Place {
    let Some(rest) = source.path.strip_prefix(folder) else { return Place::Elsewhere };
    let name = rest.split('/').next().unwrap_or(rest).trim_end_matches(".rs");
    match rooms.iter().position(|room| *room == name) {
        Some(index) => Place::Room(index),
        None if rest == "mod.rs" => Place::Top,
        None => Place::NoRoom,
    }
}
