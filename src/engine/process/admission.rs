//! How many connections there are, in all and per address, over all shards.
//! Touched when a connection comes and goes, never for a message. Knows no connection.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
};

use hashbrown::HashMap;

use crate::engine::types::limits::Limits;

/// What to do with a socket that was just accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admit {
    /// Within the limits.
    Yes,
    /// The server is full: this one can only be told so.
    Refuse,
    /// Close it at once.
    Drop,
}

#[derive(Debug, Default)]
struct Counts {
    admitted: usize,
    /// By [`subnet`].
    by_address: HashMap<IpAddr, u32, foldhash::fast::RandomState>,
}

/// The count of connections of the process.
#[derive(Debug)]
pub(crate) struct Admission {
    max: usize,
    max_per_address: usize,
    ipv6_prefix_bits: u8,
    counts: Mutex<Counts>,
}

impl Admission {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            max: limits.connections,
            max_per_address: limits.connections_per_address,
            ipv6_prefix_bits: limits.ipv6_prefix_bits,
            counts: Mutex::default(),
        }
    }

    /// Counts a new connection. What is answered `Yes` or `Refuse` must be given
    /// back by [`Admission::leave`] with the same answer.
    pub(crate) fn enter(&self, address: IpAddr) -> Admit {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.admitted >= self.max {
            return Admit::Refuse;
        }
        let here = counts.by_address.entry(subnet(address, self.ipv6_prefix_bits)).or_insert(0);
        if *here as usize >= self.max_per_address {
            return Admit::Drop;
        }
        *here += 1;
        counts.admitted += 1;
        Admit::Yes
    }

    /// Takes a connection off the count.
    pub(crate) fn leave(&self, address: IpAddr, was: Admit) {
        if was != Admit::Yes {
            return;
        }
        let subnet = subnet(address, self.ipv6_prefix_bits);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.admitted -= 1;
        if let Some(here) = counts.by_address.get_mut(&subnet) {
            *here -= 1;
            if *here == 0 {
                counts.by_address.remove(&subnet);
            }
        }
    }
}

/// What counts as one address: an IPv4 address, also one mapped into IPv6 (RFC 4291
/// section 2.5.5.2), or the first `ipv6_prefix_bits` of an IPv6 address, for a host
/// has all addresses of its network to choose from.
pub(crate) fn subnet(address: IpAddr, ipv6_prefix_bits: u8) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let host_bits = 128_u32.saturating_sub(u32::from(ipv6_prefix_bits));
            let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(connections: usize, connections_per_address: usize) -> Admission {
        Admission::new(&Limits { connections, connections_per_address, ..Limits::default() })
    }

    #[test]
    fn above_the_limit_all_are_refused_until_one_leaves() {
        let admission = admission(1, 10);
        let address = IpAddr::from([127, 0, 0, 1]);
        assert_eq!(admission.enter(address), Admit::Yes);
        assert_eq!(admission.enter(address), Admit::Refuse);
        admission.leave(address, Admit::Refuse);
        assert_eq!(admission.enter(address), Admit::Refuse);
        admission.leave(address, Admit::Yes);
        assert_eq!(admission.enter(address), Admit::Yes);
    }

    #[test]
    fn one_address_cannot_take_every_place() {
        let admission = admission(10, 1);
        let (a, b) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        assert_eq!(admission.enter(a), Admit::Yes);
        assert_eq!(admission.enter(a), Admit::Drop);
        assert_eq!(admission.enter(b), Admit::Yes);
        admission.leave(a, Admit::Yes);
        assert_eq!(admission.enter(a), Admit::Yes);
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_as_one() {
        let admission = admission(10, 1);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(admission.enter(address("2001:db8:0:1::1")), Admit::Yes);
        assert_eq!(admission.enter(address("2001:db8:0:1:ffff::2")), Admit::Drop);
        assert_eq!(admission.enter(address("2001:db8:0:2::1")), Admit::Yes);
        admission.leave(address("2001:db8:0:1::9"), Admit::Yes);
        assert_eq!(admission.enter(address("2001:db8:0:1:ffff::2")), Admit::Yes);
    }

    #[test]
    fn an_ipv4_address_is_the_same_one_when_it_is_mapped_into_ipv6() {
        let admission = admission(10, 1);
        assert_eq!(admission.enter([192, 0, 2, 1].into()), Admit::Yes);
        assert_eq!(admission.enter("::ffff:192.0.2.1".parse().unwrap()), Admit::Drop);
        assert_eq!(admission.enter("::ffff:192.0.2.2".parse().unwrap()), Admit::Yes);
    }

    #[test]
    fn a_prefix_may_be_as_long_as_an_address() {
        let (a, b): (IpAddr, IpAddr) = ("::1".parse().unwrap(), "::2".parse().unwrap());
        assert_ne!(subnet(a, 128), subnet(b, 128));
        assert_eq!(subnet(a, 1), subnet(b, 1));
    }
}
