//! A run: nodes, a broker, a clock, and what happens by seed.

use std::sync::Arc;

use shardcast::{
    Audience, ClientId, ConnId, Data, Position, Publication,
    cluster::{Charge, FromRelay, Presence, Question, Receipt, ToRelay},
    relay::{
        broker::HistoryLimits,
        node::{HistoryRule, NodeSettings},
        pattern::Pattern,
    },
    sim::Rng,
};

use crate::{
    broker::{SimBroker, Weather},
    member::Member,
};

pub(crate) const PLAIN: [&str; 2] = ["a", "bb"];
pub(crate) const KEPT: [&str; 2] = ["h:1", "k:22"];
pub(crate) const PRESENT: &str = "p:333";
/// How much is kept of each room of `KEPT`.
pub(crate) const COUNTS: [u64; 2] = [40, 4];
/// Misfortune lasts for so long.
const STORM_MS: u64 = 6_000;

/// What a run has come to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) published: usize,
    pub(crate) received: usize,
    pub(crate) gaps: usize,
    pub(crate) unknown_gaps: usize,
    pub(crate) recovered: usize,
    pub(crate) not_recovered: usize,
    pub(crate) dropped: usize,
    pub(crate) repeated: usize,
    pub(crate) presence_changes: usize,
    /// Publications that members in rooms without history were to receive.
    pub(crate) due: usize,
    /// Those of them that they did not.
    pub(crate) lost: usize,
    /// The same of what was published while the publisher's broker was away, if it was
    /// accepted when that was back.
    pub(crate) due_later: usize,
    pub(crate) lost_later: usize,
}

impl Outcome {
    pub(crate) fn add(&mut self, other: &Self) {
        self.published += other.published;
        self.received += other.received;
        self.gaps += other.gaps;
        self.unknown_gaps += other.unknown_gaps;
        self.recovered += other.recovered;
        self.not_recovered += other.not_recovered;
        self.dropped += other.dropped;
        self.repeated += other.repeated;
        self.presence_changes += other.presence_changes;
        self.due += other.due;
        self.lost += other.lost;
        self.due_later += other.due_later;
        self.lost_later += other.lost_later;
    }

    /// Counts a publication in a room without history for one of its members.
    pub(crate) fn count(&mut self, is_due: bool, is_later: bool, is_there: bool) {
        let (due, lost) = (usize::from(is_due), usize::from(is_due && !is_there));
        self.due += due;
        self.lost += lost;
        if is_later {
            self.due_later += due;
            self.lost_later += lost;
        }
    }

    /// The faults bite.
    pub(crate) fn assert_pressed(&self) {
        let all = [
            self.received,
            self.gaps,
            self.unknown_gaps,
            self.recovered,
            self.not_recovered,
            self.dropped,
            self.repeated,
            self.presence_changes,
        ];
        assert!(all.iter().all(|count| *count > 10), "{self:?}");
        // What waited for the broker is lost by what else happens, and not because others
        // came back later: without waiting for them it is more than two of five.
        assert!(self.lost_later * 4 < self.due_later, "{self:?}");
    }
}

pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) now: u64,
    pub(crate) broker: SimBroker,
    pub(crate) members: Vec<Member>,
    /// Those that were killed.
    pub(crate) dead: Vec<Member>,
    settings: NodeSettings,
    numbers: u64,
    events: u64,
    pub(crate) calm_at: u64,
}

fn settings(rng: &mut Rng) -> NodeSettings {
    let rule = |pattern: &str, count| HistoryRule {
        pattern: Pattern::parse(pattern).unwrap(),
        limits: HistoryLimits { count, age_ms: 3_600_000 },
    };
    NodeSettings {
        history: vec![rule("h:*", COUNTS[0]), rule("k:*", COUNTS[1])],
        presence: vec![Pattern::parse("p:*").unwrap()],
        outage_bytes: if rng.chance(50) { 2_000 } else { 1 << 20 },
        outage_age_ms: if rng.chance(50) { 1_000 } else { 30_000 },
        ..NodeSettings::default()
    }
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let settings = settings(&mut rng);
        let partitions = if rng.chance(30) { 3 } else { 1 };
        let mut world = Self {
            broker: SimBroker::new(rng.next_u64(), partitions),
            rng,
            now: 1_000_000,
            members: Vec::new(),
            dead: Vec::new(),
            settings,
            numbers: 0,
            events: 0,
            calm_at: 0,
        };
        world.broker.weather.delay = world.rng.below(40);
        (0..2 + seed % 4).for_each(|_| world.add_member());
        world
    }

    fn add_member(&mut self) {
        self.numbers += 1;
        self.broker.connect(self.numbers, self.now);
        let mut member = Member::new(self.numbers, self.settings.clone(), self.now);
        for room in PLAIN.into_iter().chain(KEPT).chain([PRESENT]) {
            if self.rng.chance(70) {
                want(&mut member, room, self.now);
            }
        }
        self.members.push(member);
    }

    /// Lets everything happen that is due by `until`.
    pub(crate) fn advance(&mut self, until: u64) {
        loop {
            let ticks = self.members.iter().map(|member| member.node.next_tick()).min();
            let next = self.broker.next().min(ticks.unwrap_or(u64::MAX));
            if next > until {
                self.now = until;
                return;
            }
            self.now = self.now.max(next);
            self.turn();
        }
    }

    fn turn(&mut self) {
        self.broker.work(self.now);
        for member in &mut self.members {
            if !member.node.is_backlogged() {
                for arrival in self.broker.take(member.number, self.now) {
                    member.node.on_arrival(arrival, self.now);
                    member.is_busy = true;
                }
            }
            if member.node.next_tick() <= self.now {
                member.node.on_tick(self.now);
                member.is_busy = true;
            }
            if !member.is_busy {
                continue;
            }
            member.flush(self.now);
            self.broker.submit(member.number, member.node.take_operations(), self.now);
            let queued =
                member.status.counters.queued_bytes.load(std::sync::atomic::Ordering::Relaxed);
            assert!(queued <= self.settings.outage_bytes as u64, "{queued} bytes are kept");
        }
        self.broker.work(self.now);
    }

    pub(crate) fn advance_by(&mut self, ms: u64) {
        self.turn();
        self.advance(self.now + ms);
    }

    /// The room and key with which an event was published.
    pub(crate) fn key_of(&self, event: &str) -> Option<&(String, String)> {
        let mut all = self.members.iter().chain(&self.dead);
        all.find_map(|member| member.keys.get(event))
    }

    pub(crate) fn storm(&mut self) {
        let end = self.now + STORM_MS;
        while self.now < end {
            for _ in 0..=self.rng.below(4) {
                self.act();
            }
            if self.rng.chance(6) {
                self.misfortune();
            }
            let pause = 1 + self.rng.below(60) as u64;
            self.advance(self.now + pause);
        }
    }

    /// Everything works from now on, and has time to come right.
    pub(crate) fn calm(&mut self) {
        self.calm_at = self.now;
        self.broker.weather = Weather { delay: 5, ..Weather::default() };
        for member in &self.members {
            member.set_full(false);
        }
        for wire in self.broker.wires.values_mut() {
            wire.mute_until = 0;
        }
        // A channel that is half open is found when something is sent there.
        self.advance_by(3_000);
        (0..self.members.len()).for_each(|index| self.ask(index));
        // Long enough for the presence of those who were killed to end.
        let is_long = !self.dead.is_empty();
        self.advance(self.now + if is_long { 25_000 } else { 9_000 });
    }

    fn misfortune(&mut self) {
        let index = self.rng.below(self.members.len());
        let node = self.members[index].number;
        let now = self.now;
        match self.rng.below(12) {
            0 | 1 => {
                let for_ms = self.rng.below(2_500) as u64;
                self.broker.cut(node, for_ms, now);
            }
            2 => self.broker.half_open(node),
            3 => self.broker.deafen(node),
            4 => self.broker.unsubscribe(node, now),
            5 => {
                let for_ms = self.rng.below(2_000) as u64;
                if let Some(wire) = self.broker.wires.get_mut(&node) {
                    wire.mute_until = now + for_ms;
                }
            }
            6 => {
                let (for_ms, is_loss) = (self.rng.below(1_500) as u64, self.rng.chance(40));
                self.broker.restart(for_ms, is_loss, now);
            }
            7 if self.rng.chance(40) => self.kill(index),
            8 => self.members[index].set_full(true),
            9 => self.members[index].set_full(false),
            _ => {
                self.broker.weather = Weather {
                    lost: [0, 0, 20, 200][self.rng.below(4)],
                    swallowed: [0, 0, 20, 200][self.rng.below(4)],
                    unknown: [0, 0, 50, 300][self.rng.below(4)],
                    delay: [0, 10, 60, 200][self.rng.below(4)],
                };
            }
        }
    }

    fn kill(&mut self, index: usize) {
        let now = self.now;
        let node = self.members[index].number;
        self.broker.cut(node, 0, now);
        self.broker.wires.remove(&node);
        let dead = self.members.remove(index);
        self.dead.push(dead);
        self.add_member();
    }

    fn act(&mut self) {
        let index = self.rng.below(self.members.len());
        let choice = self.rng.below(100);
        match choice {
            0..50 => self.publish(index),
            // While much waits for the shards it is not known what they want of it.
            50..58 if !self.members[index].is_full() => {
                let rooms = [PLAIN[0], PLAIN[1], KEPT[0], KEPT[1], PRESENT];
                let room = rooms[self.rng.below(rooms.len())];
                let member = &mut self.members[index];
                if member.wanted.remove(room).is_some() {
                    member.wants.push((member.log.len(), room.to_owned(), false));
                    let unwanted = ToRelay::Unwanted(Audience::Room(room.into()));
                    member.does(unwanted, self.now);
                } else {
                    want(member, room, self.now);
                }
            }
            58..75 => self.recover(index),
            75..90 => self.presence(index),
            90..94 => {
                let conn = ConnId::new(0, 1, 0);
                let list = ToRelay::ListPresent { conn, room: PRESENT.into() };
                self.members[index].does(list, self.now);
            }
            94..96 => {
                let publication = self.publication(index, Audience::Everyone);
                let charge = Charge { conn: None, bytes: 0 };
                let publish = ToRelay::Publish { publication, receipt: None, once: None, charge };
                self.members[index].does(publish, self.now);
            }
            _ => self.ask(index),
        }
        let member = &mut self.members[index];
        member.flush(self.now);
        self.broker.submit(member.number, member.node.take_operations(), self.now);
    }

    pub(crate) fn ask(&mut self, index: usize) {
        let member = &mut self.members[index];
        let answers = member.answers.clone();
        let reply = Box::new(move |answer| answers.lock().unwrap().push(answer));
        member.asked += 1;
        member.does(ToRelay::Ask(Question::MemberCount("a".into()), reply), self.now);
    }

    fn publication(&mut self, index: usize, audience: Audience) -> Arc<Publication> {
        self.events += 1;
        let member = &mut self.members[index];
        let event = format!("{}.{}", member.number, self.events);
        let data = Data::text("x".repeat(self.rng.below(100)));
        let publication = Arc::new(Publication::new(audience, &event, data, self.now));
        member.published.push((self.now, publication.clone()));
        if self.broker.wires.get(&member.number).is_some_and(|wire| !wire.is_up) {
            member.away.insert(event);
        }
        publication
    }

    fn publish(&mut self, index: usize) {
        let rooms = [PLAIN[0], PLAIN[1], KEPT[0], KEPT[1]];
        let room = rooms[self.rng.below(rooms.len())];
        let publication = self.publication(index, Audience::Room(room.into()));
        let once = self.rng.chance(20).then(|| format!("key {}", self.rng.below(30)));
        let member = &mut self.members[index];
        if let Some(key) = &once {
            let known = (room.to_owned(), key.clone());
            member.keys.insert(publication.event.to_string(), known);
        }
        let receipt = self.rng.chance(60).then(|| {
            member.receipts += 1;
            Receipt { conn: ConnId::new(0, 0, 0), id: publication.event.as_ref().into() }
        });
        member.charged += 10;
        let charge = Charge { conn: None, bytes: 10 };
        let once = once.map(Into::into);
        member.does(ToRelay::Publish { publication, receipt, once, charge }, self.now);
    }

    fn recover(&mut self, index: usize) {
        let room = KEPT[self.rng.below(2)];
        let since = match self.rng.below(10) {
            0 => None,
            1 => Some(Position { epoch: self.rng.next_u64(), offset: 1 }),
            _ => {
                let last = self.last_truth(room);
                let back = self.rng.below(30) as u64;
                let ahead = u64::from(self.rng.chance(5)) * 100;
                Some(Position { offset: last.offset.saturating_sub(back) + ahead, ..last })
            }
        };
        self.recover_since(index, room, since);
    }

    pub(crate) fn recover_since(&mut self, index: usize, room: &str, since: Option<Position>) {
        let member = &mut self.members[index];
        if !member.wanted.contains_key(room) {
            if member.is_full() {
                return;
            }
            want(member, room, self.now);
        }
        member.recoveries.push((self.now, since));
        let conn = ConnId::new(0, 7, member.recoveries.len() as u32 - 1);
        member.does(ToRelay::Recover { conn, room: room.into(), since }, self.now);
    }

    /// The last position that was stored in the room.
    pub(crate) fn last_truth(&mut self, room: &str) -> Position {
        let limits =
            HistoryLimits { count: COUNTS[usize::from(room == KEPT[1])], age_ms: 3_600_000 };
        let history = self.broker.store.read(&room.into(), 0, 0, limits, self.now);
        history.last
    }

    fn presence(&mut self, index: usize) {
        let client = self.rng.below(6) as u32;
        let member = &mut self.members[index];
        let who = presence(member.number, client);
        let room = Arc::from(PRESENT);
        if member.present.remove(&client) {
            member.does(ToRelay::Absent(room, who.client), self.now);
        } else {
            member.present.insert(client);
            member.does(ToRelay::Present(room, who), self.now);
        }
    }

    pub(crate) fn outcome(&self, mut outcome: Outcome) -> Outcome {
        for member in &self.members {
            outcome.published += member.published.len();
            for (_, given) in &member.log {
                match given {
                    FromRelay::Publish(_) => outcome.received += 1,
                    FromRelay::Gap(_, Some(_)) => outcome.gaps += 1,
                    FromRelay::Gap(_, None) => outcome.unknown_gaps += 1,
                    FromRelay::Recovered { missed: Some(missed), .. } => {
                        outcome.recovered += usize::from(!missed.is_empty());
                    }
                    FromRelay::Recovered { .. } => outcome.not_recovered += 1,
                    FromRelay::PresenceChange { .. } => outcome.presence_changes += 1,
                    _ => {}
                }
            }
            let count = |name: &str| {
                let all = member.status.counters.all();
                all.iter().find(|(found, _)| *found == name).unwrap().1 as usize
            };
            outcome.dropped += count("dropped");
            outcome.repeated += count("repeated");
        }
        outcome
    }
}

fn want(member: &mut Member, room: &str, now: u64) {
    member.wanted.insert(room.to_owned(), now);
    member.wants.push((member.log.len(), room.to_owned(), true));
    member.does(ToRelay::Wanted(Audience::Room(room.into())), now);
}

/// Clients 0 to 2 of a node are one user's, who is on all nodes.
pub(crate) fn presence(node: u64, client: u32) -> Presence {
    let user = (client < 3).then(|| "alice".into());
    Presence { client: ClientId::new(node, ConnId::new(0, client, 1)), user }
}
