use watershed::model::regex::{Regex, Template};

/// `pattern NUL text`: what is known of a pattern without matching is true of what it matches.
pub fn regex(data: &[u8]) {
    let (pattern, text) = parts(data);
    let Ok(regex) = Regex::new(pattern) else { return };
    for literal in regex.literals().unwrap_or_default() {
        assert!(regex.is_match(literal), "{pattern:?} is a list with {literal:?}");
    }
    if regex.is_match(text) {
        assert!(text.starts_with(regex.prefix()), "{pattern:?} matches {text:?} without {:?}", regex.prefix());
        let listed = regex.literals().is_none_or(|all| all.iter().any(|literal| **literal == *text));
        assert!(listed, "{pattern:?} matches {text:?}, which it does not list");
    }
}

/// `pattern NUL template`: an expansion holds for every template.
pub fn template(data: &[u8]) {
    let (pattern, template) = parts(data);
    let Ok(regex) = Regex::with_groups(pattern) else { return };
    let template = Template::new(template);
    for text in ["", "a", "abc-123", pattern] {
        let mut out = String::new();
        let matched = regex.expand_template(text, &template, &mut out);
        assert_eq!(matched, regex.is_match(text), "{pattern:?} and {text:?}");
        if let Some(constant) = template.constant().filter(|_| matched) {
            assert_eq!(out, constant);
        }
    }
}

fn parts(data: &[u8]) -> (&str, &str) {
    let text = super::text(data);
    text.split_once('\0').unwrap_or((text, "abc"))
}
