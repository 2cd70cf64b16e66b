//! Upper and lower case one character for one, as Go maps it.
//!
//! Rust's own mapping follows Unicode's special cases, where one character may become several (`ß` to `SS`) or depend on
//! its neighbours (a final `Σ`). The reference uses the simple mapping, where a character stays one.

/// Appends `text` in lower case.
pub(super) fn push_lower(out: &mut String, text: &str) {
    push_mapped(out, text, str::make_ascii_lowercase, |c| c.to_lowercase().next().unwrap_or(c));
}

/// Appends `text` in upper case.
pub(super) fn push_upper(out: &mut String, text: &str) {
    push_mapped(out, text, str::make_ascii_uppercase, simple_upper);
}

fn push_mapped(out: &mut String, text: &str, ascii: fn(&mut str), map: fn(char) -> char) {
    if text.is_ascii() {
        let start = out.len();
        out.push_str(text);
        ascii(&mut out[start..]);
    } else {
        out.extend(text.chars().map(map));
    }
}

fn simple_upper(c: char) -> char {
    let mut mapped = c.to_uppercase();
    match (mapped.next(), mapped.next()) {
        (Some(only), None) => only,
        // Several characters: the simple mapping is the title case where there is one, else nothing changes.
        _ => match c {
            '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => shifted(c, 8),
            '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => shifted(c, 9),
            c => c,
        },
    }
}

fn shifted(c: char, by: u32) -> char {
    char::from_u32(c as u32 + by).unwrap_or(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, lower: &str, upper: &str) {
        let (mut l, mut u) = (String::from("-"), String::from("-"));
        push_lower(&mut l, text);
        push_upper(&mut u, text);
        assert_eq!((&l[1..], &u[1..]), (lower, upper), "{text}");
    }

    #[test]
    fn every_character_stays_one() {
        check("bAr_1", "bar_1", "BAR_1");
        check("Straße", "straße", "STRAßE");
        check("ΣΑΣ", "σασ", "ΣΑΣ");
        check("İıſK", "iıſk", "İISK");
        check(
            "\u{1f80}\u{1f88}\u{1fb3}\u{fb01}",
            "\u{1f80}\u{1f80}\u{1fb3}\u{fb01}",
            "\u{1f88}\u{1f88}\u{1fbc}\u{fb01}",
        );
    }
}
