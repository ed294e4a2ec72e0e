//! Questions to all nodes, and what they have answered so far. Knows no connection.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    outputs::{Asker, Outputs},
    settings::{ASK_MS, ASKS},
};
use crate::cluster::{ClusterAnswer, ClusterReply, Question};

/// One question.
struct Pending {
    reply: ClusterReply,
    /// Who has not answered.
    missing: BTreeSet<u64>,
    answer: ClusterAnswer,
    /// So many members at the most.
    most: usize,
    until: u64,
}

/// The questions that this node has asked.
#[derive(Default)]
pub(super) struct Asks {
    asks: u64,
    /// By number, and so by age.
    pending: BTreeMap<u64, Pending>,
}

impl Asks {
    /// A question to `nodes`, of which `own` answers without the broker. Returns its
    /// number if it is to be sent.
    pub(super) fn ask(
        &mut self,
        question: &Question,
        reply: ClusterReply,
        own: u64,
        nodes: impl Iterator<Item = u64>,
        now: u64,
        out: &mut Outputs,
    ) -> Option<u64> {
        let missing: BTreeSet<u64> = nodes.chain([own]).collect();
        if self.pending.len() >= ASKS {
            let answer = ClusterAnswer { missing: missing.len(), ..ClusterAnswer::default() };
            out.reply(reply, answer);
            return None;
        }
        self.asks += 1;
        let most = match question {
            Question::MemberCount(_) => 0,
            Question::Members(_, most) => *most as usize,
        };
        let answer = ClusterAnswer::default();
        let pending = Pending { reply, missing, answer, most, until: now + ASK_MS };
        self.pending.insert(self.asks, pending);
        out.questions.push((Asker { node: own, ask: self.asks }, question.clone()));
        Some(self.asks)
    }

    pub(super) fn on_answer(
        &mut self,
        node: u64,
        ask: u64,
        answer: ClusterAnswer,
        out: &mut Outputs,
    ) {
        let Some(pending) = self.pending.get_mut(&ask) else { return };
        if !pending.missing.remove(&node) {
            return;
        }
        pending.answer.nodes += 1;
        pending.answer.count = pending.answer.count.saturating_add(answer.count);
        let room = pending.most.saturating_sub(pending.answer.members.len());
        pending.answer.members.extend(answer.members.into_iter().take(room));
        if pending.missing.is_empty()
            && let Some(done) = self.pending.remove(&ask)
        {
            out.reply(done.reply, done.answer);
        }
    }

    /// When a question has waited long enough.
    pub(super) fn next_tick(&self) -> u64 {
        self.pending.first_key_value().map_or(u64::MAX, |(_, pending)| pending.until)
    }

    pub(super) fn on_tick(&mut self, now: u64, out: &mut Outputs) {
        while self.next_tick() <= now {
            let Some((_, mut done)) = self.pending.pop_first() else { return };
            done.answer.missing = done.missing.len();
            out.reply(done.reply, done.answer);
        }
    }
}
