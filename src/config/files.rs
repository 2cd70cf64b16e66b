//! Path patterns, and variables in external labels.

use std::path::{Component, Path, PathBuf};

/// Patterns of rule and scrape config files may hold one `*` in their last part.
pub(super) fn has_star_in_last_part_only(pattern: &str) -> bool {
    match pattern.split_once('*') {
        None => true,
        Some((_, after)) => !after.contains('/'),
    }
}

/// True if `pattern` names exactly one path.
pub(super) fn is_plain(pattern: &Path) -> bool {
    !pattern.to_string_lossy().contains(['*', '?', '['])
}

/// The existing paths that match `pattern`, in order: `*`, `?` and `[a-z]` within one part of the path.
pub(super) fn glob(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        found = match part {
            Component::Normal(name) => {
                let name = name.to_string_lossy();
                found.iter().flat_map(|dir| matching(dir, &name)).collect()
            }
            other => found.into_iter().map(|dir| dir.join(other)).collect(),
        };
    }
    found.retain(|p| p.exists());
    found
}

fn matching(dir: &Path, name: &str) -> Vec<PathBuf> {
    if is_plain(Path::new(name)) {
        return vec![dir.join(name)];
    }
    let here = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let Ok(entries) = std::fs::read_dir(here) else { return Vec::new() };
    let names = entries.filter_map(|e| e.ok()?.file_name().into_string().ok());
    let pattern: Vec<char> = name.chars().collect();
    let mut paths: Vec<PathBuf> =
        names.filter(|n| wildcard(&pattern, &n.chars().collect::<Vec<char>>())).map(|n| dir.join(n)).collect();
    paths.sort();
    paths
}

/// Whether the whole of `text` matches; a malformed set matches nothing.
fn wildcard(pattern: &[char], text: &[char]) -> bool {
    // After a mismatch the last star swallows one more character; earlier stars need not be tried again.
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        let step = match pattern.get(p) {
            Some('*') => {
                star = Some((p + 1, t));
                p += 1;
                continue;
            }
            Some('?') => Some(1),
            Some('[') => set(&pattern[p..], text[t]),
            Some(c) => (*c == text[t]).then_some(1),
            None => None,
        };
        match (step, star) {
            (Some(width), _) => {
                p += width;
                t += 1;
            }
            (None, Some((after, at))) => {
                star = Some((after, at + 1));
                p = after;
                t = at + 1;
            }
            (None, None) => return false,
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// The width of the set at the start of `pattern` if `c` is in it.
fn set(pattern: &[char], c: char) -> Option<usize> {
    let negated = pattern.get(1) == Some(&'^');
    let start = if negated { 2 } else { 1 };
    let end = start + 1 + pattern.get(start + 1..)?.iter().position(|c| *c == ']')?;
    let members = &pattern[start..end];
    let mut i = 0;
    let mut inside = false;
    while i < members.len() {
        let is_range = members.get(i + 1) == Some(&'-') && i + 2 < members.len();
        let last = if is_range { members[i + 2] } else { members[i] };
        inside |= (members[i]..=last).contains(&c);
        i += if is_range { 3 } else { 1 };
    }
    (inside != negated).then_some(end + 1)
}

/// Replaces `$NAME` and `${NAME}` as a shell would; `$$` is a dollar. Malformed references vanish, as in the reference.
pub(super) fn expand(text: &str, variable: &mut dyn FnMut(&str) -> String) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if after.is_empty() {
            rest = &rest[at..];
            break;
        }
        let (name, width) = variable_name(after);
        match (name, width) {
            ("", 0) => out.push('$'),
            ("", _) => {}
            ("$", _) => out.push('$'),
            (name, _) => out.push_str(&variable(name)),
        }
        rest = &after[width..];
    }
    out.push_str(rest);
    out
}

/// The name at the start of `text`, which follows a dollar and is not empty, and the bytes that it takes.
fn variable_name(text: &str) -> (&str, usize) {
    let is_special = |b: u8| b"*#$@!?-0123456789".contains(&b);
    let bytes = text.as_bytes();
    if bytes[0] == b'{' {
        if bytes.len() > 2 && is_special(bytes[1]) && bytes[2] == b'}' {
            return (&text[1..2], 3);
        }
        return match text.find('}') {
            Some(1) => ("", 2),
            Some(end) => (&text[1..end], end + 1),
            None => ("", 1),
        };
    }
    if is_special(bytes[0]) {
        return (&text[..1], 1);
    }
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    (&text[..end], end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_expand_as_in_the_reference() {
        let mut env = |name: &str| if name == "TEST" { "TestValue".to_owned() } else { String::new() };
        for (text, expanded) in [
            ("foo", "foo"),
            ("${TEST}", "TestValue"),
            ("foo${TEST}bar", "fooTestValuebar"),
            ("foo$${TEST}", "foo${TEST}"),
            ("foo$$bar", "foo$bar"),
            ("$TEST-x", "TestValue-x"),
            ("$TESTED", ""),
            ("a$", "a$"),
            ("a$.b", "a$.b"),
            ("a${}b", "ab"),
            ("a${b", "ab"),
            ("$1x", "x"),
            ("é$TESTé", "éTestValueé"),
        ] {
            assert_eq!(expand(text, &mut env), expanded, "{text}");
        }
    }

    #[test]
    fn wildcards_match_within_one_part() {
        let is = |pattern: &str, text: &str| {
            wildcard(&pattern.chars().collect::<Vec<_>>(), &text.chars().collect::<Vec<_>>())
        };
        assert!(is("*.yml", "a.yml") && is("a*b*c", "aXXbYYc") && is("?.yml", "é.yml") && is("[a-c]x", "bx"));
        assert!(is("[^a]x", "bx") && is("[]]", "]") && is("a*", "a"));
        assert!(!is("*.yml", "a.yaml") && !is("[a-c]x", "dx") && !is("[a", "[a") && !is("a?", "a") && !is("", "a"));
    }

    #[test]
    fn globs_find_existing_files_in_order() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.yml", "a.yml", "c.txt"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let names = |pattern: &str| -> Vec<String> {
            let found = glob(&dir.path().join(pattern));
            found.iter().map(|p| p.file_name().unwrap().to_string_lossy().into_owned()).collect()
        };
        assert_eq!(names("*.yml"), ["a.yml", "b.yml"]);
        assert_eq!(names("c.txt"), ["c.txt"]);
        assert!(names("d.txt").is_empty() && names("no/*").is_empty());
    }
}
