//! Which connection sits in which room of which node, and who publishes: every node has
//! the same number of members in each room. Pure.

/// The seats of all connections.
///
/// Connection `(node * members + seat) * rooms + room` sits in `room` of `node`;
/// publisher `p` of room `r` is on node `(r + p) % nodes`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seating {
    pub(super) nodes: usize,
    pub(super) rooms: usize,
    /// Of each room on each node.
    pub(super) members: usize,
    /// Of each room.
    pub(super) publishers: usize,
}

impl Seating {
    /// Connections in all.
    pub(super) fn count(self) -> usize {
        self.each() * self.nodes
    }

    /// Connections of each node.
    pub(super) fn each(self) -> usize {
        self.members * self.rooms
    }

    /// The room of connection `link`.
    pub(super) fn room(self, link: usize) -> usize {
        link % self.rooms
    }

    /// The node of connection `link`.
    pub(super) fn node(self, link: usize) -> usize {
        link / self.each()
    }

    /// The node of a publisher of `room`.
    pub(super) fn publisher_node(self, room: usize, publisher: usize) -> usize {
        (room + publisher) % self.nodes
    }

    /// The connection of a publisher of `room`.
    pub(super) fn publisher(self, room: usize, publisher: usize) -> usize {
        let seat = publisher / self.nodes;
        (self.publisher_node(room, publisher) * self.members + seat) * self.rooms + room
    }

    /// Whether connection `link` is the first of its room on its node: what it has
    /// got, its node has got.
    pub(super) fn is_first(self, link: usize) -> bool {
        link % self.each() < self.rooms
    }

    /// The first connections of `room` on all nodes but that of a publisher.
    pub(super) fn witnesses(self, room: usize, publisher: usize) -> impl Iterator<Item = usize> {
        let own = self.publisher_node(room, publisher);
        let others = (0..self.nodes).filter(move |node| *node != own);
        others.map(move |node| node * self.each() + room)
    }

    /// Every publisher, as room and number.
    pub(super) fn publishers(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.rooms).flat_map(move |room| (0..self.publishers).map(move |it| (room, it)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_publisher_has_a_seat_of_its_own_in_its_room_and_node() {
        let seating = Seating { nodes: 3, rooms: 7, members: 2, publishers: 6 };
        let mut taken = HashSet::new();
        for (room, publisher) in seating.publishers() {
            let link = seating.publisher(room, publisher);
            assert!(taken.insert(link) && link < seating.count());
            assert_eq!(seating.room(link), room);
            assert_eq!(seating.node(link), seating.publisher_node(room, publisher));
            for witness in seating.witnesses(room, publisher) {
                assert!(seating.is_first(witness) && seating.room(witness) == room);
                assert_ne!(seating.node(witness), seating.node(link));
            }
            assert_eq!(seating.witnesses(room, publisher).count(), 2);
        }
    }
}
