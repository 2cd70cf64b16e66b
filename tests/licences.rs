//! Every dependency's licence must be one that `deny.toml` allows, and no banned crate may be in the tree. The same rules as
//! cargo-deny's, for machines that do not have it.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests fail by panicking")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// The quoted strings of the section's list, one per line.
fn list_in_deny_toml(deny: &str, key: &str, pick: impl Fn(&str) -> Option<&str>) -> BTreeSet<String> {
    let start = deny.find(&format!("\n{key} = [\n")).unwrap_or_else(|| panic!("no list {key} in deny.toml"));
    let lines = deny[start..].lines().skip(2).take_while(|l| *l != "]");
    lines.filter_map(pick).map(str::to_owned).collect()
}

fn first_quoted(line: &str) -> Option<&str> {
    line.split('"').nth(1)
}

/// Whether an SPDX expression can be satisfied from the allowed licences. Every `AND` part must, one `OR` part is enough.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let expression = expression.replace(" / ", " OR ").replace('/', " OR ");
    split_outside_parentheses(&expression, " AND ").iter().all(|part| {
        let part = part.strip_prefix('(').and_then(|p| p.strip_suffix(')')).unwrap_or(part);
        match split_outside_parentheses(part, " OR ").as_slice() {
            [one] if one.contains(" AND ") => is_allowed(one, allowed),
            alternatives => alternatives.iter().any(|licence| allowed.contains(licence.trim())),
        }
    })
}

fn split_outside_parentheses<'a>(text: &'a str, separator: &str) -> Vec<&'a str> {
    let (mut parts, mut start) = (Vec::new(), 0);
    for (at, _) in text.match_indices(separator) {
        let before = &text[..at];
        if before.matches('(').count() == before.matches(')').count() {
            parts.push(&text[start..at]);
            start = at + separator.len();
        }
    }
    parts.push(&text[start..]);
    parts
}

fn dependencies() -> Vec<Value> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--all-features", "--manifest-path"])
        .arg(manifest)
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo's JSON");
    let packages = metadata["packages"].take();
    packages.as_array().expect("a list of packages").clone()
}

#[test]
fn every_dependency_may_be_shipped() {
    let deny = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deny.toml")).expect("deny.toml");
    let allowed = list_in_deny_toml(&deny, "allow", first_quoted);
    let banned = list_in_deny_toml(&deny, "deny", first_quoted);
    assert!(allowed.contains("MIT") && banned.contains("native-tls"), "deny.toml was not understood");
    let packages = dependencies();
    assert!(packages.len() > 50, "{} packages", packages.len());
    for package in packages {
        let name = package["name"].as_str().expect("a name");
        let licence = package["license"].as_str().unwrap_or("none");
        assert!(is_allowed(licence, &allowed), "{name} is under {licence}, which deny.toml does not allow");
        assert!(!banned.contains(name), "{name} is banned by deny.toml");
    }
}

#[test]
fn licence_expressions_are_judged_as_spdx_means_them() {
    let allowed = BTreeSet::from(["MIT".to_owned(), "ISC".to_owned()]);
    for good in ["MIT", "GPL-3.0 OR MIT", "GPL-3.0/MIT", "MIT AND ISC", "(MIT OR GPL-3.0) AND ISC"] {
        assert!(is_allowed(good, &allowed), "{good}");
    }
    for bad in ["GPL-3.0", "MIT AND GPL-3.0", "(MIT OR ISC) AND GPL-3.0", "none"] {
        assert!(!is_allowed(bad, &allowed), "{bad}");
    }
}
