//! Staying connected: when links are made and given up, where partitions are, and what
//! waits for that.

use std::collections::BTreeSet;

use super::{BACKOFF_MS, Batches, RedisBroker, answers::AGAIN_MS};
use crate::relay::{
    broker::Arrival,
    redis::{
        discovery::{self, News, Plan},
        scripts::Place,
        tls,
        url::{Address, Topology},
    },
    status::RelayCounters,
};

/// The least time between two looks at where partitions are, in milliseconds.
const PLAN_EVERY_MS: u64 = 100;
/// How often subscriptions and refusals are looked at, in milliseconds.
const REVIEW_EVERY_MS: u64 = 1000;
/// How often it is asked where partitions are although nothing tells that they have
/// moved, in milliseconds.
const SENTINELS_EVERY_MS: u64 = 2000;
/// The same in a cluster, where every message that is misdirected tells.
const CLUSTER_EVERY_MS: u64 = 5000;
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
            if self.is_up && self.ask_at <= now {
                self.review(now);
            }
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
        let linked: BTreeSet<Address> =
            self.links.iter().map(|(address, _)| address.clone()).collect();
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
                self.links.push((address, link));
            } else {
                failed = Some(format!("{address}: the connection was closed"));
            }
        }
        self.servers = plan.servers;
        self.set_places(&plan.owners);
        for (partition, owner) in (0u16..).zip(plan.owners) {
            self.set_owner(partition, owner);
        }
        let partitions = &self.partitions;
        self.links.retain(|(_, link)| partitions.iter().any(|known| known.link == Some(link.id)));
        if self.partitions.iter().all(|partition| partition.link.is_some()) {
            self.backoff_ms = BACKOFF_MS.0;
            self.go_up();
        } else {
            self.go_down(failed.unwrap_or_else(|| "a server is missing".to_owned()));
            self.plan_later(now);
        }
    }

    /// Where histories are, if they may be somewhere else tomorrow.
    fn set_places(&mut self, owners: &[Address]) {
        if self.context.settings.url.topology == Topology::Single {
            return;
        }
        let masters: BTreeSet<String> = owners.iter().map(ToString::to_string).collect();
        for (known, owner) in self.partitions.iter_mut().zip(owners) {
            let at = owner.to_string();
            let others = masters.iter().filter(|master| **master != at).cloned().collect();
            known.place = Place { at, others };
        }
    }

    fn set_owner(&mut self, partition: u16, owner: Address) {
        let mut links = self.links.iter().filter(|(address, _)| *address == owner);
        let link = links.next().map(|(_, link)| link.id);
        let place = &mut self.partitions[usize::from(partition)];
        let before = std::mem::replace(&mut place.link, link);
        if place.owner.as_ref() == Some(&owner) && before == link {
            return;
        }
        place.owner = Some(owner);
        place.is_closed |= place.in_flight > 0;
        let lost = self.subscriptions.moved(partition, link.unwrap_or(u64::MAX));
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
        let reason = format!("Redis is away: {why}");
        tracing::warn!("{reason}");
        self.reason = why;
        self.arrivals.push(Arrival::Down(reason));
    }

    pub(super) fn on_lost(&mut self, id: u64, why: &str, now: u64) {
        let at = self.links.iter().position(|(_, link)| link.id == id);
        let Some((address, _)) = at.map(|at| self.links.swap_remove(at)) else { return };
        for partition in &mut self.partitions {
            partition.link.take_if(|link| *link == id);
        }
        // That it is down says that nothing is subscribed any more.
        self.subscriptions.unlink(id);
        self.go_down(format!("{address}: {why}"));
        self.plan_later(now);
    }

    pub(super) fn on_master(&mut self, master: &Address, now: u64) {
        let mut others = self.links.iter().filter(|(address, _)| address != master);
        if let Some(id) = others.next().map(|(_, link)| link.id) {
            self.on_lost(id, "the sentinels name another master", now);
        }
    }

    /// Looks whether partitions have moved without our being told.
    fn review(&mut self, now: u64) {
        match &self.context.settings.url.topology {
            Topology::Single => {}
            Topology::Cluster => {
                self.ask_at = now + CLUSTER_EVERY_MS;
                self.plan_at = self.plan_at.min(now);
            }
            Topology::Sentinel(service) => {
                self.ask_at = now + SENTINELS_EVERY_MS;
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
        for (link, name) in self.subscriptions.overdue(now) {
            self.push_subscription(link, true, &name, &mut batches);
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
            if partition.link.is_none() {
                continue;
            }
            while let Some((_, pending)) = self.partitions[at].held.pop_first() {
                self.push_command(pending, &mut batches);
                if !is_open {
                    self.partitions[at].is_closed = true;
                    break;
                }
            }
        }
        self.send(batches, now);
    }
}
