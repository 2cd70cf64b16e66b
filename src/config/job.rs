//! One entry of `scrape_configs`.

use super::fields::{At, Field, Fields};
use super::global::{self, GlobalConfig, show_escaping, show_protocol, show_protocols, show_validation};
use super::http::{self, HttpSection, OAuth2};
use super::render::{self, Out};
use super::scalar::ByteSize;
use super::{Features, relabel, sd};
use crate::model::DurationMs;
use crate::scrape::{EscapingScheme, JobConfig, NameValidation, Scheme, ScrapeProtocol, StartTimestamps};

/// Reads a job and fills in what it inherits from `global`.
pub(super) fn read(at: &At<'_>, global: &GlobalConfig) -> (JobConfig, Out) {
    let mut f = at.fields();
    let name = read_name(&mut f);
    f.refuse("resync", super::LATER);
    let honor_labels = f.take("honor_labels", false);
    let honor_timestamps = f.always("honor_timestamps", true);
    let track_timestamps_staleness = f.always("track_timestamps_staleness", false);
    let params = read_params(&mut f);
    let (interval, timeout) = read_times(&mut f, global, &name);
    let context = format!("for scrape config with job name {name:?}");
    let own_protocols = global::read_protocols(&mut f, "scrape_protocols", &context);
    let fallback_protocol = read_fallback(&mut f, &name);
    let histograms = read_histograms(&mut f, global);
    let protocols = own_protocols.unwrap_or_else(|| default_protocols(global, histograms.native));
    f.put("scrape_protocols", show_protocols(&protocols));
    let failure_log_file = f.path("scrape_failure_log_file").or_else(|| global.scrape_failure_log_file.clone());
    f.put("scrape_failure_log_file", failure_log_file.as_deref().map_or(Out::Omit, super::fields::show_path));
    let metrics_path = f.take("metrics_path", "/metrics".to_owned());
    let scheme = f.choice("scheme", Scheme::Http, &[("http", Scheme::Http), ("https", Scheme::Https)]);
    f.put("scheme", Out::Text(if scheme == Scheme::Http { "http" } else { "https" }.to_owned()));
    let enable_compression = f.always("enable_compression", true);
    let limits = read_limits(&mut f, global);
    let keep_dropped_targets = inherit(&mut f, "keep_dropped_targets", global.keep_dropped_targets);
    let (name_validation, name_escaping) = read_names(&mut f, global);
    let extra_scrape_metrics = f.optional("extra_scrape_metrics").unwrap_or(global.extra_scrape_metrics);
    f.put("extra_scrape_metrics", extra_scrape_metrics.out());
    let start_timestamps = start_timestamps(f.features());
    let HttpSection { client, .. } = http::read(&mut f, true, OAuth2::Refused);
    let relabel = relabel::read(
        &mut f,
        "relabel_configs",
        name_validation,
        "empty or null target relabeling rule in scrape config",
    );
    let metric_relabel = relabel::read(
        &mut f,
        "metric_relabel_configs",
        name_validation,
        "empty or null metric relabeling rule in scrape config",
    );
    let discovery = sd::read(&mut f);
    let shown = f.finish().into_out();
    let (fingerprint, rendered) = (render::fingerprint(&shown), render::render(&shown));
    let job = JobConfig {
        name,
        honor_labels,
        honor_timestamps,
        track_timestamps_staleness,
        params,
        interval,
        timeout,
        protocols,
        fallback_protocol,
        failure_log_file,
        metrics_path,
        scheme,
        enable_compression,
        body_size_limit: limits.body,
        sample_limit: limits.samples,
        target_limit: limits.targets,
        label_limit: limits.labels,
        label_name_length_limit: limits.label_name,
        label_value_length_limit: limits.label_value,
        keep_dropped_targets: some(keep_dropped_targets),
        name_validation,
        name_escaping,
        native_histograms: histograms.native,
        convert_classic_histograms: histograms.convert_classic,
        keep_classic_histograms: histograms.keep_classic,
        native_histogram_bucket_limit: limits.buckets,
        native_histogram_min_bucket_factor: limits.bucket_factor,
        start_timestamps,
        extra_scrape_metrics,
        discovery,
        client,
        relabel,
        metric_relabel,
        rendered,
        fingerprint,
    };
    (job, shown)
}

fn read_name(f: &mut Fields<'_>) -> String {
    let name: String = f.always("job_name", String::new());
    if name.is_empty() && !f.has_faulty() {
        f.mistake("job_name", "job_name is empty");
    }
    name
}

fn read_params(f: &mut Fields<'_>) -> Vec<(String, Vec<String>)> {
    let params: std::collections::BTreeMap<String, Vec<String>> = f.take("params", Default::default());
    params.into_iter().collect()
}

fn read_times(f: &mut Fields<'_>, global: &GlobalConfig, name: &str) -> (DurationMs, DurationMs) {
    let mut interval = f.take("scrape_interval", DurationMs(0));
    let mut timeout = f.take("scrape_timeout", DurationMs(0));
    if interval.0 == 0 {
        interval = global.scrape_interval;
    }
    if timeout > interval && !f.has_faulty() {
        let why = "scrape timeout greater than scrape interval for scrape config with job name";
        f.mistake("scrape_timeout", format!("{why} {name:?}: {timeout} > {interval}"));
    }
    if timeout.0 == 0 {
        timeout = global.scrape_timeout.min(interval);
    }
    f.put("scrape_interval", interval.out());
    f.put("scrape_timeout", timeout.out());
    (interval, timeout)
}

fn read_fallback(f: &mut Fields<'_>, name: &str) -> Option<ScrapeProtocol> {
    let text: String = f.take("fallback_scrape_protocol", String::new());
    if text.is_empty() {
        return None;
    }
    match global::protocol(&text) {
        Ok(protocol) => {
            f.put("fallback_scrape_protocol", show_protocol(protocol));
            Some(protocol)
        }
        Err(why) => {
            let context = format!("invalid fallback_scrape_protocol for scrape config with job name {name:?}");
            f.mistake("fallback_scrape_protocol", format!("{context}: {why}"));
            None
        }
    }
}

/// What is wanted of histograms.
struct Histograms {
    native: bool,
    keep_classic: bool,
    convert_classic: bool,
}

fn read_histograms(f: &mut Fields<'_>, global: &GlobalConfig) -> Histograms {
    let mut read = |key: &'static str, inherited: bool| {
        let on = f.optional(key).unwrap_or(inherited);
        f.put(key, on.out());
        on
    };
    Histograms {
        native: read("scrape_native_histograms", global.scrape_native_histograms),
        keep_classic: read("always_scrape_classic_histograms", global.always_scrape_classic_histograms),
        convert_classic: read("convert_classic_histograms_to_nhcb", global.convert_classic_histograms_to_nhcb),
    }
}

/// What the command line's features want of start timestamps.
fn start_timestamps(features: Features) -> StartTimestamps {
    if features.created_timestamp_zero_ingestion {
        StartTimestamps::ZeroSamples
    } else if features.st_storage {
        StartTimestamps::Read
    } else {
        StartTimestamps::Ignore
    }
}

fn default_protocols(global: &GlobalConfig, native_histograms: bool) -> Vec<ScrapeProtocol> {
    if let Some(protocols) = &global.scrape_protocols {
        return protocols.clone();
    }
    // Native histograms exist only in protobuf, so it goes first where they are wanted.
    let first = native_histograms.then_some(ScrapeProtocol::PrometheusProto);
    first.into_iter().chain(global::TEXT_PROTOCOLS).collect()
}

struct Limits {
    body: Option<u64>,
    samples: Option<u64>,
    targets: Option<u64>,
    labels: Option<u64>,
    label_name: Option<u64>,
    label_value: Option<u64>,
    buckets: Option<u64>,
    bucket_factor: f64,
}

fn read_limits(f: &mut Fields<'_>, global: &GlobalConfig) -> Limits {
    let body: ByteSize = inherit(f, "body_size_limit", global.body_size_limit);
    Limits {
        // As in the reference a negative limit is none.
        body: u64::try_from(body.0).ok().and_then(some),
        samples: some(inherit(f, "sample_limit", global.sample_limit)),
        targets: some(inherit(f, "target_limit", global.target_limit)),
        labels: some(inherit(f, "label_limit", global.label_limit)),
        label_name: some(inherit(f, "label_name_length_limit", global.label_name_length_limit)),
        label_value: some(inherit(f, "label_value_length_limit", global.label_value_length_limit)),
        buckets: some(f.take("native_histogram_bucket_limit", 0)),
        bucket_factor: f.take("native_histogram_min_bucket_factor", 0.0),
    }
}

/// The job's own value, or that of `global` where the job says nothing or zero.
fn inherit<T: Field>(f: &mut Fields<'_>, key: &'static str, global: T) -> T {
    let own = f.take(key, T::zero());
    if !own.is_zero() || global.is_zero() {
        return own;
    }
    f.put(key, global.out());
    global
}

fn some(limit: u64) -> Option<u64> {
    (limit > 0).then_some(limit)
}

/// Which names are valid and how the others are asked for: a job that only says `legacy` does not inherit an escaping
/// that would contradict it.
fn read_names(f: &mut Fields<'_>, global: &GlobalConfig) -> (NameValidation, EscapingScheme) {
    let own = global::read_validation(f);
    let validation = own.unwrap_or(global.name_validation);
    let escaping = global::read_escaping(f, "scrape config").unwrap_or(match own {
        None => global.name_escaping,
        Some(NameValidation::Legacy) => EscapingScheme::Underscores,
        Some(NameValidation::Utf8) => EscapingScheme::AllowUtf8,
    });
    if escaping == EscapingScheme::AllowUtf8 && validation == NameValidation::Legacy {
        let why = "utf8 metric names requested but validation scheme is not set to UTF8";
        f.mistake("metric_name_escaping_scheme", format!("{why}: metric_name_validation_scheme is legacy"));
    }
    f.put("metric_name_validation_scheme", show_validation(validation));
    f.put("metric_name_escaping_scheme", show_escaping(escaping));
    (validation, escaping)
}
