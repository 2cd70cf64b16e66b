//! `scrape_failure_log_file`: one JSON line for each failed scrape.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use parking_lot::Mutex;

use crate::model::TimestampMs;

/// An open log; several jobs can share one.
pub(super) struct FailureLog(Mutex<File>);

impl FailureLog {
    /// Opens the file for appending and creates it where it is missing.
    pub(super) fn open(path: &Path) -> io::Result<FailureLog> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(FailureLog(Mutex::new(file)))
    }

    /// Writes one line. A log that cannot be written must not stop scraping; the error goes to the process's own log.
    pub(super) fn write(&self, now: TimestampMs, job: &str, target: &str, error: &str) {
        let line = serde_json::json!({
            "time": now.to_string(), "level": "ERROR", "msg": error, "job_name": job, "target": target,
        });
        let mut text = line.to_string();
        text.push('\n');
        if let Err(e) = self.0.lock().write_all(text.as_bytes()) {
            tracing::warn!(error = %e, "the scrape failure log cannot be written");
        }
    }
}
