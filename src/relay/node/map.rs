//! The hash table of a node's state. Its order differs from run to run: whatever leaves
//! the node is put in an order first.

/// Keys come from clients: the hash is seeded.
pub(super) type Map<K, V> = hashbrown::HashMap<K, V, foldhash::fast::RandomState>;
