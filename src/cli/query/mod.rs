//! `watershed query`: asks any server that speaks Prometheus's query API, with promtool's arguments and its output, and as a
//! chart in the terminal.
//!
//! Data goes to standard output; what the server remarks about its answer and every error go to standard error.

mod answer;
mod ask;
mod chart;
mod door;
mod text;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use url::Url;

use super::http;
use crate::model::DurationMs;
use ask::Api;
#[doc(hidden)]
pub use door::print_answer;

/// How an answer is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Format {
    /// As promtool prints it.
    #[value(alias = "text")]
    Promql,
    /// The result as the API gives it.
    Json,
    /// Lines in the terminal; only for ranges.
    Chart,
}

/// Ask a server.
#[derive(Args, Debug)]
pub(super) struct Query {
    /// How to show the answer.
    #[arg(short = 'o', long, value_enum, default_value = "promql", global = true)]
    format: Format,
    /// A header that is sent along; may be given several times.
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header, global = true)]
    headers: Vec<(String, String)>,
    /// How to connect: credentials, TLS, proxy; a file as promtool takes it.
    #[arg(long = "http.config.file", value_name = "FILE", global = true)]
    http_config: Option<PathBuf>,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Evaluate an expression at one instant.
    Instant {
        /// The server's URL.
        #[arg(value_parser = server)]
        server: Url,
        /// The expression.
        expr: String,
        /// When (Unix seconds or RFC 3339); now by default.
        #[arg(long, value_name = "TIME", value_parser = time)]
        time: Option<Timestamp>,
    },
    /// Evaluate an expression at many instants.
    Range {
        /// The server's URL.
        #[arg(value_parser = server)]
        server: Url,
        /// The expression.
        expr: String,
        #[command(flatten)]
        span: Span,
        /// Time between the instants; a 250th of the range, at least a second, by default.
        #[arg(long, value_name = "DURATION", value_parser = step)]
        step: Option<DurationMs>,
    },
    /// Print the series that selectors select.
    Series {
        /// The server's URL.
        #[arg(value_parser = server)]
        server: Url,
        /// A selector; may be given several times.
        #[arg(long = "match", value_name = "SELECTOR", required = true)]
        matches: Vec<String>,
        #[command(flatten)]
        span: Span,
    },
    /// Print the values of a label, or all label names.
    Labels {
        /// The server's URL.
        #[arg(value_parser = server)]
        server: Url,
        /// The label; without it the names of all labels are printed.
        name: Option<String>,
        /// Only of series that this selects; may be given several times.
        #[arg(long = "match", value_name = "SELECTOR")]
        matches: Vec<String>,
        #[command(flatten)]
        span: Span,
    },
}

/// A time range as given.
#[derive(Args, Debug, Clone, Copy)]
struct Span {
    /// Its start (Unix seconds or RFC 3339).
    #[arg(long, value_name = "TIME", value_parser = time)]
    start: Option<Timestamp>,
    /// Its end (Unix seconds or RFC 3339).
    #[arg(long, value_name = "TIME", value_parser = time)]
    end: Option<Timestamp>,
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("query error: {0}")]
    Query(String),
    #[error("{0}")]
    Usage(String),
    #[error("printing: {0}")]
    Print(#[from] io::Error),
}

/// Asks and prints.
pub(super) fn run(query: Query) -> ExitCode {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let done = execute(query, &mut out).and_then(|()| Ok(out.flush()?));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // A reader that has gone, such as `head`, has seen enough.
        Err(Failure::Print(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn execute(query: Query, out: &mut impl Write) -> Result<(), Failure> {
    let Query { format, headers, http_config, what } = query;
    if format == Format::Chart && !matches!(what, What::Range { .. }) {
        return Err(Failure::Usage("a chart needs a range; use: watershed query range -o chart".to_owned()));
    }
    let runtime = http::runtime()?;
    let api = |server| Api::new(server, &headers, http_config.as_deref());
    match what {
        What::Instant { server, expr, time } => {
            let answer = runtime.block_on(api(server)?.instant(&expr, time.unwrap_or_else(now)))?;
            if format == Format::Json { text::json(out, &answer) } else { text::value(out, &answer) }
        }
        What::Range { server, expr, span, step } => {
            let range = ask::Range::new(span, step, now())?;
            let answer = runtime.block_on(api(server)?.range(&expr, &range))?;
            match format {
                Format::Promql => text::value(out, &answer),
                Format::Json => text::json(out, &answer),
                Format::Chart => Ok(chart::draw(out, &answer, &range, &chart::Canvas::of_terminal())?),
            }
        }
        What::Series { server, matches, span } => {
            let all = runtime.block_on(api(server)?.series(&matches, span, now()))?;
            if format == Format::Json { text::json(out, &all) } else { text::series(out, &all) }
        }
        What::Labels { server, name, matches, span } => {
            let all = runtime.block_on(api(server)?.labels(name.as_deref(), &matches, span, now()))?;
            if format == Format::Json { text::json(out, &all) } else { text::lines(out, &all) }
        }
    }
}

/// A server that is asked for ranges by other subcommands.
pub(super) struct Source {
    runtime: tokio::runtime::Runtime,
    api: Api,
}

/// A series' labels and its floats, times in milliseconds.
pub(super) type Floats = (Vec<(String, String)>, Vec<(i64, f64)>);

impl Source {
    /// A source at a URL.
    pub(super) fn new(server: Url, headers: &[(String, String)]) -> Result<Source, String> {
        let runtime = http::runtime().map_err(|e| e.to_string())?;
        let api = Api::new(server, headers, None).map_err(|e| e.to_string())?;
        Ok(Source { runtime, api })
    }

    /// Evaluates an expression from `start` to `end`, milliseconds, every `step` milliseconds. Histograms are left out.
    pub(super) fn floats(&self, expr: &str, [start, end, step]: [i64; 3]) -> Result<Vec<Floats>, String> {
        let time = |ms| Timestamp::from_millisecond(ms).map_err(|e| e.to_string());
        let range = ask::Range { start: time(start)?, end: time(end)?, step: DurationMs(step) };
        let answer = self.runtime.block_on(self.api.range(expr, &range)).map_err(|e| e.to_string())?;
        let answer::Answer::Matrix(all) = answer else { return Err("the answer is not a matrix".to_owned()) };
        all.into_iter()
            .map(|series| {
                let float = |(t, v): &answer::At<answer::Number>| {
                    let t = t.as_f64().ok_or_else(|| format!("{t} is not a time"))?;
                    Ok(((t * 1000.0).round() as i64, v.0))
                };
                let values = series.values.iter().map(float).collect::<Result<_, String>>()?;
                Ok((series.metric.into_iter().collect(), values))
            })
            .collect()
    }
}

fn now() -> Timestamp {
    Timestamp::now()
}

/// A URL; `host:port` means HTTP.
pub(super) fn server(text: &str) -> Result<Url, String> {
    let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&text).map_err(|e| format!("{e}; write it like http://localhost:9090"))?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        other => Err(format!("the scheme is {other:?}; it must be http or https")),
    }
}

/// Unix seconds, or RFC 3339.
pub(super) fn time(text: &str) -> Result<Timestamp, String> {
    if let Some(seconds) = text.parse::<f64>().ok().filter(|s| s.is_finite()) {
        let nanos = (seconds.fract() * 1e9) as i32;
        return Timestamp::new(seconds.trunc() as i64, nanos).map_err(|e| e.to_string());
    }
    text.parse().map_err(|_| format!("cannot parse {text:?} to a valid timestamp"))
}

/// A duration, or seconds.
fn step(text: &str) -> Result<DurationMs, String> {
    let step = match text.parse::<f64>() {
        Ok(seconds) => DurationMs((seconds * 1000.0) as i64),
        Err(_) => text.parse::<DurationMs>().map_err(|e| e.to_string())?,
    };
    if step.0 > 0 { Ok(step) } else { Err("a step must be longer than nothing".to_owned()) }
}

/// `NAME=VALUE`.
pub(super) fn header(text: &str) -> Result<(String, String), String> {
    // As promtool takes it, and as people write headers elsewhere.
    match text.split_once(['=', ':']) {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.trim().to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_times_and_headers_are_taken_as_people_write_them() {
        assert_eq!(server("localhost:9090").unwrap().as_str(), "http://localhost:9090/");
        assert_eq!(server("https://a.example/prom").unwrap().as_str(), "https://a.example/prom");
        assert!(server("ftp://a").is_err() && server("http://").is_err());
        assert_eq!(time("1700000000.5").unwrap().as_millisecond(), 1_700_000_000_500);
        assert_eq!(time("-0.25").unwrap().as_millisecond(), -250);
        assert_eq!(time("2023-11-14T22:13:20Z").unwrap().as_second(), 1_700_000_000);
        assert!(time("yesterday").is_err() && time("1e300").is_err() && time("NaN").is_err());
        assert_eq!((step("1m"), step("0.5")), (Ok(DurationMs(60_000)), Ok(DurationMs(500))));
        assert!(step("0").is_err() && step("-5s").is_err() && step("NaN").is_err());
        assert_eq!(header("X-Scope-OrgID=a=b"), Ok(("X-Scope-OrgID".to_owned(), "a=b".to_owned())));
        assert_eq!(header("Authorization: Bearer x"), Ok(("Authorization".to_owned(), "Bearer x".to_owned())));
        assert!(header("nothing").is_err());
    }
}
