//! Whether limits can be worked with: each within its range, and none against another.
//! Knows no flags: a message names a limit by its field.

use super::Limits;

impl Limits {
    /// What is wrong with these limits together, if anything.
    ///
    /// # Errors
    /// A sentence that names the offending values.
    pub fn check(&self) -> Result<(), String> {
        let positive: [(&str, usize); 17] = [
            ("message_bytes", self.message_bytes),
            ("frames_per_message", self.frames_per_message as usize),
            ("queue_bytes", self.queue_bytes),
            ("batch_bytes", self.batch_bytes),
            ("rooms_per_connection", self.rooms_per_connection),
            ("members_per_room", self.members_per_room),
            ("name_bytes", self.name_bytes),
            ("connections", self.connections),
            ("connections_per_address", self.connections_per_address),
            ("room_share_bytes", self.room_share_bytes),
            ("shard_share_bytes", self.shard_share_bytes),
            ("window_bytes", self.window_bytes),
            ("handle_window_bytes", self.handle_window_bytes),
            ("received_bytes_per_turn", self.received_bytes_per_turn),
            ("messages_per_turn", self.messages_per_turn),
            ("mails_per_turn", self.mails_per_turn),
            ("events_per_turn", self.events_per_turn),
        ];
        if let Some((name, _)) = positive.into_iter().find(|(_, value)| *value == 0) {
            return Err(format!("{name} must be at least 1"));
        }
        if self.head_bytes < Self::MIN_HEAD_BYTES {
            let (bytes, min) = (self.head_bytes, Self::MIN_HEAD_BYTES);
            return Err(format!("head_bytes ({bytes}) must be at least {min}"));
        }
        if self.sends_per_turn == 0 || self.timers_per_turn == 0 {
            return Err("sends_per_turn and timers_per_turn must be at least 1".into());
        }
        if !(1..=128).contains(&self.ipv6_prefix_bits) {
            let bits = self.ipv6_prefix_bits;
            return Err(format!("ipv6_prefix_bits ({bits}) must be from 1 to 128"));
        }
        let (ping, pong) = (self.ping_interval, self.pong_timeout);
        if !ping.is_zero() && !pong.is_zero() && pong <= ping {
            return Err(format!("pong_timeout ({pong:?}) must be above ping_interval ({ping:?})"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_defaults_fit_together() {
        assert_eq!(Limits::default().check(), Ok(()));
    }

    #[test]
    fn a_pong_timeout_at_or_below_the_ping_interval_is_refused_by_name() {
        let limits = Limits { pong_timeout: Duration::from_secs(54), ..Limits::default() };
        assert!(limits.check().unwrap_err().contains("pong_timeout"));
    }

    #[test]
    fn a_head_too_short_for_any_handshake_is_refused_with_the_least_that_is_not() {
        let with = |head_bytes| Limits { head_bytes, ..Limits::default() }.check();
        assert_eq!(with(0), Err("head_bytes (0) must be at least 256".to_owned()));
        assert_eq!(with(1), Err("head_bytes (1) must be at least 256".to_owned()));
        assert_eq!(with(Limits::MIN_HEAD_BYTES), Ok(()));
    }

    #[test]
    fn a_room_has_no_more_than_a_quarter_of_a_members_budget_to_wait_in() {
        let share = |room_share_bytes, queue_bytes| {
            Limits { queue_bytes, room_share_bytes, ..Limits::default() }.room_share()
        };
        assert_eq!(share(1000, 4000), 1000);
        assert_eq!(share(1001, 4000), 1000);
        assert_eq!(share(999, 4000), 999);
        assert_eq!(share(1000, 3), 1);
    }
}
