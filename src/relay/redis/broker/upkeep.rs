//! Staying connected: when links are made and given up, where partitions are, and what
//! waits for that.

use std::collections::BTreeSet;

use super::{AGAIN_MS, BACKOFF_MS, Batches, RedisBroker};
use crate::relay::{
    broker::Arrival,
    redis::{
        discovery::{self, News, Plan},
        tls,
        url::{Address, Topology},
    },
    status::RelayCounters,
};

/// The least time between two looks at where partitions are, in milliseconds.
const PLAN_EVERY_MS: u64 = 100;
/// The most, where they can move without our being told.
const REVIEW_EVERY_MS: u64 = 1000;
/// How long an operation may wait for its partition, in milliseconds.
const HELD_MS: u64 = 2000;

impl RedisBroker {
    /// Does what is due.
    pub fn on_tick(&mut self, now: u64) {
        if self.plan_at <= now && !self.is_planning {
            self.plan();
        }
        self.release(now);
        if self.review_at <= now {
            self.review_at = now + REVIEW_EVERY_MS;
            self.forget_refusals(now);
            self.repeat_subscriptions(now);
            self.review(now);
        }
    }

    /// When [`RedisBroker::on_tick`] is to be called, in milliseconds.
    pub fn next_tick(&self) -> u64 {
        let plan_at = if self.is_planning { u64::MAX } else { self.plan_at };
        let held = self.partitions.iter().filter(|partition| !partition.held.is_empty());
        let again_at = held.map(|partition| partition.again_at).min().unwrap_or(u64::MAX);
        plan_at.min(again_at).min(self.review_at)
    }

    /// Finds out where partitions are, and connects.
    fn plan(&mut self) {
        (self.is_planning, self.plan_at) = (true, u64::MAX);
        let linked: BTreeSet<Address> = self.links.keys().cloned().collect();
        let first_id = self.next_link;
        self.next_link += self.partitions.len() as u64;
        let planning =
            discovery::plan(self.context.clone(), self.servers.clone(), linked, first_id);
        let tell = self.tell.clone();
        tokio::spawn(async move {
            let _ = tell.send(News::Planned(planning.await));
        });
    }

    pub(super) fn plan_soon(&mut self, now: u64) {
        self.plan_at = self.plan_at.min(now + PLAN_EVERY_MS);
    }

    fn plan_later(&mut self, now: u64) {
        let part = self.random() % (self.backoff_ms / 2 + 1);
        self.plan_at = self.plan_at.min(now + self.backoff_ms / 2 + part);
        self.backoff_ms = (self.backoff_ms * 2).min(BACKOFF_MS.1);
    }

    pub(super) fn on_plan(&mut self, plan: Result<Plan, String>, now: u64) {
        self.is_planning = false;
        let plan = match plan {
            Ok(plan) => plan,
            Err(why) => {
                // As long as all links stand, a look that failed changes nothing.
                if !self.is_up {
                    self.go_down(why);
                }
                return self.plan_later(now);
            }
        };
        let mut failed = plan.failed;
        for (address, link) in plan.links {
            if link.is_alive() {
                link.pause(self.is_paused);
                if self.ups > 0 {
                    RelayCounters::add(&self.status.counters.reconnects, 1);
                }
                self.links.insert(address, link);
            } else {
                failed = Some(format!("{address}: the connection was closed"));
            }
        }
        self.servers = plan.servers;
        for (partition, owner) in (0u16..).zip(plan.owners) {
            self.set_owner(partition, owner);
        }
        let owned = |address: &Address| {
            self.partitions.iter().any(|partition| partition.owner.as_ref() == Some(address))
        };
        let unused: Vec<Address> =
            self.links.keys().filter(|address| !owned(address)).cloned().collect();
        for address in unused {
            self.links.remove(&address);
        }
        if (0..self.partitions.len() as u16).all(|partition| self.link(partition).is_some()) {
            self.backoff_ms = BACKOFF_MS.0;
            self.go_up();
        } else {
            self.go_down(failed.unwrap_or_else(|| "a server is missing".to_owned()));
            self.plan_later(now);
        }
    }

    fn set_owner(&mut self, partition: u16, owner: Address) {
        let place = &mut self.partitions[usize::from(partition)].owner;
        if place.as_ref() == Some(&owner) {
            return;
        }
        *place = Some(owner);
        let link = self.link(partition).map_or(u64::MAX, |(_, link)| link.id);
        let lost = self.subscriptions.moved(partition, link);
        if self.is_up {
            self.arrivals.extend(lost.into_iter().map(Arrival::Unsubscribed));
        }
    }

    fn go_up(&mut self) {
        if self.is_up {
            return;
        }
        self.is_up = true;
        self.ups += 1;
        self.reason.clear();
        tracing::info!("connected to Redis ({})", self.context.settings.url);
        self.arrivals.push(Arrival::Up { partitions: self.partitions.len() as u16 });
    }

    fn go_down(&mut self, why: String) {
        if !self.is_up && self.reason == why {
            return;
        }
        self.is_up = false;
        tracing::warn!("Redis is away: {why}");
        self.reason.clone_from(&why);
        self.arrivals.push(Arrival::Down(why));
    }

    pub(super) fn on_lost(&mut self, id: u64, why: &str, now: u64) {
        let address = self.links.iter().find(|(_, link)| link.id == id);
        let Some(address) = address.map(|(address, _)| address.clone()) else { return };
        self.links.remove(&address);
        // That it is down says that nothing is subscribed any more.
        self.subscriptions.unlink(id);
        self.go_down(format!("{address}: {why}"));
        self.plan_later(now);
    }

    pub(super) fn on_master(&mut self, master: &Address, now: u64) {
        let mut others = self.links.iter().filter(|(address, _)| *address != master);
        if let Some(id) = others.next().map(|(_, link)| link.id) {
            self.on_lost(id, "the sentinels name another master", now);
        }
    }

    /// Looks whether partitions have moved without our being told.
    fn review(&mut self, now: u64) {
        if !self.is_up {
            return;
        }
        match &self.context.settings.url.topology {
            Topology::Single => {}
            Topology::Cluster => self.plan_at = self.plan_at.min(now),
            Topology::Sentinel(service) => {
                let (context, service) = (self.context.clone(), service.clone());
                let tell = self.tell.clone();
                tokio::spawn(async move {
                    let tls = context.settings.url.tls.as_ref().map(tls::Connector::new);
                    let Ok(tls) = tls.transpose() else { return };
                    if let Ok(master) = discovery::master(&context, tls.as_ref(), &service).await {
                        let _ = tell.send(News::Master(master));
                    }
                });
            }
        }
    }

    fn repeat_subscriptions(&mut self, now: u64) {
        let mut batches = Batches::default();
        for (id, name) in self.subscriptions.overdue(now) {
            let address = self.links.iter().find(|(_, link)| link.id == id);
            if let Some(address) = address.map(|(address, _)| address.clone()) {
                self.push_subscription(&address, true, &name, &mut batches);
            }
        }
        self.send(batches, now);
    }

    /// Tries again what was not done, once nothing of its partition is on its way: the
    /// first alone, and all others when it is done, so that none overtakes another.
    fn release(&mut self, now: u64) {
        let mut batches = Batches::default();
        for at in 0..self.partitions.len() {
            let partition = &mut self.partitions[at];
            if partition.again_at > now || partition.in_flight > 0 {
                continue;
            }
            let Some(first) = partition.held.values().next() else { continue };
            if first.held_since + HELD_MS <= now {
                self.drop_held(at as u16);
                continue;
            }
            partition.again_at = now + AGAIN_MS;
            let is_open = partition.is_open;
            if self.link(at as u16).is_none() {
                continue;
            }
            while let Some((_, pending)) = self.partitions[at].held.pop_first() {
                self.push_command(pending, &mut batches);
                if !is_open {
                    break;
                }
            }
        }
        self.send(batches, now);
    }
}
