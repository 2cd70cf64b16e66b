//! `query_log_file`: one JSON line for each query that was run, as the reference writes it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use parking_lot::Mutex;
use serde::Serialize;

use super::{Ask, Origin, Statistics};
use crate::model::TimestampMs;

/// Where queries are logged, if anywhere.
#[derive(Debug, Default)]
pub(super) struct QueryLog(Mutex<Option<File>>);

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    level: &'static str,
    msg: &'static str,
    params: Params<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    stats: &'a Statistics,
    #[serde(rename = "httpRequest", skip_serializing_if = "Option::is_none")]
    origin: Option<&'a Origin>,
}

#[derive(Serialize)]
struct Params<'a> {
    end: String,
    query: &'a str,
    start: String,
    step: i64,
}

impl QueryLog {
    /// Goes over to another file, which is opened for appending, or to none. An error leaves everything as it was.
    pub fn set(&self, path: Option<&Path>) -> io::Result<()> {
        let file = path.map(|path| OpenOptions::new().append(true).create(true).open(path)).transpose()?;
        *self.0.lock() = file;
        Ok(())
    }

    /// Whether queries are logged.
    pub fn is_on(&self) -> bool {
        self.0.lock().is_some()
    }

    /// Writes a line, if there is a log.
    pub fn write(&self, now: TimestampMs, ask: &Ask, error: Option<&str>, stats: &Statistics) -> io::Result<()> {
        let mut file = self.0.lock();
        let Some(file) = &mut *file else { return Ok(()) };
        let (start, end, step) = ask.times.bounds();
        let line = Line {
            time: millis(now),
            level: "INFO",
            msg: "promql query logged",
            // The reference tells whole seconds.
            params: Params { end: millis(end), query: &ask.text, start: millis(start), step: step.0 / 1000 },
            error,
            stats,
            origin: ask.origin.as_ref(),
        };
        let mut text = serde_json::to_vec(&line)?;
        text.push(b'\n');
        file.write_all(&text)
    }
}

/// RFC 3339 with milliseconds.
fn millis(t: TimestampMs) -> String {
    match jiff::Timestamp::from_millisecond(t.0) {
        Ok(t) => format!("{t:.3}"),
        Err(_) => t.0.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Times;
    use super::*;
    use crate::model::DurationMs;

    #[test]
    fn a_line_has_the_references_fields() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("q.log");
        let log = QueryLog::default();
        let (start, end) = (TimestampMs(1_700_000_000_000), TimestampMs(1_700_000_060_500));
        let origin = Origin { client_ip: "127.0.0.1".into(), method: "GET".into(), path: "/api/v1/query_range".into() };
        let ask =
            Ask { origin: Some(origin), ..Ask::new("up < 1", Times::Range { start, end, step: DurationMs(15_500) }) };
        let write = |error| log.write(end, &ask, error, &Statistics::default()).unwrap();
        write(None);
        log.set(Some(&path)).unwrap();
        write(None);
        write(Some("it failed"));
        log.set(None).unwrap();
        write(None);
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with(
            r#"{"time":"2023-11-14T22:14:20.500Z","level":"INFO","msg":"promql query logged","params":{"end":"2023-11-14T22:14:20.500Z","query":"up < 1","start":"2023-11-14T22:13:20.000Z","step":15},"stats":{"timings":{"evalTotalTime":0"#
        ), "{}", lines[0]);
        assert!(
            lines[0]
                .ends_with(r#""httpRequest":{"clientIP":"127.0.0.1","method":"GET","path":"/api/v1/query_range"}}"#),
            "{}",
            lines[0]
        );
        assert!(lines[1].contains(r#""step":15},"error":"it failed","stats":"#), "{}", lines[1]);
    }
}
