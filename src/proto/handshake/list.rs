//! Comma-separated lists and the tokens in them (RFC 9110 section 5.6). Must not
//! know which header fields hold them.

/// Whether the comma-separated lists in `values` have `wanted`, in any case.
pub(super) fn list_has<'h>(values: impl Iterator<Item = &'h [u8]>, wanted: &str) -> bool {
    elements(values).any(|element| element.eq_ignore_ascii_case(wanted.as_bytes()))
}

/// The elements of comma-separated lists, the empty ones left out (RFC 9110
/// section 5.6.1.2).
pub(super) fn elements<'h>(
    values: impl Iterator<Item = &'h [u8]>,
) -> impl Iterator<Item = &'h [u8]> {
    values
        .flat_map(|value| value.split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}

/// Whether `bytes` are a token (RFC 9110 section 5.6.2).
pub(super) fn is_token(bytes: &[u8]) -> bool {
    let is_tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(is_tchar)
}
