//! From discovered labels to a target.

use std::fmt::Write as _;

use super::config::{JobConfig, Scheme};
use super::rules::Rules;
use crate::model::{DurationMs, Labels, LabelsBuilder, TimestampMs};

const ADDRESS: &str = "__address__";
const SCHEME: &str = "__scheme__";
const METRICS_PATH: &str = "__metrics_path__";
const INTERVAL: &str = "__scrape_interval__";
const TIMEOUT: &str = "__scrape_timeout__";
const PARAM_PREFIX: &str = "__param_";
const META_PREFIX: &str = "__meta_";
const RESERVED_PREFIX: &str = "__";
const NATIVE_HISTOGRAMS: &str = "__scrape_native_histograms__";
const KEEP_CLASSIC: &str = "__always_scrape_classic_histograms__";
const CONVERT_CLASSIC: &str = "__convert_classic_histograms_to_nhcb__";
const UNIX_SOCKET: &str = "__unix_socket__";

/// What is scraped, and under which labels.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Target {
    /// Labels that its series carry.
    pub(super) labels: Labels,
    /// What is fetched.
    pub(super) url: String,
    pub(super) interval: DurationMs,
    pub(super) timeout: DurationMs,
    pub(super) histograms: HistogramWishes,
    /// Tells targets of one job apart: equal ones are scraped once.
    pub(super) hash: u64,
}

/// What is wanted of a target's histograms: what its job says, unless labels say otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct HistogramWishes {
    /// Native ones, where there are some.
    pub(super) native: bool,
    /// Classic ones beside them.
    pub(super) keep_classic: bool,
    /// Native ones with custom buckets made of classic ones.
    pub(super) convert_classic: bool,
}

/// Why discovered labels make no target.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum TargetError {
    #[error("no address")]
    NoAddress,
    #[error("{0:?} is not a valid hostname")]
    Hostname(String),
    #[error("error parsing scrape {what}: {reason}")]
    Duration { what: &'static str, reason: String },
    #[error("scrape {0} cannot be 0")]
    Zero(&'static str),
    #[error("scrape timeout cannot be greater than scrape interval ({timeout:?} > {interval:?})")]
    TimeoutOverInterval { timeout: String, interval: String },
    #[error("error parsing {what}: {value:?} is not a boolean")]
    Boolean { what: &'static str, value: String },
    #[error("scraping through a unix socket ({UNIX_SOCKET}) is not supported")]
    UnixSocket,
}

/// The labels of a target before the job's rules: its own, its group's, and the job's settings where these are missing.
pub(super) fn discovered_labels(job: &JobConfig, own: &Labels, group: &Labels) -> Labels {
    let mut builder = LabelsBuilder::new();
    builder.reset(own);
    let mut default = |name: &str, value: &str| {
        if !builder.has(name) {
            builder.set(name, value);
        }
    };
    for (name, value) in group {
        if own.get(name).is_none() {
            default(name, value);
        }
    }
    default("job", &job.name);
    default(INTERVAL, &job.interval.to_string());
    default(TIMEOUT, &job.timeout.to_string());
    default(METRICS_PATH, &job.metrics_path);
    default(SCHEME, scheme_name(job.scheme));
    for (name, values) in &job.params {
        if let Some(first) = values.first() {
            default(&format!("{PARAM_PREFIX}{name}"), first);
        }
    }
    builder.labels()
}

fn scheme_name(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    }
}

/// Applies the job's rules to discovered labels; `None` if they drop the target.
pub(super) fn populate(job: &JobConfig, rules: &Rules, discovered: &Labels) -> Result<Option<Target>, TargetError> {
    let mut builder = LabelsBuilder::new();
    builder.reset(discovered);
    if !rules.apply(&mut builder) {
        return Ok(None);
    }
    let address = builder.get(ADDRESS).to_owned();
    if builder.has(UNIX_SOCKET) {
        return Err(TargetError::UnixSocket);
    }
    if address.is_empty() {
        return Err(TargetError::NoAddress);
    }
    // Nobody may smuggle a path in by the address; the path has a label of its own.
    if address.contains('/') {
        return Err(TargetError::Hostname(address));
    }
    let interval = duration(&builder, INTERVAL, "interval")?;
    let timeout = duration(&builder, TIMEOUT, "timeout")?;
    if timeout > interval {
        let (timeout, interval) = (builder.get(TIMEOUT).to_owned(), builder.get(INTERVAL).to_owned());
        return Err(TargetError::TimeoutOverInterval { timeout, interval });
    }
    let histograms = HistogramWishes {
        native: boolean(&builder, NATIVE_HISTOGRAMS, "scrape native histograms", job.native_histograms)?,
        keep_classic: boolean(&builder, KEEP_CLASSIC, "always scrape classic histograms", job.keep_classic_histograms)?,
        convert_classic: boolean(
            &builder,
            CONVERT_CLASSIC,
            "convert classic histograms to nhcb",
            job.convert_classic_histograms,
        )?,
    };
    builder.retain(|name, _| !name.starts_with(META_PREFIX));
    if !builder.has("instance") {
        builder.set("instance", &address);
    }
    let all = builder.labels();
    let url = url(job, &all);
    let hash = xxhash_rust::xxh64::xxh64(url.as_bytes(), all.stable_hash());
    builder.retain(|name, _| !name.starts_with(RESERVED_PREFIX));
    Ok(Some(Target { labels: builder.labels(), url, interval, timeout, histograms, hash }))
}

fn duration(builder: &LabelsBuilder, label: &str, what: &'static str) -> Result<DurationMs, TargetError> {
    let parsed: Result<DurationMs, _> = builder.get(label).parse();
    match parsed {
        Ok(DurationMs(0)) => Err(TargetError::Zero(what)),
        Ok(duration) => Ok(duration),
        Err(e) => Err(TargetError::Duration { what, reason: e.to_string() }),
    }
}

/// A label that overrides a setting of the job, in the words that Go takes for booleans.
fn boolean(builder: &LabelsBuilder, label: &str, what: &'static str, of_job: bool) -> Result<bool, TargetError> {
    match builder.get(label) {
        "" => Ok(of_job),
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        value => Err(TargetError::Boolean { what, value: value.to_owned() }),
    }
}

fn url(job: &JobConfig, labels: &Labels) -> String {
    let get = |name| labels.get(name).unwrap_or_default();
    let mut params = job.params.clone();
    for (label, value) in labels {
        let Some(name) = label.strip_prefix(PARAM_PREFIX) else { continue };
        match params.iter_mut().find(|(n, _)| n == name) {
            // The label stands for the first value only.
            Some((_, values)) if !values.is_empty() => value.clone_into(&mut values[0]),
            Some((_, values)) => values.push(value.to_owned()),
            None => params.push((name.to_owned(), vec![value.to_owned()])),
        }
    }
    params.sort();
    let mut url = format!("{}://{}", get(SCHEME), get(ADDRESS));
    let path = get(METRICS_PATH);
    if !path.is_empty() && !path.starts_with('/') {
        url.push('/');
    }
    escape(&mut url, path, b"-_.~$&+,/:;=@", false);
    let mut separator = '?';
    for (name, value) in params.iter().flat_map(|(n, values)| values.iter().map(move |v| (n, v))) {
        url.push(separator);
        separator = '&';
        escape(&mut url, name, b"-_.~", true);
        url.push('=');
        escape(&mut url, value, b"-_.~", true);
    }
    url
}

fn escape(out: &mut String, text: &str, plain: &[u8], space_is_plus: bool) {
    for byte in text.bytes() {
        match byte {
            b if b.is_ascii_alphanumeric() || plain.contains(&b) => out.push(char::from(b)),
            b' ' if space_is_plus => out.push('+'),
            // Writing to a String cannot fail.
            b => drop(write!(out, "%{b:02X}")),
        }
    }
}

impl Target {
    /// Milliseconds from `now` to this target's place in the interval. The place is fixed in absolute time, so that
    /// restarts do not move it; the seed differs between servers, so that they do not all ask at once.
    pub(super) fn offset(&self, seed: u64, now: TimestampMs) -> DurationMs {
        // An interval is never 0; see `populate`.
        let interval = self.interval.0.max(1);
        let into = now.0.rem_euclid(interval);
        let place = ((self.hash ^ seed) % interval.unsigned_abs()) as i64;
        DurationMs((place - into).rem_euclid(interval))
    }
}
