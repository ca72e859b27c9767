//! A bar on the terminal; nothing elsewhere.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar that counts dead letters.
pub(super) fn dead_letters(total: u64, what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(total);
    let style = ProgressStyle::with_template(
        "{msg} {bar:30} {human_pos} of {human_len} dead letters, {per_sec}, {eta} left",
    );
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar.set_message(what);
    bar
}
