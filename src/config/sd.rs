//! Where the targets of a job come from.

use url::Url;

use super::fields::{At, Field, Fields, Shown, show_path};
use super::http::{self, OAuth2};
use super::labels;
use super::render::Out;
use crate::discovery::{
    DiscoveryConfig, DnsRecordType, DnsSdConfig, FileSdConfig, HttpSdConfig, StaticConfig, TargetGroup,
};
use crate::model::{DurationMs, Labels};
use crate::scrape::NameValidation;

/// Mechanisms of the reference that this version does not have. A job that silently lacked its targets would be wrong.
const ABSENT: [&str; 33] = [
    "aws_sd_configs",
    "azure_sd_configs",
    "consul_sd_configs",
    "digitalocean_sd_configs",
    "docker_sd_configs",
    "dockerswarm_sd_configs",
    "ec2_sd_configs",
    "ecs_sd_configs",
    "elasticache_sd_configs",
    "eureka_sd_configs",
    "gce_sd_configs",
    "hetzner_sd_configs",
    "ionos_sd_configs",
    "kubernetes_sd_configs",
    "kuma_sd_configs",
    "lightsail_sd_configs",
    "linode_sd_configs",
    "marathon_sd_configs",
    "msk_sd_configs",
    "nerve_sd_configs",
    "nomad_sd_configs",
    "oci_sd_configs",
    "openstack_sd_configs",
    "outscale_sd_configs",
    "ovhcloud_sd_configs",
    "puppetdb_sd_configs",
    "rds_sd_configs",
    "scaleway_sd_configs",
    "serverset_sd_configs",
    "stackit_sd_configs",
    "triton_sd_configs",
    "uyuni_sd_configs",
    "vultr_sd_configs",
];

/// A warning and no refusal: one job of a large file must not keep all others from being scraped, and a reference file
/// stays usable. It is repeated at each start and reload.
const NOT_AVAILABLE: &str = "this version has no such discovery mechanism, so THE JOB GETS NO TARGETS FROM HERE; \
                             static_configs, file_sd_configs, http_sd_configs and dns_sd_configs are there, and a small \
                             script can write the files or answer the requests of the last three";

/// Takes every `*_configs` key of discovery from `f`, in the order in which they are shown.
pub(super) fn read(f: &mut Fields<'_>) -> Vec<DiscoveryConfig> {
    let relabelled = f.find("relabel_configs").is_some_and(|at| !at.items().is_empty());
    for key in ABSENT {
        f.without_effect(key, NOT_AVAILABLE);
    }
    let mut out: Vec<DiscoveryConfig> = Vec::new();
    out.extend(list(f, "dns_sd_configs", read_dns).into_iter().flatten().map(DiscoveryConfig::Dns));
    out.extend(list(f, "file_sd_configs", read_file).into_iter().flatten().map(DiscoveryConfig::File));
    out.extend(list(f, "http_sd_configs", read_http).into_iter().flatten().map(DiscoveryConfig::Http));
    let groups: Vec<TargetGroup> = list(f, "static_configs", |at| read_group(at, relabelled));
    if !groups.is_empty() {
        let numbered = groups.into_iter().enumerate();
        let groups = numbered.map(|(i, group)| TargetGroup { source: i.to_string(), ..group }).collect();
        out.push(DiscoveryConfig::Static(StaticConfig { groups }));
    }
    out
}

fn list<T>(f: &mut Fields<'_>, key: &'static str, read: impl Fn(&At<'_>) -> (T, Shown)) -> Vec<T> {
    let mut values = Vec::new();
    let mut shown = Vec::new();
    for at in f.items(key) {
        if at.node.is_null() {
            at.mistake(format!("empty or null section in {key}"));
            continue;
        }
        let (value, fields) = read(&at);
        values.push(value);
        shown.push(fields.into_out());
    }
    if !shown.is_empty() {
        f.put(key, Out::Seq(shown));
    }
    values
}

fn refresh_interval(f: &mut Fields<'_>, default_secs: i64) -> DurationMs {
    let interval = f.take("refresh_interval", DurationMs::from_secs(default_secs));
    if interval.0 <= 0 {
        f.mistake("refresh_interval", "refresh_interval must be longer than zero");
    }
    interval
}

fn read_dns(at: &At<'_>) -> (Option<DnsSdConfig>, Shown) {
    let mut f = at.fields();
    let names: Vec<String> = f.always("names", Vec::new());
    let refresh_interval = refresh_interval(&mut f, 30);
    let type_name: String = f.always("type", "SRV".to_owned());
    let port: u64 = f.always("port", 0);
    if names.is_empty() && !f.has_faulty() {
        f.mistake("names", "DNS-SD config must contain at least one SRV record name");
    }
    let record_type = match type_name.to_ascii_uppercase().as_str() {
        "SRV" => Some(DnsRecordType::Srv),
        "A" => Some(DnsRecordType::A),
        "AAAA" => Some(DnsRecordType::Aaaa),
        "MX" => Some(DnsRecordType::Mx),
        "NS" => Some(DnsRecordType::Ns),
        _ => {
            f.mistake("type", format!("invalid DNS-SD records type {type_name}; allowed: SRV, A, AAAA, MX, NS"));
            None
        }
    };
    let port_number = u16::try_from(port);
    if port_number.is_err() {
        f.mistake("port", format!("{port} is not a port; ports go to 65535"));
    } else if port == 0 && !f.has_faulty() && record_type.is_some_and(|t| t != DnsRecordType::Srv) {
        f.mistake("port", "a port is required in DNS-SD configs for all record types except SRV");
    }
    let port = port_number.ok().filter(|p| *p > 0);
    let config = record_type.map(|record_type| DnsSdConfig { names, refresh_interval, record_type, port });
    (config, f.finish())
}

fn read_file(at: &At<'_>) -> (Option<FileSdConfig>, Shown) {
    let mut f = at.fields();
    let names: Vec<String> = f.always("files", Vec::new());
    let refresh_interval = refresh_interval(&mut f, 5 * 60);
    if names.is_empty() && !f.has_faulty() {
        f.mistake("files", "file service discovery config must contain at least one path name");
    }
    for name in names.iter().filter(|n| !is_target_file(n)) {
        let why = format!(
            "path name {name:?} is not valid for file discovery; it ends in .json, .yml or .yaml, and * only in its last part"
        );
        f.mistake("files", why);
    }
    let files: Vec<_> = names.iter().map(|n| f.reader().path(n)).collect();
    f.put("files", Out::Seq(files.iter().map(|p| show_path(p)).collect()));
    (Some(FileSdConfig { files, refresh_interval }), f.finish())
}

/// One `*` at most, in the last part of the path, and an ending that tells the format.
fn is_target_file(name: &str) -> bool {
    let stem = ["json", "yml", "yaml", "JSON", "YML", "YAML"]
        .into_iter()
        .find_map(|ending| name.strip_suffix(ending).and_then(|s| s.strip_suffix('.')));
    stem.is_some_and(super::files::has_star_in_last_part_only)
}

fn read_http(at: &At<'_>) -> (Option<HttpSdConfig>, Shown) {
    let mut f = at.fields();
    let client = http::read(&mut f, true, OAuth2::Refused).client;
    let refresh_interval = refresh_interval(&mut f, 60);
    let text: String = f.always("url", String::new());
    f.put("url", http::show_url(&text));
    let url = check_http_url(&text).map_err(|why| f.mistake("url", why)).ok();
    (url.map(|url| HttpSdConfig { url, refresh_interval, client }), f.finish())
}

/// A URL with scheme and host. The messages do not repeat the text: it may hold a password.
fn check_http_url(text: &str) -> Result<Url, String> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    if text.is_empty() {
        return Err("URL is missing".into());
    }
    if !matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https") {
        return Err("URL scheme must be 'http' or 'https'".into());
    }
    if rest.is_empty() || rest.starts_with(['/', '?', '#']) {
        return Err("host is missing in URL".into());
    }
    Url::parse(text).map_err(|e| format!("not a URL: {e}"))
}

fn read_group(at: &At<'_>, relabelled: bool) -> (TargetGroup, Shown) {
    let mut f = at.fields();
    let given = f.items("targets");
    let mut addresses: Vec<String> = Vec::new();
    for target in &given {
        let Some(address) = target.read::<String>() else { continue };
        // Rules may turn a URL into an address, so only plain jobs are held to this.
        if !relabelled && address.contains('/') {
            let why = format!(
                "{address:?} is not a valid hostname; scheme and path have keys of their own, scheme and metrics_path"
            );
            target.mistake(why);
        }
        addresses.push(address);
    }
    f.put("targets", addresses.out());
    let labels = labels::read(&mut f, "labels", NameValidation::Utf8);
    let targets = addresses.iter().map(|a| Labels::from_pairs([("__address__", a.as_str())])).collect();
    (TargetGroup { source: String::new(), targets, labels: labels::to_labels(&labels) }, f.finish())
}
