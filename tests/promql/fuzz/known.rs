//! What the peer's version has to do with its answers, and differences that are known. Each is as narrow as it can be told.

use std::process::Command;

use regex::Regex;

use crate::support::peers::Peers;

/// The first version all of whose answers are as ours.
const CURRENT: (u64, u64) = (3, 14);

/// The peer.
pub struct Peer {
    version: (u64, u64),
}

impl Peer {
    /// Asks the executable.
    pub fn of(peers: &Peers) -> Peer {
        let output =
            Command::new(peers.path("prometheus")).arg("--version").output().expect("the peer tells its version");
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let pattern = Regex::new(r"version (\d+)\.(\d+)").expect("a good pattern");
        let found = pattern.captures(&told).unwrap_or_else(|| panic!("no version in {told:?}"));
        Peer { version: (found[1].parse().expect("digits"), found[2].parse().expect("digits")) }
    }

    /// Whether it is older than what our engine follows.
    pub fn is_old(&self) -> bool {
        self.version < CURRENT
    }

    /// The expression with functions that it knows. 3.7 brought those of a window's first sample.
    pub fn dialect(&self, expr: String) -> String {
        if self.version < (3, 7) { expr.replace("first_over_time", "last_over_time") } else { expr }
    }

    /// A remark as far as it can be compared.
    pub fn comparable(&self, remark: &str) -> Option<String> {
        if !self.is_old() {
            return Some(remark.to_owned());
        }
        // What came later.
        if ["sort is ineffective", "conflicting counter resets"].iter().any(|new| remark.contains(new)) {
            return None;
        }
        // What named the metric.
        if let Some((start, _)) =
            remark.split_once(" for metric name").filter(|_| remark.contains("bucket label \"le\""))
        {
            return Some(start.to_owned());
        }
        if remark.contains("bucket label \"le\"") {
            return remark.rsplit_once(" (").map(|(start, _)| start.to_owned());
        }
        // What pointed to a parenthesis, and looked at the first step only.
        let is_quantile = remark.contains("quantile value should be between");
        Some(if is_quantile { "a quantile".to_owned() } else { remark.to_owned() })
    }
}

/// A known difference.
pub struct Known {
    /// Why it is there.
    pub reason: &'static str,
    /// The last version that has it.
    until: (u64, u64),
    /// What expressions it is about.
    expr: Regex,
    /// What the difference looks like.
    difference: Regex,
}

impl Known {
    /// All of them.
    pub fn list() -> Vec<Known> {
        let lines = include_str!("../known_differences.txt").lines();
        let mut lines = lines.skip_while(|line| !line.starts_with("fuzz "));
        let mut all = Vec::new();
        while let Some(head) = lines.next() {
            let mut words = head.strip_prefix("fuzz until ").expect("a known difference").splitn(2, ' ');
            let (major, minor) = words.next().and_then(|version| version.split_once('.')).expect("a version");
            let mut pattern = |key: &str| {
                let line = lines.next().and_then(|line| line.trim().strip_prefix(key)).expect("a pattern");
                Regex::new(line.trim()).expect("a good pattern")
            };
            all.push(Known {
                reason: words.next().expect("a reason"),
                until: (major.parse().expect("digits"), minor.parse().expect("digits")),
                expr: pattern("expr "),
                difference: pattern("difference "),
            });
        }
        all
    }

    /// Whether it explains what was found.
    pub fn applies(&self, peer: &Peer, expr: &str, difference: &str) -> bool {
        peer.version <= self.until && self.expr.is_match(expr) && self.difference.is_match(difference)
    }
}
