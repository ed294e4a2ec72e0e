//! From the text that says where to listen to the shards' listeners.

use std::{
    io,
    net::{SocketAddr, TcpListener, ToSocketAddrs},
};

use tracing::info;

use super::error::BuildError;
use crate::driver::listen::{DEFAULT_BACKLOG, listen};

/// Listens on the first address of `text` that this host has.
pub(super) fn bind(
    text: &str,
    shards: usize,
) -> Result<(SocketAddr, Vec<TcpListener>), BuildError> {
    let bad = |error| BuildError::Address(text.to_owned(), error);
    let addresses: Vec<_> = text.to_socket_addrs().map_err(bad)?.collect();
    let bound = bind_first(&addresses, shards)?;
    let (local, listeners) = bound.ok_or_else(|| bad(io::ErrorKind::NotFound.into()))?;
    if addresses.len() > 1 {
        info!(name = text, %local, "the name has several addresses, one of which is listened on");
    }
    Ok((local, listeners))
}

/// A name may have addresses that this host has not: `localhost` is often `[::1]`
/// where there is no IPv6. Any other failure is one: with the port in use on one
/// address, serving on the next would leave clients with the wrong server.
fn bind_first(
    addresses: &[SocketAddr],
    shards: usize,
) -> Result<Option<(SocketAddr, Vec<TcpListener>)>, BuildError> {
    let mut missing = None;
    for wanted in addresses {
        let failed = |error| BuildError::Listen(*wanted, error);
        let opened = listen(*wanted, shards, DEFAULT_BACKLOG).and_then(|listeners| {
            let first = listeners.first().ok_or(io::ErrorKind::InvalidInput)?;
            Ok((first.local_addr()?, listeners))
        });
        match opened {
            Ok(bound) => return Ok(Some(bound)),
            Err(error) if is_not_of_this_host(&error) => {
                missing.get_or_insert_with(|| failed(error));
            }
            Err(error) => return Err(failed(error)),
        }
    }
    missing.map_or(Ok(None), Err)
}

fn is_not_of_this_host(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a block that is for documentation: no host has it (RFC 5737).
    const ELSEWHERE: ([u8; 4], u16) = ([192, 0, 2, 1], 0);
    const HERE: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

    #[test]
    fn an_address_that_this_host_has_not_is_passed_over() {
        let addresses = [ELSEWHERE.into(), HERE.into()];
        let (local, listeners) = bind_first(&addresses, 2).unwrap().unwrap();
        assert_eq!((local.ip().to_string().as_str(), listeners.len()), ("127.0.0.1", 2));
    }

    #[test]
    fn where_this_host_has_none_of_the_addresses_the_first_is_named() {
        let error = bind_first(&[ELSEWHERE.into(), ELSEWHERE.into()], 1).unwrap_err();
        assert!(matches!(error, BuildError::Listen(address, _) if address == ELSEWHERE.into()));
    }

    #[test]
    fn a_port_in_use_is_not_evaded_by_another_address() {
        let taken = TcpListener::bind(SocketAddr::from(HERE)).unwrap();
        let taken_address = taken.local_addr().unwrap();
        let error = bind_first(&[taken_address, HERE.into()], 1).unwrap_err();
        assert!(matches!(error, BuildError::Listen(address, _) if address == taken_address));
    }
}
