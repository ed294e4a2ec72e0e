//! Progress on standard error, so that standard output holds results only.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar from 0 to `length`; invisible when nobody watches.
pub(crate) fn bar(what: &'static str, length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:>12} [{bar:40}] {human_pos}/{human_len} {eta}");
    let style = style.expect("the template is constant and valid");
    ProgressBar::new(length).with_style(style.progress_chars("=> ")).with_message(what)
}
