//! The table that the demo shows.

use std::io::{self, Write};

use super::site::SiteReport;

/// Draws tables, on a terminal each over the one before.
pub(super) struct Drawn {
    live: bool,
    lines: usize,
}

impl Drawn {
    pub(super) fn new(live: bool) -> Drawn {
        Drawn { live, lines: 0 }
    }

    pub(super) fn draw(&mut self, reports: &[SiteReport]) {
        let mut text = String::new();
        if self.live && self.lines > 0 {
            // Up to the first line of the old table, and clear from there.
            text.push_str(&format!("\x1b[{}A\x1b[J", self.lines));
        }
        if self.live {
            // A long error is cut at the edge: wrapped, the lines could not be counted.
            text.push_str("\x1b[?7l");
        }
        text.push_str(&format!(
            "{:<10}{:>8}{:>16}{:>12}{:>10}  {}\n",
            "site", "series", "newest sample", "bytes", "failures", "last error"
        ));
        for r in reports {
            let age =
                r.newest_age_ms.map_or("none yet".to_owned(), |ms| format!("{}.{} s ago", ms / 1000, ms % 1000 / 100));
            text.push_str(&format!(
                "{:<10}{:>8}{:>16}{:>12}{:>10}  {}\n",
                r.site, r.series, age, r.bytes, r.failures, r.error
            ));
        }
        if self.live {
            text.push_str("\x1b[?7h");
        }
        self.lines = reports.len() + 1;
        // A closed pipe is no reason to leave the sites running without a clean stop.
        drop(io::stdout().write_all(text.as_bytes()));
    }
}
