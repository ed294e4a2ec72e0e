//! Bytes that lie in the kernel's queues of TCP connections, from `/proc/net/tcp`:
//! sent and not read, seen from outside both programs.

use std::fs;

/// One socket of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Socket {
    local_port: u16,
    remote_port: u16,
    /// Bytes that it has sent and the other end has not acknowledged.
    unsent: u64,
    /// Bytes that have arrived and its program has not read.
    unread: u64,
}

/// Bytes on their way to the server at `port`, of all its clients.
pub(crate) fn towards(port: u16) -> u64 {
    let waiting = sockets().filter_map(|socket| match socket {
        Socket { remote_port, unsent, .. } if remote_port == port => Some(unsent),
        Socket { local_port, unread, .. } if local_port == port => Some(unread),
        _ => None,
    });
    waiting.sum()
}

/// Bytes on their way from the server at `port` to its client at `client`.
pub(crate) fn between(port: u16, client: u16) -> u64 {
    let waiting = sockets().filter_map(|socket| match (socket.local_port, socket.remote_port) {
        (local, remote) if local == port && remote == client => Some(socket.unsent),
        (local, remote) if local == client && remote == port => Some(socket.unread),
        _ => None,
    });
    waiting.sum()
}

fn sockets() -> impl Iterator<Item = Socket> {
    let text = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let sockets: Vec<_> = text.lines().filter_map(socket).collect();
    sockets.into_iter()
}

/// The socket of a line, of which the first names the columns.
fn socket(line: &str) -> Option<Socket> {
    let mut fields = line.split_whitespace().skip(1);
    let mut port = || u16::from_str_radix(fields.next()?.rsplit_once(':')?.1, 16).ok();
    let (local_port, remote_port) = (port()?, port()?);
    // A listener's queue is of connections, not of bytes.
    fields.next().filter(|state| *state != "0A")?;
    let (unsent, unread) = fields.next()?.split_once(':')?;
    let bytes = |text| u64::from_str_radix(text, 16).ok();
    Some(Socket { local_port, remote_port, unsent: bytes(unsent)?, unread: bytes(unread)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn what_was_sent_and_not_read_is_seen_from_outside() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(&[0; 1000]).unwrap();
        server.write_all(&[0; 300]).unwrap();
        let client = client.local_addr().unwrap().port();
        // Either the sender or the receiver has them, at any moment.
        assert_eq!((towards(port), between(port, client)), (1000, 300));
    }

    #[test]
    fn a_listener_has_no_bytes() {
        let line = "0: 0100007F:1F90 00000000:0000 0A 00000000:00000005 00:0 0 0 0 1";
        assert_eq!(socket(line), None);
        assert_eq!(socket("  sl  local_address rem_address   st tx_queue rx_queue"), None);
    }
}
