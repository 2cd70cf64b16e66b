//! The series that say how a scrape went: `up` and `scrape_*`.

use super::sample_rules::SampleRules;
use crate::model::{DurationMs, TimestampMs};
use crate::storage::{AppendError, Appender, FloatSample, SeriesRef};

/// In the order of the cache's references; the last three only with `extra_scrape_metrics`.
const NAMES: [&str; 8] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
    "scrape_timeout_seconds",
    "scrape_sample_limit",
    "scrape_body_size_bytes",
];

/// What a report says.
pub(super) struct ReportValues {
    pub(super) up: bool,
    pub(super) duration_s: f64,
    pub(super) scraped: u64,
    pub(super) after_relabelling: u64,
    pub(super) series_added: u64,
    /// Timeout, sample limit (0 for none), and the body's bytes (-1 for too many, 0 for none).
    pub(super) extra: Option<(DurationMs, u64, f64)>,
}

/// Appends a report. `series` holds the references of before and is filled where they are missing.
pub(super) fn append_report(
    appender: &mut dyn Appender,
    series: &mut [SeriesRef; 8],
    rules: &SampleRules,
    values: &ReportValues,
    t: TimestampMs,
) -> Result<(), AppendError> {
    let mut all = vec![
        f64::from(u8::from(values.up)),
        values.duration_s,
        values.scraped as f64,
        values.after_relabelling as f64,
        values.series_added as f64,
    ];
    if let Some((timeout, sample_limit, body_bytes)) = values.extra {
        all.extend([timeout.0 as f64 / 1000.0, sample_limit as f64, body_bytes]);
    }
    let mut batch = Vec::with_capacity(all.len());
    for ((name, series), v) in NAMES.iter().zip(series.iter_mut()).zip(all) {
        if *series == SeriesRef(0) {
            *series = appender.series(&rules.report_labels(name))?;
        }
        batch.push(FloatSample { series: *series, t, v });
    }
    let unknown = appender.append(&batch)?;
    let mut again = Vec::new();
    for position in unknown.0 {
        let i = position as usize;
        series[i] = appender.series(&rules.report_labels(NAMES[i]))?;
        again.push(FloatSample { series: series[i], ..batch[i] });
    }
    if !again.is_empty() {
        appender.append(&again)?;
    }
    Ok(())
}

/// Ends the report's series.
pub(super) fn append_report_end(
    appender: &mut dyn Appender,
    series: &[SeriesRef; 8],
    t: TimestampMs,
) -> Result<(), AppendError> {
    let known: Vec<SeriesRef> = series.iter().copied().filter(|s| *s != SeriesRef(0)).collect();
    appender.append_stale(&known, t).map(drop)
}
