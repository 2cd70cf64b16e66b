//! Log lines on standard error in Prometheus's forms.
//!
//! `logfmt`: `time=2026-11-21T08:00:00.123Z level=INFO source=loop.rs:42 msg="scrape failed" job=node`, and `json` with
//! the same keys. Watershed's own lines are shown from the chosen level on, those of its libraries from `warn` on. One
//! line is one write, so that lines of several threads do not mix.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::str::FromStr;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry;

use crate::model::TimestampMs;
use crate::runtime::Clock;

/// `--log.level`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// What an operator wants to know.
    #[default]
    Info,
    /// What may need attention.
    Warn,
    /// What failed.
    Error,
}

/// `--log.format`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogFormat {
    /// Keys and values.
    #[default]
    Logfmt,
    /// One JSON object a line.
    Json,
}

/// A level or format that does not exist.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{given:?} is none of {known}")]
pub struct UnknownName {
    given: String,
    known: &'static str,
}

impl FromStr for LogLevel {
    type Err = UnknownName;
    fn from_str(text: &str) -> Result<LogLevel, UnknownName> {
        match text {
            "debug" => Ok(LogLevel::Debug),
            "info" => Ok(LogLevel::Info),
            "warn" => Ok(LogLevel::Warn),
            "error" => Ok(LogLevel::Error),
            _ => Err(UnknownName { given: text.to_owned(), known: "debug, info, warn, error" }),
        }
    }
}

impl FromStr for LogFormat {
    type Err = UnknownName;
    fn from_str(text: &str) -> Result<LogFormat, UnknownName> {
        match text {
            "logfmt" => Ok(LogFormat::Logfmt),
            "json" => Ok(LogFormat::Json),
            _ => Err(UnknownName { given: text.to_owned(), known: "logfmt, json" }),
        }
    }
}

/// Makes this the process's log. Fails if the process has one already.
pub fn init(level: LogLevel, format: LogFormat) -> Result<(), tracing::subscriber::SetGlobalDefaultError> {
    let write = |line: &str| {
        // There is nobody left to tell if standard error is gone.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    };
    tracing::subscriber::set_global_default(subscriber(level, format, Clock::system(), write))
}

fn subscriber(
    level: LogLevel,
    format: LogFormat,
    clock: Clock,
    write: impl Fn(&str) + Send + Sync + 'static,
) -> impl Subscriber + Send + Sync {
    let own = match level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    };
    let filter = Targets::new().with_target("watershed", own).with_default(own.min(LevelFilter::WARN));
    registry().with(Lines { format, clock, write }.with_filter(filter))
}

/// Renders events as lines. Spans have no place in them.
struct Lines<W> {
    format: LogFormat,
    clock: Clock,
    write: W,
}

impl<S: Subscriber, W: Fn(&str) + 'static> Layer<S> for Lines<W> {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let meta = event.metadata();
        let file = meta.file().unwrap_or(meta.target());
        let source = format!("{}:{}", file.rsplit(['/', '\\']).next().unwrap_or(file), meta.line().unwrap_or(0));
        let head = [
            ("time", Value::Text(utc(self.clock.now()))),
            ("level", Value::Text(level_name(*meta.level()).to_owned())),
            ("source", Value::Text(source)),
            ("msg", Value::Text(fields.message)),
        ];
        let mut line = String::with_capacity(160);
        let all = head.iter().map(|(k, v)| (*k, v)).chain(fields.rest.iter().map(|(k, v)| (*k, v)));
        match self.format {
            LogFormat::Logfmt => logfmt(&mut line, all),
            LogFormat::Json => json(&mut line, all),
        }
        line.push('\n');
        (self.write)(&line);
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARN",
        Level::INFO => "INFO",
        Level::DEBUG | Level::TRACE => "DEBUG",
    }
}

/// Milliseconds always have three digits, so that lines sort by time as text.
fn utc(t: TimestampMs) -> String {
    jiff::Timestamp::from_millisecond(t.0).map_or_else(|_| t.0.to_string(), |t| format!("{t:.3}"))
}

enum Value {
    Text(String),
    /// A number or truth value, which JSON shows without quotes.
    Bare(String),
}

#[derive(Default)]
struct Fields {
    message: String,
    rest: Vec<(&'static str, Value)>,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            // Writing to a String cannot fail.
            "message" => {
                let _ = write!(self.message, "{value:?}");
            }
            name => self.rest.push((name, Value::Text(format!("{value:?}")))),
        }
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message.push_str(value),
            name => self.rest.push((name, Value::Text(value.to_owned()))),
        }
    }
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.rest.push((field.name(), Value::Text(value.to_string())));
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        let text = value.to_string();
        // JSON has no numbers without a finite value.
        self.rest.push((field.name(), if value.is_finite() { Value::Bare(text) } else { Value::Text(text) }));
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.rest.push((field.name(), Value::Bare(value.to_string())));
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.rest.push((field.name(), Value::Bare(value.to_string())));
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.rest.push((field.name(), Value::Bare(value.to_string())));
    }
}

fn logfmt<'a>(line: &mut String, fields: impl Iterator<Item = (&'a str, &'a Value)>) {
    for (key, value) in fields {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(key);
        line.push('=');
        let (Value::Text(text) | Value::Bare(text)) = value;
        let plain = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '"' | '=' | '\\');
        // `msg` is always quoted so that one pattern finds it.
        if key != "msg" && !text.is_empty() && text.chars().all(plain) {
            line.push_str(text);
        } else {
            quote(line, text);
        }
    }
}

fn json<'a>(line: &mut String, fields: impl Iterator<Item = (&'a str, &'a Value)>) {
    for (key, value) in fields {
        line.push(if line.is_empty() { '{' } else { ',' });
        quote(line, key);
        line.push(':');
        match value {
            Value::Text(text) => quote(line, text),
            Value::Bare(text) => line.push_str(text),
        }
    }
    line.push('}');
}

/// A quoted text that is valid in JSON, and no control character can forge a line.
fn quote(line: &mut String, text: &str) {
    line.push('"');
    for c in text.chars() {
        match c {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(line, "\\u{:04x}", u32::from(c));
            }
            c => line.push(c),
        }
    }
    line.push('"');
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    fn logged(level: LogLevel, format: LogFormat, work: impl FnOnce()) -> Vec<String> {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = lines.clone();
        let clock = Clock::manual(TimestampMs(1_763_712_000_040));
        let subscriber = subscriber(level, format, clock, move |line| sink.lock().push(line.to_owned()));
        tracing::subscriber::with_default(subscriber, work);
        let lines = lines.lock();
        lines.clone()
    }

    #[test]
    fn logfmt_lines_have_time_level_source_message_and_fields() {
        let error = std::io::Error::other("no = \"way\"\nforged");
        let lines = logged(LogLevel::Info, LogFormat::Logfmt, || {
            tracing::warn!(job = "node", tries = 3, ok = false, empty = "", %error, "scrape failed");
        });
        assert_eq!(lines.len(), 1);
        let (head, rest) = lines[0].split_once(" source=logging.rs:").expect("a source");
        assert_eq!(head, "time=2025-11-21T08:00:00.040Z level=WARN");
        let (_, rest) = rest.split_once(' ').expect("a message");
        assert_eq!(
            rest,
            "msg=\"scrape failed\" job=node tries=3 ok=false empty=\"\" error=\"no = \\\"way\\\"\\nforged\"\n"
        );
    }

    #[test]
    fn json_lines_are_json_with_the_same_keys() {
        let lines = logged(LogLevel::Info, LogFormat::Json, || {
            tracing::info!(n = 1.5, bad = f64::NAN, yes = true, text = "a\u{1}\"", "hello {}", "you");
        });
        let value: serde_json::Value = serde_json::from_str(&lines[0]).expect("valid JSON");
        assert_eq!(value["time"], "2025-11-21T08:00:00.040Z");
        assert_eq!(value["level"], "INFO");
        assert_eq!(value["msg"], "hello you");
        assert_eq!((&value["n"], &value["yes"]), (&serde_json::json!(1.5), &serde_json::json!(true)));
        assert_eq!((&value["bad"], &value["text"]), (&serde_json::json!("NaN"), &serde_json::json!("a\u{1}\"")));
    }

    #[test]
    fn levels_hide_what_is_below_and_libraries_speak_from_warnings_on() {
        let work = || {
            tracing::debug!("own debug");
            tracing::info!("own info");
            tracing::error!("own error");
            tracing::info!(target: "hyper", "library info");
            tracing::warn!(target: "hyper", "library warning");
        };
        let count = |level| logged(level, LogFormat::Logfmt, work).len();
        assert_eq!(count(LogLevel::Debug), 4);
        assert_eq!(count(LogLevel::Info), 3);
        assert_eq!(count(LogLevel::Warn), 2);
        assert_eq!(count(LogLevel::Error), 1);
        assert_eq!("warn".parse(), Ok(LogLevel::Warn));
        let error = "loud".parse::<LogLevel>().expect_err("no level").to_string();
        assert_eq!(error, "\"loud\" is none of debug, info, warn, error");
    }
}
