//! What a program has done on threads that have become quiet.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    thread,
};

use super::bed::Bed;
use crate::support::wait_until;

#[test]
fn housekeeping_is_done_on_the_thread_of_each_shard_after_it_has_worked() {
    let done: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let noted = Arc::clone(&done);
    let bed = Bed::start(2, |builder| {
        builder.housekeeping(move || {
            noted.lock().unwrap().insert(thread::current().name().unwrap_or_default().to_owned());
        })
    });
    let _clients = bed.client_on_each_shard();
    let both = BTreeSet::from(["shard-0".to_owned(), "shard-1".to_owned()]);
    wait_until("housekeeping on both shards", || *done.lock().unwrap() == both);
}
