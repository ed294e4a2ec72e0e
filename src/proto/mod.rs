//! RFC 6455, server side, as pure functions: bytes in, values out.
