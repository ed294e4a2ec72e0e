//! What is wrong with the arguments, in one sentence that names the flag and
//! says why.

use std::error::Error as _;

use clap::{
    CommandFactory,
    error::{ContextKind, ErrorKind},
};

use super::flags::Flags;

/// The sentence for what the parser refused.
pub(super) fn of_parser(error: &clap::Error) -> String {
    let context = |kind| error.get(kind).map(ToString::to_string).unwrap_or_default();
    let named = context(ContextKind::InvalidArg);
    // `--listen <ADDRESS:PORT>`
    let flag = named.split(' ').next().unwrap_or_default();
    let value = context(ContextKind::InvalidValue);
    match error.kind() {
        ErrorKind::UnknownArgument => match error.get(ContextKind::SuggestedArg) {
            Some(similar) => format!("there is no flag '{named}'; a similar one is {similar}"),
            None if named.starts_with('-') => {
                format!("there is no flag '{named}'; --help lists all")
            }
            None => format!("'{named}' is no flag; --help lists all"),
        },
        ErrorKind::InvalidSubcommand => {
            let named = context(ContextKind::InvalidSubcommand);
            format!("'{named}' is neither a flag nor a command; --help lists all")
        }
        ErrorKind::InvalidValue if value.is_empty() => format!("{flag} needs a value"),
        ErrorKind::InvalidValue => {
            format!("{flag}: '{value}' is none of {}", context(ContextKind::ValidValue))
        }
        ErrorKind::ValueValidation => {
            let why = error.source().map(ToString::to_string).unwrap_or_default();
            format!("{flag}: '{value}': {why}")
        }
        _ => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            line.strip_prefix("error: ").unwrap_or(line).to_owned()
        }
    }
}

/// The sentence for what [`Limits::check`](crate::engine::Limits::check)
/// refused: its own, with each limit called by its flag.
pub(super) fn of_limits(message: &str) -> String {
    let command = Flags::command();
    let flag = |word: &str| {
        let named = command.get_arguments().find(|flag| flag.get_id() == word)?;
        named.get_long().map(|long| format!("--{long}"))
    };
    let is_part = |byte: char| byte.is_ascii_alphanumeric() || byte == '_';
    let pieces = message.split_inclusive(|byte| !is_part(byte)).map(|piece| {
        let (word, end) = piece.split_at(piece.trim_end_matches(|byte| !is_part(byte)).len());
        flag(word).unwrap_or_else(|| word.to_owned()) + end
    });
    pieces.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_called_by_its_flag_and_only_whole_words_are() {
        assert_eq!(
            of_limits("pong_timeout (1s) must be above ping_interval (2s)"),
            "--pong-timeout (1s) must be above --ping-interval (2s)"
        );
        assert_eq!(
            of_limits("connections_per_address, connections"),
            "--max-connections-per-address, --max-connections"
        );
    }
}
