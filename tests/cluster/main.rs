//! The cluster frontend through its public face.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests fail by panicking")]

#[path = "../promql/closeness.rs"]
mod closeness;
mod example;
mod frontend;
mod shown;
mod split;
#[path = "../support/mod.rs"]
mod support;

use std::fmt::Write as _;

use fuzz::random::Random;

/// The same data and expressions as in the tests of the language.
#[path = "../promql/fuzz"]
mod fuzz {
    pub mod data;
    pub mod expressions;
    pub mod random;
    mod recent;
}

/// The members and their virtual labels.
const MEMBERS: [(&str, Option<&str>); 3] = [("home", Some("eu")), ("cabin", Some("eu")), ("boat", None)];

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|e| panic!("{name}={text}: {e}")))
}

/// Brings virtual labels into an expression, here and there.
fn with_virtual_labels(text: &str, random: &mut Random) -> String {
    let mut out = text.to_owned();
    for head in ["by (", "without (", "on (", "ignoring (", "group_left ("] {
        let mut done = String::new();
        while let Some(at) = out.find(head) {
            let rest = out.split_off(at + head.len());
            done.push_str(&out);
            let label = random.of(&["", "", "__cluster__", "region", "__cluster__, region"]);
            let comma = if label.is_empty() || rest.starts_with(')') { "" } else { ", " };
            // Writing to a string cannot fail.
            let _ = write!(done, "{label}{comma}");
            out = rest;
        }
        out = done + &out;
    }
    if random.one_in(3) {
        let condition = random.of(&[
            "__cluster__=\"home\"",
            "__cluster__!=\"home\"",
            "region=\"eu\"",
            "__cluster__=~\"cabin|boat\"",
        ]);
        out = out.replacen('{', &format!("{{{condition},"), 1).replacen(",}", "}", 1);
    }
    out
}

/// `topk` and its like choose any of equals.
fn chooses(text: &str) -> bool {
    ["topk", "bottomk", "limitk", "limit_ratio"].iter().any(|op| text.contains(op))
}
