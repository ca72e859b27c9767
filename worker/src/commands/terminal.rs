//! Words on the terminal.

use std::io::{self, Write};

/// Asks on the terminal; anything but yes is no.
pub fn confirmed(question: &str) -> io::Result<bool> {
    eprint!("{question} [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(
        answer.trim().to_ascii_lowercase().as_str(),
        "y" | "yes"
    ))
}

/// `1 dead_letter`, `2,000 dead_letters`.
pub fn count_of(count: u64, what: &str) -> String {
    let digits = count.to_string();
    let mut grouped = String::with_capacity(digits.len() + 4);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let s = if count == 1 { "" } else { "s" };
    format!("{grouped} {what}{s}")
}

/// Fits a text into its column, on one line.
pub fn cut(text: &str, width: usize) -> String {
    let plain: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if plain.chars().count() <= width {
        return plain;
    }
    plain
        .chars()
        .take(width.saturating_sub(1))
        .chain(['…'])
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn counts_are_readable() {
        for (count, text) in [
            (0, "0 dead letters"),
            (1, "1 dead letter"),
            (999, "999 dead letters"),
            (1_234_567, "1,234,567 dead letters"),
        ] {
            assert_eq!(super::count_of(count, "dead letter"), text);
        }
    }
}
