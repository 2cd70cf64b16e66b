use std::path::Path;
use std::sync::LazyLock;

use watershed::config::load_str;
use watershed::exposition::MediaType;
use watershed::model::TimestampMs;
use watershed::scrape::{JobConfig, take_bodies};
use watershed::storage::memory::MemoryStore;
use watershed::telemetry::host::read_kernel_text;

/// Jobs that want different things of histograms, of times and of labels.
static JOBS: LazyLock<Vec<JobConfig>> = LazyLock::new(|| {
    let rules = "[{action: labeldrop, regex: d.*}, {action: labelmap, regex: m(.+), replacement: n$1}, \
                  {action: hashmod, source_labels: [a], modulus: 7, target_label: h}, \
                  {source_labels: [__name__, le], regex: '(x.*);(.*)', target_label: __name__, replacement: '$2'}, \
                  {action: drop, source_labels: [a], regex: 'b+'}]";
    let histograms = "scrape_native_histograms: true, convert_classic_histograms_to_nhcb: true";
    let job = |name: &str, more: &str| format!("  - {{job_name: {name}, metric_relabel_configs: {rules}, {more}}}\n");
    let jobs = [
        job("plain", "honor_labels: true"),
        job("native", &format!("{histograms}, native_histogram_bucket_limit: 20")),
        job("both", &format!("{histograms}, always_scrape_classic_histograms: true, track_timestamps_staleness: true")),
    ];
    let config = load_str(&format!("scrape_configs:\n{}", jobs.concat()), Path::new("/nowhere"));
    config.unwrap_or_else(|errors| panic!("{errors}")).jobs
});

pub fn text(data: &[u8]) {
    take(data, MediaType::TextPlain);
}

pub fn openmetrics(data: &[u8]) {
    take(data, MediaType::OpenMetricsText);
}

pub fn protobuf(data: &[u8]) {
    take(data, MediaType::Protobuf);
}

/// Two bodies, parted by NUL, if there is one: the second one again brings what it brought before, and no series are new.
fn take(data: &[u8], media: MediaType) {
    let mut parts = data.splitn(2, |byte| *byte == 0 && media != MediaType::Protobuf);
    let (first, second) = (parts.next().unwrap_or_default(), parts.next().unwrap_or(data));
    for job in &*JOBS {
        let store = MemoryStore::new();
        let taken = take_bodies(job, &store, media, TimestampMs(1_700_000_000_000), &[first, second, second]);
        let [_, Some(once), Some(again)] = taken[..] else { continue };
        assert_eq!((again.scraped, again.after_relabelling), (once.scraped, once.after_relabelling), "{}", job.name);
        assert_eq!(again.series_added, 0, "{}", job.name);
    }
}

/// The kernel's texts about the machine; names in them are made by others.
pub fn kernel(data: &[u8]) {
    read_kernel_text(super::text(data));
}
