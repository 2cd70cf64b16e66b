//! The demo's configs, and what the centre knows of a site.

use std::fmt::Write as _;

use super::{CENTRE_INTERVAL, EDGE_INTERVAL, get};
use crate::runtime::Clock;

/// An edge: scrapes itself and the host it runs on.
pub(super) fn edge_config(site: &str, port: u16) -> String {
    format!(
        "\
global:
  scrape_interval: {EDGE_INTERVAL}
  scrape_timeout: {EDGE_INTERVAL}
  external_labels:
    site: {site}
scrape_configs:
  - job_name: watershed
    static_configs:
      - targets: ['127.0.0.1:{port}']
  - job_name: host
    metrics_path: /metrics/host
    static_configs:
      - targets: ['127.0.0.1:{port}']
"
    )
}

/// The centre: one federate job a site.
pub(super) fn centre_config(edges: &[(&str, String)]) -> String {
    let mut config = format!(
        "\
global:
  scrape_interval: {CENTRE_INTERVAL}
  scrape_timeout: {CENTRE_INTERVAL}
scrape_configs:
"
    );
    for (site, address) in edges {
        // Writing to a String cannot fail.
        let _ = write!(
            config,
            "  - job_name: federate-{site}
    honor_labels: true
    metrics_path: /federate
    params:
      'match[]': ['{{job=\"watershed\"}}', '{{job=\"host\"}}']
    static_configs:
      - targets: ['{address}']
"
        );
    }
    config
}

/// What arrived at the centre from one site.
#[derive(Debug, Default)]
pub(super) struct SiteReport {
    pub(super) site: &'static str,
    /// Series that the centre would hand on now.
    pub(super) series: usize,
    /// Age of the newest sample; `None` before the first.
    pub(super) newest_age_ms: Option<i64>,
    /// Bytes of all bodies so far.
    pub(super) bytes: u64,
    /// Scrapes that failed.
    pub(super) failures: u64,
    /// Why the last one failed, or why the centre could not be asked.
    pub(super) error: String,
}

impl SiteReport {
    /// Asks the centre.
    pub(super) async fn ask(centre: &str, site: &'static str) -> SiteReport {
        let mut report = SiteReport { site, ..SiteReport::default() };
        if let Err(error) = report.fill(centre).await {
            report.error = error;
        }
        report
    }

    async fn fill(&mut self, centre: &str) -> Result<(), String> {
        let site = self.site;
        let federate = format!("{centre}/federate?match[]=%7Bsite%3D%22{site}%22%7D");
        let text = get(&federate).await?;
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let times: Vec<i64> = samples.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
        self.series = times.len();
        self.newest_age_ms = times.iter().max().map(|t| (Clock::system().now().0 - t).max(0));

        let job = format!("scrape_job=\"federate-{site}\"");
        let own = get(&format!("{centre}/metrics")).await?;
        self.bytes = sum(&own, "watershed_scrape_body_bytes_total", &job);
        self.failures = sum(&own, "watershed_scrape_failures_total", &job);

        let targets = get(&format!("{centre}/api/v1/targets?state=active&scrapePool=federate-{site}")).await?;
        let targets: serde_json::Value = serde_json::from_str(&targets).map_err(|e| e.to_string())?;
        let error = targets.pointer("/data/activeTargets/0/lastError").and_then(|e| e.as_str());
        self.error = error.unwrap_or_default().to_owned();
        Ok(())
    }
}

/// The sum of a metric's series that hold the given label.
fn sum(exposition: &str, name: &str, label: &str) -> u64 {
    let series = exposition.lines().filter(|l| l.starts_with(name) && l.contains(label));
    series.filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
}
