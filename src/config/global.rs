//! The section `global`: defaults of every job, and the labels that this server gives to what leaves it.

use std::path::PathBuf;

use super::fields::{At, Field, Fields, Shown, unknown_word};
use super::files;
use super::labels;
use super::render::Out;
use super::scalar::ByteSize;
use crate::model::{DurationMs, Labels};
use crate::scrape::{EscapingScheme, NameValidation, ScrapeProtocol};

/// Looks up an environment variable.
pub(super) type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// The section `global` with its defaults filled in. Limits of zero mean none.
#[derive(Clone, Debug)]
pub struct GlobalConfig {
    /// Time between scrapes of one target.
    pub scrape_interval: DurationMs,
    /// Time allowed for one scrape, at most the interval.
    pub scrape_timeout: DurationMs,
    /// Accepted formats; `None` leaves the choice to the job.
    pub scrape_protocols: Option<Vec<ScrapeProtocol>>,
    /// Time between evaluations of a rule group.
    pub evaluation_interval: DurationMs,
    /// How far into the past rules look.
    pub rule_query_offset: DurationMs,
    /// Where queries are logged.
    pub query_log_file: Option<PathBuf>,
    /// Where failed scrapes are logged.
    pub scrape_failure_log_file: Option<PathBuf>,
    /// Labels that are added to what leaves this server, variables expanded.
    pub external_labels: Labels,
    /// Uncompressed bytes of one answer.
    pub body_size_limit: ByteSize,
    /// Samples of one scrape.
    pub sample_limit: u64,
    /// Targets of one job.
    pub target_limit: u64,
    /// Labels of one series.
    pub label_limit: u64,
    /// Bytes of a label name.
    pub label_name_length_limit: u64,
    /// Bytes of a label value.
    pub label_value_length_limit: u64,
    /// Dropped targets that are remembered per job.
    pub keep_dropped_targets: u64,
    /// Which names are valid.
    pub name_validation: NameValidation,
    /// How names are asked to be escaped.
    pub name_escaping: EscapingScheme,
    /// Whether native histograms are scraped.
    pub scrape_native_histograms: bool,
    /// Whether classic histograms become native ones with custom buckets.
    pub convert_classic_histograms_to_nhcb: bool,
    /// Whether classic histograms are kept beside native ones.
    pub always_scrape_classic_histograms: bool,
    /// Whether the additional `scrape_*` series are written.
    pub extra_scrape_metrics: bool,
}

const PROTOCOLS: [(&str, ScrapeProtocol); 5] = [
    ("OpenMetricsText0.0.1", ScrapeProtocol::OpenMetricsText001),
    ("OpenMetricsText1.0.0", ScrapeProtocol::OpenMetricsText100),
    ("PrometheusProto", ScrapeProtocol::PrometheusProto),
    ("PrometheusText0.0.4", ScrapeProtocol::PrometheusText004),
    ("PrometheusText1.0.0", ScrapeProtocol::PrometheusText100),
];

/// The text formats, most wanted first.
pub(super) const TEXT_PROTOCOLS: [ScrapeProtocol; 4] = [
    ScrapeProtocol::OpenMetricsText100,
    ScrapeProtocol::OpenMetricsText001,
    ScrapeProtocol::PrometheusText100,
    ScrapeProtocol::PrometheusText004,
];

pub(super) const ESCAPINGS: [(&str, EscapingScheme); 4] = [
    ("allow-utf-8", EscapingScheme::AllowUtf8),
    ("underscores", EscapingScheme::Underscores),
    ("dots", EscapingScheme::Dots),
    ("values", EscapingScheme::Values),
];

/// Reads the section; `given` is false where there is none, and `at` is a null.
pub(super) fn read(at: &At<'_>, given: bool, env: Environment<'_>) -> (GlobalConfig, Shown) {
    let mut f = at.fields();
    let (scrape_interval, scrape_timeout) = read_times(&mut f);
    let given_protocols = read_protocols(&mut f, "scrape_protocols", "for global config");
    let scrape_protocols = given_protocols.or_else(|| protocols_of_features(&mut f));
    let mut evaluation_interval = f.take("evaluation_interval", DurationMs(0));
    if evaluation_interval.0 == 0 {
        evaluation_interval = DurationMs::from_secs(60);
        f.put("evaluation_interval", evaluation_interval.out());
    }
    let rule_query_offset = f.take("rule_query_offset", DurationMs(0));
    f.not_yet("rule_query_offset");
    let query_log_file = f.path("query_log_file");
    let scrape_failure_log_file = f.path("scrape_failure_log_file");
    // The labels are judged by a key that is shown far behind them.
    let is_legacy = |at: At<'_>| at.node.scalar().is_some_and(|s| s.text == "legacy");
    let legacy = f.find("metric_name_validation_scheme").is_some_and(is_legacy);
    let label_names = if legacy { NameValidation::Legacy } else { NameValidation::Utf8 };
    let external_labels = read_external_labels(&mut f, label_names, env);
    let body_size_limit = f.take("body_size_limit", ByteSize(0));
    let sample_limit = f.take("sample_limit", 0);
    let target_limit = f.take("target_limit", 0);
    let label_limit = f.take("label_limit", 0);
    let label_name_length_limit = f.take("label_name_length_limit", 0);
    let label_value_length_limit = f.take("label_value_length_limit", 0);
    let keep_dropped_targets = f.take("keep_dropped_targets", 0);
    let name_validation = read_validation(&mut f).unwrap_or(NameValidation::Utf8);
    f.put("metric_name_validation_scheme", show_validation(name_validation));
    let name_escaping = read_global_escaping(&mut f, name_validation, given);
    let scrape_native_histograms = f.always("scrape_native_histograms", false);
    let convert_classic_histograms_to_nhcb = f.take("convert_classic_histograms_to_nhcb", false);
    let always_scrape_classic_histograms = f.take("always_scrape_classic_histograms", false);
    let extra_scrape_metrics = f.always("extra_scrape_metrics", f.features().extra_scrape_metrics);
    let config = GlobalConfig {
        scrape_interval,
        scrape_timeout,
        scrape_protocols,
        evaluation_interval,
        rule_query_offset,
        query_log_file,
        scrape_failure_log_file,
        external_labels,
        body_size_limit,
        sample_limit,
        target_limit,
        label_limit,
        label_name_length_limit,
        label_value_length_limit,
        keep_dropped_targets,
        name_validation,
        name_escaping,
        scrape_native_histograms,
        convert_classic_histograms_to_nhcb,
        always_scrape_classic_histograms,
        extra_scrape_metrics,
    };
    (config, f.finish())
}

fn read_times(f: &mut Fields<'_>) -> (DurationMs, DurationMs) {
    let mut interval = f.take("scrape_interval", DurationMs(0));
    let mut timeout = f.take("scrape_timeout", DurationMs(0));
    if interval.0 == 0 {
        interval = DurationMs::from_secs(60);
        f.put("scrape_interval", interval.out());
    }
    if timeout > interval && !f.has_faulty() {
        f.mistake(
            "scrape_timeout",
            format!("global scrape timeout greater than scrape interval: {timeout} > {interval}"),
        );
    }
    if timeout.0 == 0 {
        timeout = DurationMs::from_secs(10).min(interval);
        f.put("scrape_timeout", timeout.out());
    }
    (interval, timeout)
}

/// The formats under `key`; `None` where it is missing. `context` ends the reference's sentences.
pub(super) fn read_protocols(f: &mut Fields<'_>, key: &'static str, context: &str) -> Option<Vec<ScrapeProtocol>> {
    let at = f.section(key)?;
    let names: Vec<String> = at.read()?;
    if names.is_empty() {
        at.mistake(format!("scrape_protocols cannot be empty {context}"));
        return None;
    }
    let mut protocols = Vec::new();
    for (i, name) in names.iter().enumerate() {
        if names[..i].iter().any(|n| n.eq_ignore_ascii_case(name)) {
            at.mistake(format!("duplicated protocol in scrape_protocols, got [{}] {context}", names.join(" ")));
            return None;
        }
        match protocol(name) {
            Ok(protocol) => protocols.push(protocol),
            Err(why) => at.mistake(format!("scrape_protocols: {why} {context}")),
        }
    }
    f.put(key, show_protocols(&protocols));
    Some(protocols)
}

/// Start timestamps of all kinds exist only in protobuf, so it goes first where they are wanted.
fn protocols_of_features(f: &mut Fields<'_>) -> Option<Vec<ScrapeProtocol>> {
    let features = f.features();
    if !features.st_storage && !features.created_timestamp_zero_ingestion {
        return None;
    }
    let protocols: Vec<_> = std::iter::once(ScrapeProtocol::PrometheusProto).chain(TEXT_PROTOCOLS).collect();
    f.put("scrape_protocols", show_protocols(&protocols));
    Some(protocols)
}

/// The format of a name; names are case-sensitive.
pub(super) fn protocol(name: &str) -> Result<ScrapeProtocol, String> {
    let found = PROTOCOLS.iter().find(|(n, _)| *n == name).map(|(_, p)| *p);
    found.ok_or_else(|| format!("unknown scrape protocol {name}, supported: [{}]", PROTOCOLS.map(|(n, _)| n).join(" ")))
}

/// The formats by their names.
pub(super) fn show_protocols(protocols: &[ScrapeProtocol]) -> Out {
    Out::Seq(protocols.iter().map(|p| show_protocol(*p)).collect())
}

/// A format by its name.
pub(super) fn show_protocol(protocol: ScrapeProtocol) -> Out {
    let name = PROTOCOLS.iter().find(|(_, p)| *p == protocol).map_or("", |(n, _)| n);
    Out::Text(name.to_owned())
}

fn read_external_labels(f: &mut Fields<'_>, names: NameValidation, env: Environment<'_>) -> Labels {
    const KEY: &str = "external_labels";
    let mut pairs = labels::read(f, KEY, names);
    for (name, value) in &mut pairs {
        *value = files::expand(value, &mut |variable| {
            let found = env(variable).filter(|v| !v.is_empty());
            if found.is_none() {
                let labels = f.find(KEY).map(|at| at.fields());
                labels.iter().for_each(|l| l.warn(name, &format!("Empty environment variable {variable}")));
            }
            found.unwrap_or_default()
        });
    }
    labels::show(f, KEY, &pairs);
    labels::to_labels(&pairs)
}

/// The scheme of names; `None` where it is missing or blank.
pub(super) fn read_validation(f: &mut Fields<'_>) -> Option<NameValidation> {
    let at = f.section("metric_name_validation_scheme")?;
    match at.text()? {
        "" => None,
        "utf8" => Some(NameValidation::Utf8),
        "legacy" => Some(NameValidation::Legacy),
        other => {
            at.mistake(format!("unrecognized ValidationScheme: {other:?}; allowed: utf8, legacy"));
            None
        }
    }
}

/// The scheme by its name.
pub(super) fn show_validation(names: NameValidation) -> Out {
    Out::Text(match names {
        NameValidation::Utf8 => "utf8".into(),
        NameValidation::Legacy => "legacy".into(),
    })
}

/// The escaping; `None` where it is missing or blank.
pub(super) fn read_escaping(f: &mut Fields<'_>, what: &str) -> Option<EscapingScheme> {
    let at = f.section("metric_name_escaping_scheme")?;
    let text = at.text()?;
    if text.is_empty() {
        return None;
    }
    let found = ESCAPINGS.iter().find(|(n, _)| *n == text).map(|(_, e)| *e);
    match found {
        Some(escaping) => f.put("metric_name_escaping_scheme", show_escaping(escaping)),
        None => at.mistake(format!(
            "unknown {what} name escaping method specified, must be one of 'allow-utf-8', 'underscores', 'dots', or 'values': {}",
            unknown_word("value", text, ESCAPINGS.iter().map(|(n, _)| *n))
        )),
    }
    found
}

/// The escaping by its name.
pub(super) fn show_escaping(escaping: EscapingScheme) -> Out {
    let name = ESCAPINGS.iter().find(|(_, e)| *e == escaping).map_or("", |(n, _)| n);
    Out::Text(name.to_owned())
}

fn read_global_escaping(f: &mut Fields<'_>, names: NameValidation, section_given: bool) -> EscapingScheme {
    let given = read_escaping(f, "global");
    let escaping = given.unwrap_or(match names {
        NameValidation::Legacy => EscapingScheme::Underscores,
        NameValidation::Utf8 => EscapingScheme::AllowUtf8,
    });
    if !section_given {
        f.put("metric_name_escaping_scheme", show_escaping(escaping));
    }
    escaping
}
