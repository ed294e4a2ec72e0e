//! What a mail brings about, whether it comes from another thread or from a handler
//! that used a handle on its own shard's thread. Knows connections and rooms; not
//! how mail travels.

use super::{
    connection::{Connection, State},
    core::Core,
    mail::{JoinRequest, LeaveRequest, Letter, Mail, Parcel, Question},
    publish::{Target, to_payload},
};
use crate::dialect::Event;

impl Core {
    /// Does what `parcel` asks for, and credits who was charged for it when it has been
    /// taken. A question is given back: it is for the whole engine.
    pub(crate) fn on_mail(&mut self, parcel: Parcel) -> Option<Question> {
        let Parcel { mail, origin, bytes } = parcel;
        let mut question = None;
        match mail {
            Mail::Publish(publication) => {
                self.deliver(&publication, Some((origin, bytes)));
                return None;
            }
            Mail::Send(letter) => self.on_letter(&letter),
            Mail::Close(id, reason) => self.disconnect(id, reason),
            Mail::Join(join) => self.on_join_request(*join),
            Mail::Leave(leave) => {
                let LeaveRequest { id, room, answer } = *leave;
                let known = self.find(id).is_some();
                answer(known && self.leave(id, Target::Room(&room)));
            }
            Mail::Ask(asked) => question = Some(asked),
            Mail::Credit(shard, credits) => self.on_credit(shard, &credits),
            Mail::AskCredit(shard) => self.windows.asked_by(shard),
            // The shard has taken the socket out: dropped, it is closed.
            Mail::Adopt(_) => {}
        }
        self.credit(origin, bytes);
        question
    }

    fn on_letter(&mut self, letter: &Letter) {
        let open = |found: &Connection| found.state == State::Open;
        if self.find(letter.to).is_some_and(open) {
            let (event, data) = (&letter.event, to_payload(&letter.data));
            let message = Event::Message { event, room: None, data, from: None, user: None };
            self.tell(letter.to.slot(), &message);
        }
    }

    fn on_join_request(&mut self, request: JoinRequest) {
        let JoinRequest { id, room, answer } = request;
        let open = self.find(id).is_some_and(|found| found.state == State::Open);
        let joined = open.then(|| self.join(id, Target::Room(room.name())).map(drop));
        if let Some(Err(refusal)) = joined {
            self.tell(id.slot(), &Event::Refused(refusal));
        }
        // Whoever is answered finds the directory as the join left it.
        drop(room);
        answer(joined);
    }

    /// Comes before whatever a handler does through its connection: what it did
    /// through a handle before is done first.
    #[inline]
    pub(crate) fn hear_handles(&mut self) {
        if self.handles_have_sent.get() {
            self.do_what_handles_sent();
        }
    }

    #[cold]
    fn do_what_handles_sent(&mut self) {
        let first = self.outbound.len();
        (self.take_from_handles)(&mut self.outbound);
        if self.outbound.len() == first {
            return;
        }
        let mine = 1 << self.shard;
        for (shards, parcel) in self.outbound.split_off(first) {
            let is_question = matches!(parcel.mail, Mail::Ask(_));
            if shards & mine == 0 || is_question {
                self.outbound.push((shards, parcel));
            } else if shards == mine {
                self.on_mail(parcel);
            } else if let Some(mail) = parcel.mail.for_another() {
                let Parcel { origin, bytes, .. } = parcel;
                self.on_mail(Parcel { mail, origin, bytes });
                self.outbound.push((shards & !mine, parcel));
            }
        }
    }
}
