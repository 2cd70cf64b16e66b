//! Numbers, durations and quoted texts as scripts write them, which is as Go writes them.

use watershed::model::DurationMs;

/// A number: an integer with the prefixes `0x`, `0o`, `0b` or `0`, else a float.
pub fn number(text: &str) -> Result<f64, String> {
    if let Some(n) = integer(text) {
        return Ok(n as f64);
    }
    match text.trim_start_matches(['+', '-']).to_ascii_lowercase().as_str() {
        "inf" | "infinity" | "nan" => {}
        rest if rest.starts_with(|c: char| c.is_ascii_digit() || c == '.') => {}
        _ => return Err(format!("{text:?} is not a number")),
    }
    text.parse().map_err(|_| format!("{text:?} is not a number"))
}

fn integer(text: &str) -> Option<i64> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let lower = digits.to_ascii_lowercase();
    let prefixes = [("0x", 16), ("0o", 8), ("0b", 2)];
    let prefixed = prefixes.iter().find_map(|(prefix, radix)| Some((lower.strip_prefix(prefix)?, *radix)));
    let (digits, radix) = match prefixed {
        Some(found) => found,
        None if lower.len() > 1 && lower.starts_with('0') => (&lower[1..], 8),
        None => (&lower[..], 10),
    };
    i64::from_str_radix(digits, radix).ok().map(|n| sign * n)
}

/// A duration in milliseconds.
pub fn duration(text: &str) -> Result<i64, String> {
    text.parse::<DurationMs>().map(|d| d.0).map_err(|e| e.to_string())
}

/// The quoted text that `text` begins with, and what follows it.
pub fn quoted(text: &str) -> Result<(String, &str), String> {
    let bad = || format!("{text:?} does not begin with a quoted text");
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\'' | '`')).ok_or_else(bad)?;
    let mut rest = text[1..].chars();
    let mut out = Vec::new();
    loop {
        match rest.next().ok_or_else(bad)? {
            c if c == quote => break,
            '\\' if quote != '`' => escape(&mut rest, &mut out).ok_or_else(bad)?,
            c => out.extend(c.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    Ok((String::from_utf8(out).map_err(|e| e.to_string())?, rest.as_str()))
}

fn escape(rest: &mut std::str::Chars<'_>, out: &mut Vec<u8>) -> Option<()> {
    let mut digits = |count: usize| {
        let digits = rest.as_str().get(..count)?;
        rest.by_ref().nth(count - 1);
        Some(digits)
    };
    match digits(1)? {
        "n" => out.push(b'\n'),
        "t" => out.push(b'\t'),
        "r" => out.push(b'\r'),
        "a" => out.push(7),
        "b" => out.push(8),
        "f" => out.push(12),
        "v" => out.push(11),
        "x" => out.push(u8::from_str_radix(digits(2)?, 16).ok()?),
        unicode @ ("u" | "U") => {
            let code = u32::from_str_radix(digits(if unicode == "u" { 4 } else { 8 })?, 16).ok()?;
            out.extend(char::from_u32(code)?.encode_utf8(&mut [0; 4]).bytes());
        }
        first @ ("0" | "1" | "2" | "3") => {
            let code = format!("{first}{}", digits(2)?);
            out.push(u8::from_str_radix(&code, 8).ok()?);
        }
        itself @ ("\\" | "\"" | "'") => out.extend(itself.bytes()),
        _ => return None,
    }
    Some(())
}

#[test]
fn numbers_are_read_as_go_reads_them() {
    for (text, expected) in [
        ("010", 8.0),
        ("0x1f", 31.0),
        ("-5", -5.0),
        ("1e3", 1000.0),
        ("+Inf", f64::INFINITY),
        ("09.5", 9.5),
        (".5", 0.5),
    ] {
        assert_eq!(number(text), Ok(expected), "{text}");
    }
    assert!(number("nan").is_ok_and(f64::is_nan));
    for text in ["", "x", "1 2", "infinit", "+", "metric"] {
        assert!(number(text).is_err(), "{text}");
    }
}

#[test]
fn quoted_texts_keep_what_follows_them() {
    assert_eq!(quoted(r#""a\"\x41\u00e9\101\n" rest"#), Ok(("a\"A\u{e9}A\n".to_owned(), " rest")));
    assert_eq!(quoted("`a\\n`"), Ok(("a\\n".to_owned(), "")));
    assert!(quoted("\"open").is_err() && quoted("bare").is_err() && quoted(r#""\q""#).is_err());
}
