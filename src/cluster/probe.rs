//! What a server can do: asked before it is first needed, and again from time to time.
//!
//! A server tells its kind by its build information, and its external labels by its configuration. Servers behind a proxy
//! may tell neither; then they are taken for what most are, a Prometheus without external labels.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Deserialize;

use crate::model::{Labels, LabelsBuilder};

/// How long what a server has said is believed.
pub(super) const FRESH: Duration = Duration::from_secs(300);
/// How long if it has not said all.
pub(super) const FRESH_IN_PART: Duration = Duration::from_secs(15);
/// The same of a server that denies some of it: others may be allowed more.
pub(super) const FRESH_IF_DENIED: Duration = Duration::from_secs(1);
/// Bytes of an answer.
pub(super) const MAX_BYTES: u64 = 16 << 20;
/// The header that VictoriaMetrics sends with every answer.
pub(super) const VICTORIA_HEADER: &str = "x-server-hostname";

/// What evaluates a member's expressions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Flavour {
    /// Evaluates as Prometheus does, or has said nothing else.
    #[default]
    Prometheus,
    /// A Prometheus before 3.0: its windows have the sample at their beginning, too.
    Prometheus2,
    /// Evaluates rate, increase, delta and their kin in a way of its own.
    VictoriaMetrics,
}

/// What a server can do.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Capabilities {
    /// What evaluates.
    pub flavour: Flavour,
    /// Its version; empty if it does not tell.
    pub version: String,
    /// Whether it tells its revision, or its compiler, as a Prometheus does.
    pub tells_revision: bool,
    /// Labels that it adds to series for others.
    pub external: Labels,
    /// Whether it answers remote read.
    pub has_remote_read: bool,
}

/// What is known of a server, and until when it is fresh.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<Option<(Instant, Arc<Capabilities>)>>);

impl Known {
    /// What it has said last, if anything.
    pub(super) fn last(&self) -> Option<Arc<Capabilities>> {
        self.0.lock().as_ref().map(|(_, known)| known.clone())
    }

    /// What it has said not long ago.
    pub(super) fn fresh(&self) -> Option<Arc<Capabilities>> {
        self.0.lock().as_ref().filter(|(until, _)| Instant::now() < *until).map(|(_, known)| known.clone())
    }

    /// It has said this, which is believed for so long.
    pub(super) fn put(&self, capabilities: Capabilities, fresh: Duration) -> Arc<Capabilities> {
        let known = Arc::new(capabilities);
        let now = Instant::now();
        *self.0.lock() = Some((now.checked_add(fresh).unwrap_or(now), known.clone()));
        known
    }

    /// An answer has come with the header of VictoriaMetrics. Of a server that tells its revision it is a proxy's: that of
    /// VictoriaMetrics stands before any server.
    pub(super) fn has_victorias_header(&self) {
        if let Some((_, known)) = &mut *self.0.lock()
            && known.flavour == Flavour::Prometheus
            && !known.tells_revision
        {
            *known = Arc::new(Capabilities { flavour: Flavour::VictoriaMetrics, ..(**known).clone() });
        }
    }
}

/// What a server tells of its making.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Build {
    /// Its version.
    pub version: String,
    /// Its compiler.
    pub go_version: String,
    /// Its commit.
    pub revision: String,
    /// What it is, if it is no Prometheus but has the API of one.
    pub application: String,
}

impl Build {
    /// Whether it tells its revision, or its compiler, as a Prometheus does.
    pub(super) fn tells_revision(&self) -> bool {
        !self.go_version.is_empty() || !self.revision.is_empty()
    }

    /// What evaluates there; `has_header` if it answers with the header of VictoriaMetrics.
    pub(super) fn flavour(&self, has_header: bool) -> Flavour {
        let major = self.version.trim_start_matches('v').split('.').next().unwrap_or_default();
        match (self.tells_revision(), major) {
            (false, _) if has_header => Flavour::VictoriaMetrics,
            // Mimir's 2 was made of Prometheus's as well. Thanos counts from 0, which says nothing.
            (true, "1" | "2") if self.application != "Watershed" => Flavour::Prometheus2,
            _ => Flavour::Prometheus,
        }
    }
}

/// Reads build information.
pub fn parse_build(body: &[u8]) -> Option<Build> {
    #[derive(Deserialize)]
    struct Envelope {
        data: Build,
    }
    serde_json::from_slice(body).ok().map(|Envelope { data }| data)
}

/// Reads external labels from the configuration that a server shows.
pub fn parse_external(body: &[u8]) -> Option<Labels> {
    #[derive(Deserialize)]
    struct Envelope {
        data: Shown,
    }
    #[derive(Deserialize)]
    struct Shown {
        yaml: String,
    }
    #[derive(Default, Deserialize)]
    struct Config {
        #[serde(default)]
        global: Global,
    }
    #[derive(Default, Deserialize)]
    struct Global {
        #[serde(default)]
        external_labels: std::collections::BTreeMap<String, String>,
    }
    let Envelope { data } = serde_json::from_slice(body).ok()?;
    let config: Config = serde_yaml::from_str(&data.yaml).ok()?;
    let mut builder = LabelsBuilder::new();
    config.global.external_labels.iter().for_each(|(name, value)| builder.set(name, value));
    Some(builder.labels())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_tell_about_themselves_is_read() {
        let flavour = |body: &str, has_header| parse_build(body.as_bytes()).map(|build| build.flavour(has_header));
        let data = |data: &str| format!(r#"{{"status":"success","data":{{{data}}}}}"#);
        let prometheus = data(r#""version":"3.5.3","revision":"abc","goVersion":"go1.24""#);
        assert_eq!(parse_build(prometheus.as_bytes()).map(|build| build.version).as_deref(), Some("3.5.3"));
        for has_header in [true, false] {
            assert_eq!(flavour(&prometheus, has_header), Some(Flavour::Prometheus));
            assert_eq!(flavour(&prometheus.replace("3.5.3", "2.53.5"), has_header), Some(Flavour::Prometheus2));
        }
        let watershed = data(r#""version":"1.0.0","goVersion":"rustc 1","application":"Watershed""#);
        assert_eq!(flavour(&watershed, false), Some(Flavour::Prometheus));
        let victoria = data(r#""version":"2.24.0""#);
        assert_eq!(flavour(&victoria, true), Some(Flavour::VictoriaMetrics));
        assert_eq!(flavour(&victoria, false), Some(Flavour::Prometheus));
        assert_eq!(parse_build(b"<html>"), None);
        let config = br#"{"status":"success","data":{"yaml":"global:\n  scrape_interval: 15s\n  external_labels:\n    a: b\n    replica: \"1\"\nscrape_configs:\n- job_name: x\n"}}"#;
        assert_eq!(parse_external(config), Some(Labels::from_pairs([("a", "b"), ("replica", "1")])));
        let without = br#"{"status":"success","data":{"yaml":"global: {}\n"}}"#;
        assert_eq!(parse_external(without), Some(Labels::empty()));
        assert_eq!(parse_external(br#"{"status":"success","data":{"yaml":"a: [}"}}"#), None);
    }

    /// A list of a Prometheus behind vmauth made it a VictoriaMetrics, of which nothing else was known, for five minutes.
    #[test]
    fn who_tells_its_revision_stays_a_prometheus_behind_a_proxy_of_victoriametrics() {
        let known = Known::default();
        known.has_victorias_header();
        assert_eq!(known.last(), None);
        for (tells_revision, flavour) in [(true, Flavour::Prometheus), (false, Flavour::VictoriaMetrics)] {
            known.put(Capabilities { tells_revision, has_remote_read: true, ..Capabilities::default() }, FRESH);
            known.has_victorias_header();
            let found = known.last().unwrap();
            assert_eq!((found.flavour, found.has_remote_read), (flavour, true));
        }
    }
}
