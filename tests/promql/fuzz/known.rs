//! Differences that are the peer's age: what its answers lack beside those of 3.14. Each is as narrow as it can be told.

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

/// A known difference of an old peer.
pub struct Known {
    /// Why it is there.
    pub reason: &'static str,
    /// What expressions it is about.
    pub expr: &'static str,
    /// What the difference looks like.
    pub difference: &'static str,
}

impl Known {
    /// Whether it explains what was found.
    pub fn applies(&self, expr: &str, difference: &str) -> bool {
        let matches = |pattern: &str, text: &str| Regex::new(pattern).expect("a good pattern").is_match(text);
        matches(self.expr, expr) && matches(self.difference, difference)
    }
}

/// All of them.
pub const KNOWN: &[Known] = &[
    Known {
        reason: "native histograms are extrapolated to the border of a window even where a bucket would fall below zero",
        expr: r"(rate|increase)\(.*\b(latency|balance|size|mixed)\b",
        difference: r": we have Some\(|^only|^we miss|: only we have",
    },
    Known {
        reason: "classic histograms whose bounds are out of order in the answer of an aggregation have no fraction",
        expr: r"histogram_fraction\(.*latency_seconds_bucket",
        difference: r"the peer has Float\(NaN\)",
    },
    Known {
        reason: "series that are the same to a join are refused only where both sides have a match",
        expr: r".",
        difference: r"^only we fail: multiple matches for labels: many-to-one matching must be explicit",
    },
];
