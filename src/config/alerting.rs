//! The section `alerting`: checked, and acted upon by a later version.

use super::fields::{At, Fields, Shown};
use super::http::{self, HttpSection, OAuth2, OAuth2Config};
use super::render::Out;
use super::{relabel, remote, sd};
use crate::discovery::DiscoveryConfig;
use crate::model::DurationMs;
use crate::net::HttpClientConfig;
use crate::relabel::RuleConfig;
use crate::scrape::{NameValidation, Scheme};

/// Where alerts go.
#[derive(Clone, Debug, Default)]
pub struct AlertingConfig {
    /// Rules over alerts.
    pub relabel: Vec<RuleConfig>,
    /// The receivers.
    pub alertmanagers: Vec<AlertmanagerConfig>,
}

/// One set of Alertmanagers.
#[derive(Clone, Debug)]
pub struct AlertmanagerConfig {
    /// Where they are.
    pub discovery: Vec<DiscoveryConfig>,
    /// How they are asked.
    pub client: HttpClientConfig,
    /// Token exchange.
    pub oauth2: Option<OAuth2Config>,
    /// Scheme of the requests.
    pub scheme: Scheme,
    /// What comes before the path of the API.
    pub path_prefix: String,
    /// Time allowed for one request.
    pub timeout: DurationMs,
    /// Rules over the Alertmanagers.
    pub relabel: Vec<RuleConfig>,
    /// Rules over the alerts that these get.
    pub alert_relabel: Vec<RuleConfig>,
}

/// Reads the section.
pub(super) fn read(at: &At<'_>, names: NameValidation) -> (AlertingConfig, Shown) {
    let mut f = at.fields();
    let relabel = relabel::read(&mut f, "alert_relabel_configs", names, "empty or null alert relabeling rule");
    let mut alertmanagers = Vec::new();
    let mut shown = Vec::new();
    for at in f.items("alertmanagers") {
        if at.node.is_null() {
            at.mistake("empty or null Alertmanager config section");
            continue;
        }
        let (config, fields) = read_alertmanager(&at, names);
        alertmanagers.push(config);
        shown.push(fields.into_out());
    }
    if !shown.is_empty() {
        f.put("alertmanagers", Out::Seq(shown));
    }
    (AlertingConfig { relabel, alertmanagers }, f.finish())
}

fn read_alertmanager(at: &At<'_>, names: NameValidation) -> (AlertmanagerConfig, Shown) {
    let mut f = at.fields();
    let HttpSection { client, oauth2, auth_keys } = http::read(&mut f, true, OAuth2::Checked);
    if let Some(at) = f.section("sigv4") {
        let shown = remote::read_sigv4(&at);
        f.put("sigv4", shown.into_out());
        if !auth_keys.is_empty() {
            f.mistake("sigv4", "at most one of basic_auth, authorization, oauth2, & sigv4 must be configured");
        }
    }
    let scheme = f.choice("scheme", Scheme::Http, &[("http", Scheme::Http), ("https", Scheme::Https)]);
    f.put("scheme", Out::Text(if scheme == Scheme::Http { "http" } else { "https" }.to_owned()));
    let path_prefix = f.take("path_prefix", String::new());
    let timeout = f.take("timeout", DurationMs::from_secs(10));
    read_api_version(&mut f);
    let relabel = relabel::read(&mut f, "relabel_configs", names, "empty or null Alertmanager target relabeling rule");
    let alert_relabel =
        relabel::read(&mut f, "alert_relabel_configs", names, "empty or null Alertmanager alert relabeling rule");
    let discovery = sd::read(&mut f);
    let config = AlertmanagerConfig { discovery, client, oauth2, scheme, path_prefix, timeout, relabel, alert_relabel };
    (config, f.finish())
}

fn read_api_version(f: &mut Fields<'_>) {
    let version: String = f.always("api_version", "v2".to_owned());
    if version != "v2" {
        f.mistake("api_version", format!("expected Alertmanager api version to be one of [v2] but got {version}"));
    }
}
