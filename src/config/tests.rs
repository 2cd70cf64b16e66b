//! The config as its users see it: what a text becomes, what it is refused with, what is shown.

use std::path::Path;

use super::*;
use crate::cluster::{TimeBound, Via};
use crate::discovery::DiscoveryConfig;
use crate::model::DurationMs;
use crate::net::{Auth, Secret, SecretSource, TlsVersion};
use crate::relabel::Action;
use crate::scrape::{EscapingScheme, NameValidation, Scheme, ScrapeProtocol, StartTimestamps};

const EVERYTHING: &str = include_str!("testdata/everything.yml");

fn good(text: &str) -> Config {
    load_str(text, Path::new("/etc/w")).unwrap_or_else(|e| panic!("{e}"))
}

fn mistakes(text: &str) -> Vec<String> {
    match load_str(text, Path::new("/etc/w")) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

fn refused(text: &str, words: &str) {
    let told = mistakes(text);
    assert!(told.iter().any(|t| t.contains(words)), "{words:?} is not in {told:#?}");
}

#[test]
fn an_empty_config_has_the_defaults() {
    for text in ["", "global:\n", "# nothing\n", "scrape_configs: []\n"] {
        let config = good(text);
        assert_eq!(config.global.scrape_interval, DurationMs::from_secs(60));
        assert_eq!(config.global.scrape_timeout, DurationMs::from_secs(10));
        assert_eq!(config.target, Target::All);
        assert!(config.jobs.is_empty() && config.warnings.is_empty());
    }
}

#[test]
fn a_job_inherits_from_global_and_fills_in_defaults() {
    let config = good(
        "global: {scrape_interval: 5s, sample_limit: 7, body_size_limit: 1MB}\nscrape_configs:\n- job_name: a\n- {job_name: b, sample_limit: 9, scrape_interval: 1m, scheme: https}\n",
    );
    let [a, b] = config.jobs.as_slice() else { panic!("{:?}", config.jobs) };
    assert_eq!((a.interval, a.timeout), (DurationMs::from_secs(5), DurationMs::from_secs(5)));
    assert_eq!((b.interval, b.timeout), (DurationMs::from_secs(60), DurationMs::from_secs(5)));
    assert_eq!((a.sample_limit, b.sample_limit), (Some(7), Some(9)));
    assert_eq!((a.body_size_limit, a.label_limit), (Some(1 << 20), None));
    assert_eq!((a.scheme, b.scheme), (Scheme::Http, Scheme::Https));
    assert_eq!(a.metrics_path, "/metrics");
    assert!(a.honor_timestamps && !a.honor_labels && a.enable_compression);
    assert!(a.client.follow_redirects && a.client.enable_http2);
    assert_eq!(a.protocols[0], ScrapeProtocol::OpenMetricsText100);
}

#[test]
fn every_mistake_is_told_at_once_with_its_place_and_a_hint() {
    let text = "global:\n  scrape_intervall: 15s\nscrape_configs:\n- job_name: a\n  scrape_timeout: soon\n  honor_labels: maybe\n  scheme: htps\n  relabel_configs:\n  - action: kep\n  statik_configs: []\n";
    assert_eq!(
        mistakes(text),
        [
            "<config>:2:3: global.scrape_intervall: unknown key; did you mean scrape_interval?",
            "<config>:5:19: scrape_configs[0].scrape_timeout: not a valid duration string: \"soon\"; write it like 15s, 1h30m or 500ms",
            "<config>:6:17: scrape_configs[0].honor_labels: expected true or false, found \"maybe\"",
            "<config>:7:11: scrape_configs[0].scheme: unknown value \"htps\"; did you mean https? allowed: http, https",
            "<config>:9:13: scrape_configs[0].relabel_configs[0].action: unknown relabel action \"kep\"; did you mean keep? allowed: replace, keep, drop, keepequal, dropequal, hashmod, labelmap, labeldrop, labelkeep, lowercase, uppercase",
            "<config>:10:3: scrape_configs[0].statik_configs: unknown key; did you mean static_configs?",
        ]
    );
}

#[test]
fn text_that_is_no_yaml_is_refused_with_its_place() {
    for text in ["a: [b", "a: b: c", "\t- x", "{", "a: *nobody", "- just\n- a list", "only words"] {
        assert_eq!(mistakes(text).len(), 1, "{text:?}");
    }
    refused("global:\n  scrape_interval: [1\n", "<config>:");
}

#[test]
fn words_of_yaml_1_1_are_booleans_and_numbers_are_texts() {
    let config = good(
        "global: {external_labels: {replica: 1, up: yes, when: 2001-01-01, none: }}\nscrape_configs:\n- {job_name: 5, honor_labels: on, sample_limit: 0x10}\n",
    );
    let labels: Vec<_> = config.global.external_labels.iter().collect();
    assert_eq!(labels, [("replica", "1"), ("up", "yes"), ("when", "2001-01-01")]);
    assert_eq!(config.jobs[0].name, "5");
    assert!(config.jobs[0].honor_labels);
    assert_eq!(config.jobs[0].sample_limit, Some(16));
    refused("scrape_configs: [{job_name: a, honor_labels: 'true'}]", "expected true or false");
}

#[test]
fn a_null_is_the_zero_of_its_type_and_a_missing_key_the_default() {
    let config = good("scrape_configs:\n- job_name: a\n  honor_timestamps:\n  scrape_interval:\n  static_configs:\n");
    assert!(!config.jobs[0].honor_timestamps);
    assert_eq!(config.jobs[0].interval, DurationMs::from_secs(60));
}

#[test]
fn merge_keys_and_anchors_work_in_sections() {
    let config = good(
        "scrape_configs:\n- &base\n  job_name: a\n  scrape_interval: 7s\n  honor_labels: true\n- <<: *base\n  job_name: b\n",
    );
    assert_eq!(config.jobs[1].name, "b");
    assert!(config.jobs[1].honor_labels);
    assert_eq!(config.jobs[1].interval, DurationMs::from_secs(7));
}

#[test]
fn external_labels_are_expanded_and_an_empty_variable_is_told() {
    let text = "global:\n  external_labels:\n    a: x${SITE}y\n    b: $$HOME\n    c: ${NONE}\n";
    let reader = Reader::new(Path::new("c.yml"), Path::new(""));
    let env = |name: &str| (name == "SITE").then(|| "attic".to_owned());
    let config = load_text(reader, Some(text), Vec::new(), &Settings::default(), &env).unwrap();
    assert_eq!(config.global.external_labels.to_string(), r#"{a="xatticy", b="$HOME"}"#);
    assert_eq!(config.warnings.len(), 1);
    assert_eq!(config.warnings[0].to_string(), "c.yml:5:5: global.external_labels.c: Empty environment variable NONE");
    assert!(config.rendered.contains("    c: \"\"\n"), "{}", config.rendered);
}

#[test]
fn paths_start_at_the_directory_of_the_config() {
    let config = good(
        "rule_files: [r.yml]\nscrape_configs:\n- job_name: a\n  basic_auth: {username: u, password_file: ../pw}\n  tls_config: {ca_file: /abs/ca.pem, min_version: TLS13}\n  file_sd_configs: [{files: ['t/*.json']}]\n",
    );
    let job = &config.jobs[0];
    let Auth::Basic { username, password } = &job.client.auth else { panic!("{:?}", job.client.auth) };
    assert_eq!(*username, SecretSource::Inline(Secret::new("u")));
    assert_eq!(*password, Some(SecretSource::File("/etc/pw".into())));
    assert_eq!(job.client.tls.ca, Some(SecretSource::File("/abs/ca.pem".into())));
    assert_eq!(job.client.tls.min_version, Some(TlsVersion::Tls13));
    let DiscoveryConfig::File(files) = &job.discovery[0] else { panic!("{:?}", job.discovery) };
    assert_eq!(files.files, [PathBuf::from("/etc/w/t/*.json")]);
    assert_eq!(config.rule_files, [PathBuf::from("/etc/w/r.yml")]);
    assert!(config.warnings.iter().any(|w| w.to_string().contains("/etc/w/r.yml does not exist")));
}

#[test]
fn a_bearer_token_is_another_spelling_of_authorization() {
    let config = good("scrape_configs: [{job_name: a, bearer_token: s3cret}]");
    let expected =
        Auth::Authorization { scheme: "Bearer".into(), credentials: SecretSource::Inline(Secret::new("s3cret")) };
    assert_eq!(config.jobs[0].client.auth, expected);
    assert!(config.rendered.contains("authorization:\n    type: Bearer\n    credentials: <secret>\n"));
}

#[test]
fn secrets_are_neither_shown_nor_told() {
    let text = "scrape_configs:\n- job_name: a\n  basic_auth: {username: u, password: hunter2}\n  proxy_url: http://me:hunter2@proxy:3128\n  http_headers: {X-Key: {secrets: [hunter2]}}\n  http_sd_configs: [{url: 'http://me:hunter2@sd/x'}]\nremote_write: [{url: 'http://me:hunter2@w/x', sigv4: {access_key: a, secret_key: hunter2}}]\n";
    let config = good(text);
    let told = format!("{} {:?} {:?}", config.rendered, config.jobs[0].fingerprint, config.jobs[0].client);
    assert!(config.rendered.contains("http://me:xxxxx@proxy:3128"), "{}", config.rendered);
    assert!(!config.rendered.contains("hunter2") && !config.jobs[0].fingerprint.contains("hunter2"), "{told}");
    for bad in [
        "scrape_configs: [{job_name: a, basic_auth: hunter2}]",
        "scrape_configs: [{job_name: a, authorization: [hunter2]}]",
        "scrape_configs: [{job_name: a, bearer_token: {x: hunter2}}]",
        "scrape_configs: [{job_name: a, proxy_url: 'me:hunter2@proxy:3128'}]",
        "scrape_configs: [{job_name: a, http_sd_configs: [{url: 'ftp://me:hunter2@x'}]}]",
        "remote_write: [{url: \"http://me:hunter2@w:port/\"}]",
    ] {
        let told = mistakes(bad);
        assert!(!told.is_empty() && !told.concat().contains("hunter2"), "{told:?}");
    }
}

#[test]
fn the_fingerprint_tells_whether_a_job_changed() {
    let print =
        |extra: &str| good(&format!("scrape_configs:\n- {{job_name: a, {extra}}}\n")).jobs[0].fingerprint.clone();
    let base = print("basic_auth: {username: u, password: x}");
    assert_eq!(base, print("scheme: http, basic_auth: {password: x, username: u}"));
    for other in [
        "basic_auth: {username: u, password: y}",
        "basic_auth: {username: v, password: x}",
        "basic_auth: {username: u, password: x}, static_configs: [{targets: ['b:1']}]",
        "basic_auth: {username: u, password: x}, relabel_configs: [{regex: '(.*)', target_label: q}]",
    ] {
        assert_ne!(base, print(other), "{other}");
    }
}

#[test]
fn relabel_rules_are_checked_by_the_scheme_of_names() {
    let rule = |scheme: &str, rule: &str| {
        format!("scrape_configs: [{{job_name: a, metric_name_validation_scheme: {scheme}, relabel_configs: [{rule}]}}]")
    };
    for (legacy, utf8, text) in [
        (true, true, "{target_label: a}"),
        (true, true, "{target_label: 'a_${1}'}"),
        (false, true, "{target_label: 'a.b'}"),
        (false, true, "{target_label: 'a-$1'}"),
        (false, true, "{action: hashmod, modulus: 2, target_label: 'a.b'}"),
        (false, true, "{action: labelmap, regex: '(.+)', replacement: 'x.$1'}"),
        (false, false, "{action: labelmap, regex: '(.+)', replacement: ''}"),
        (true, true, "{action: KEEP, source_labels: [x], regex: 1}"),
        (false, false, "{action: keepequal, source_labels: [x], target_label: y, regex: '(.*)'}"),
        (true, true, "{action: keepequal, source_labels: [x], target_label: y, separator: ;}"),
        (false, false, "{action: labeldrop, regex: x, source_labels: []}"),
        (false, false, "{action: replace, source_labels: ['']}"),
    ] {
        assert_eq!(mistakes(&rule("legacy", text)).is_empty(), legacy, "legacy {text}");
        assert_eq!(mistakes(&rule("utf8", text)).is_empty(), utf8, "utf8 {text}");
    }
    let config = good(&rule("utf8", "{regex: , target_label: x, replacement: y}"));
    assert_eq!(config.jobs[0].relabel[0].regex.as_str(), "");
    assert_eq!(config.jobs[0].relabel[0].action, Action::Replace);
}

#[test]
fn names_and_escaping_are_inferred_without_contradiction() {
    let job = |global: &str, own: &str| {
        let config = good(&format!("global: {{{global}}}\nscrape_configs: [{{job_name: a, {own}}}]"));
        (config.jobs[0].name_validation, config.jobs[0].name_escaping)
    };
    let legacy = "metric_name_validation_scheme: legacy";
    assert_eq!(job("", ""), (NameValidation::Utf8, EscapingScheme::AllowUtf8));
    assert_eq!(job(legacy, ""), (NameValidation::Legacy, EscapingScheme::Underscores));
    assert_eq!(job("", legacy), (NameValidation::Legacy, EscapingScheme::Underscores));
    assert_eq!(job(legacy, "metric_name_validation_scheme: utf8"), (NameValidation::Utf8, EscapingScheme::AllowUtf8));
    let dots = "metric_name_escaping_scheme: dots";
    assert_eq!(job(&format!("{legacy}, {dots}"), ""), (NameValidation::Legacy, EscapingScheme::Dots));
    assert_eq!(job(dots, legacy), (NameValidation::Legacy, EscapingScheme::Underscores));
}

#[test]
fn native_histograms_put_protobuf_first() {
    let config = good("scrape_configs: [{job_name: a, scrape_native_histograms: true}]");
    assert_eq!(config.jobs[0].protocols[0], ScrapeProtocol::PrometheusProto);
    assert_eq!((config.jobs[0].native_histograms, config.warnings.len()), (true, 0));
    let config = good(
        "global: {scrape_protocols: [PrometheusText0.0.4], scrape_native_histograms: true}\nscrape_configs: [{job_name: a}]",
    );
    assert_eq!(config.jobs[0].protocols, [ScrapeProtocol::PrometheusText004]);
}

#[test]
fn what_is_said_of_histograms_is_inherited_and_overridden() {
    let global = "global: {scrape_native_histograms: true, convert_classic_histograms_to_nhcb: true}\n";
    let own = "native_histogram_bucket_limit: 5, native_histogram_min_bucket_factor: 1.1";
    let config = good(&format!(
        "{global}scrape_configs: [{{job_name: a, {own}}}, {{job_name: b, scrape_native_histograms: false, \
         always_scrape_classic_histograms: true, convert_classic_histograms_to_nhcb: false}}]"
    ));
    let wishes = |i: usize| {
        let job = &config.jobs[i];
        (job.native_histograms, job.keep_classic_histograms, job.convert_classic_histograms)
    };
    assert_eq!((wishes(0), wishes(1)), ((true, false, true), (false, true, false)));
    assert_eq!(config.jobs[0].native_histogram_bucket_limit, Some(5));
    assert_eq!(config.jobs[0].native_histogram_min_bucket_factor, 1.1);
    assert_eq!(config.jobs[1].native_histogram_bucket_limit, None);
    assert!(config.warnings.is_empty());
}

#[test]
fn features_that_want_start_timestamps_put_protobuf_first() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.yml");
    std::fs::write(&path, "scrape_configs: [{job_name: a}]\n").unwrap();
    let read = |features: Features| {
        let config = load_with(&path, &features).unwrap();
        (config.jobs[0].start_timestamps, config.jobs[0].protocols[0])
    };
    use ScrapeProtocol::{OpenMetricsText100, PrometheusProto};
    assert_eq!(read(Features::default()), (StartTimestamps::Ignore, OpenMetricsText100));
    assert_eq!(read(Features { st_storage: true, ..Features::default() }), (StartTimestamps::Read, PrometheusProto));
    let zeros = Features { created_timestamp_zero_ingestion: true, ..Features::default() };
    assert_eq!(read(zeros), (StartTimestamps::ZeroSamples, PrometheusProto));
}

#[test]
fn a_discovery_mechanism_that_is_missing_is_warned_about_loudly() {
    let config = good("scrape_configs: [{job_name: a, kubernetes_sd_configs: [{role: pod}]}]");
    let warnings: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("scrape_configs[0].kubernetes_sd_configs"));
    assert!(warnings[0].contains("NO TARGETS FROM HERE"));
}

#[test]
fn what_would_silently_miss_credentials_is_refused() {
    refused("scrape_configs: [{job_name: a, oauth2: {client_id: x}}]", "oauth2 is not available here");
    refused("scrape_configs: [{job_name: a, basic_auth: {password_ref: x}}]", "need a secret manager");
    refused("scrape_configs: [{job_name: a, sigv4: {}}]", "unknown key");
    refused("scrape_configs: [{job_name: a, resync: {}}]", LATER);
    refused("auth_enabled: true", "by a web config file");
    refused("gateway: {proxy: {}}", "no backend has a URL");
    refused("target: agnet", "did you mean agent?");
    assert_eq!(good("target: agent").target, Target::Agent);
}

#[test]
fn members_of_a_cluster_are_checked() {
    refused("target: federation-frontend\n", "needs members");
    let members = |members: &str| format!("federation: {{proxy_targets: [{members}]}}");
    for (text, words) in [
        ("", "there are no members"),
        ("{url: 'http://a'}", "it becomes the value of the label __cluster__"),
        ("{name: a}", "the address below which the member serves"),
        ("{name: a, url: 'http://a/api/v1'}", "must be what stands before /api/v1"),
        ("{name: a, url: 'ftp://a'}", "neither http nor https"),
        ("{name: a, url: 'http://a', replicas: ['http://b']}", "exclude each other"),
        ("{name: a, url: 'http://a'}, {name: a, url: 'http://b'}", "several members with the name"),
        ("{name: a, url: 'http://a', labels: {__cluster__: b}}", "no other label can be it"),
        ("{name: a, url: 'http://a', policy: maybe}", "allowed: required, optional"),
        ("{name: a, url: 'http://a', timeout: 0s}", "must be above 0"),
        ("{name: a, url: 'http://a', via: grpc}", "allowed: auto, pushdown, remote_read, query"),
        ("{name: a, url: 'http://a', via: query, external_labels: keep}", "only remote read shows them"),
        ("{name: a, url: 'http://a', via: pushdown, replica_labels: [r]}", "over their samples only"),
        ("{name: a, url: 'http://a', replica_labels: [__cluster__]}", "differ neither"),
        ("{name: a, url: 'http://a', min_time: tomorrow}", "must be a time such as"),
        ("{name: a, url: 'http://a', min_time: '2026-01-02T00:00:00Z', max_time: '2026-01-01T00:00:00Z'}", "is before"),
    ] {
        refused(&members(text), words);
    }
    let config = good(&members("{name: a, url: 'http://a/prom', labels: {region: eu}, policy: optional, tenant: t}"));
    let member = &config.federation.expect("a federation").members[0];
    assert_eq!((member.urls[0].as_str(), member.policy), ("http://a/prom", crate::cluster::Policy::Optional));
    assert_eq!((member.labels.to_string().as_str(), member.tenant.as_deref()), (r#"{region="eu"}"#, Some("t")));
    let text = "{name: a, replicas: ['http://a', 'http://b'], replica_labels: [r], via: remote_read, min_time: -30d}";
    let member = good(&members(text)).federation.expect("a federation").members.swap_remove(0);
    assert_eq!(
        (member.urls.len(), &member.replica_labels[..], member.via),
        (2, &["r".to_owned()][..], Via::RemoteRead)
    );
    assert_eq!(member.bounds.min, Some(TimeBound::Ago(DurationMs(30 * 86_400_000))));
    let warned = |text: &str| {
        let warnings = good(&members(text)).warnings;
        warnings.iter().any(|w| w.is_of_open_listener && w.to_string().contains("whoever can reach it can query"))
    };
    assert!(!warned("{name: a, url: 'http://a', tenant: t}"));
    for own in [
        "url: 'http://u:p@a'",
        "replicas: ['http://b', 'http://u@a']",
        "url: 'http://a', basic_auth: {username: u, password: p}",
        "url: 'http://a', http_headers: {X-Api-Key: {secrets: [s]}}",
        "url: 'https://a', tls_config: {cert_file: c.pem, key_file: k.pem}",
    ] {
        assert!(warned(&format!("{{name: a, {own}}}")), "{own}");
    }
    let cache =
        |text: &str| good(&format!("federation: {{local: true{text}}}")).federation.expect("a federation").cache;
    let shown = |text| cache(text).map(|cache| (cache.max_bytes, cache.max_freshness.0));
    assert_eq!((shown(""), shown(", cache: true")), (Some((64 << 20, 600_000)), Some((64 << 20, 600_000))));
    assert_eq!(shown(", cache: false"), None);
    assert_eq!(shown(", cache: {max_bytes: 1GB}"), Some((1 << 30, 600_000)));
    assert_eq!(shown(", cache: {max_freshness: 1h}"), Some((64 << 20, 3_600_000)));
    refused("federation: {local: true, cache: {max_bytes: 0}}", "write cache: false");
    refused("federation: {local: true, cache: sometimes}", "federation.cache");
    let local = |text: &str| good(text).federation.and_then(|federation| federation.local).map(|(name, _)| name);
    assert_eq!(local("federation: {local: true}").as_deref(), Some("local"));
    assert_eq!(local("federation: {local: {name: home}}").as_deref(), Some("home"));
    refused("federation: {local: false}", "there are no members");
    refused(
        "federation: {local: {name: a}, proxy_targets: [{name: a, url: 'http://a'}]}",
        "several members with the name",
    );
    refused("federation: {local: maybe}", "federation.local");
}

#[test]
fn discovery_is_checked() {
    let job = |sd: &str| format!("scrape_configs: [{{job_name: a, {sd}}}]");
    for (sd, words) in [
        ("file_sd_configs: [{files: []}]", "at least one path name"),
        ("file_sd_configs: [{files: [a.txt]}]", "is not valid for file discovery"),
        ("file_sd_configs: [{files: ['*/a.yml']}]", "is not valid for file discovery"),
        ("file_sd_configs: [{files: [a.yml], refresh_interval: 0s}]", "longer than zero"),
        ("dns_sd_configs: [{names: []}]", "at least one SRV record name"),
        ("dns_sd_configs: [{names: [a], type: TXT}]", "invalid DNS-SD records type TXT"),
        ("dns_sd_configs: [{names: [a], type: a}]", "a port is required"),
        ("dns_sd_configs: [{names: [a], type: A, port: 70000}]", "is not a port"),
        ("http_sd_configs: [{}]", "URL is missing"),
        ("static_configs: [{targets: 'a:1'}]", "expected a list"),
        ("static_configs: [{targets: [a], labels: {'': x}}]", "is not a valid label name"),
    ] {
        refused(&job(sd), words);
    }
    let config = good(&job(
        "static_configs: [{targets: [a]}, {targets: [b, c], labels: {x: y}}], dns_sd_configs: [{names: [n], type: aaaa, port: 9}]",
    ));
    let [DiscoveryConfig::Dns(dns), DiscoveryConfig::Static(fixed)] = config.jobs[0].discovery.as_slice() else {
        panic!("{:?}", config.jobs[0].discovery)
    };
    assert_eq!((dns.port, dns.refresh_interval), (Some(9), DurationMs::from_secs(30)));
    assert_eq!(fixed.groups[1].source, "1");
    assert_eq!(fixed.groups[1].targets[1].to_string(), r#"{__address__="c"}"#);
    assert_eq!(fixed.groups[1].labels.to_string(), r#"{x="y"}"#);
}

#[test]
fn connections_are_checked() {
    let job = |keys: &str| format!("scrape_configs: [{{job_name: a, {keys}}}]");
    for (keys, words) in [
        (
            "basic_auth: {username: a}, authorization: {credentials: b}",
            "at most one of basic_auth, oauth2 & authorization",
        ),
        ("authorization: {type: basic}", "use \"basic_auth\" instead"),
        ("authorization: {credentials: a, credentials_file: b}", "credentials & credentials_file"),
        ("basic_auth: {username: a, username_file: b}", "username, username_file & username_ref"),
        ("tls_config: {ca: a, ca_file: b}", "at most one of ca, ca_file & ca_ref"),
        ("tls_config: {cert_file: a}", "exactly one of key or key_file"),
        ("tls_config: {key_file: a}", "exactly one of cert or cert_file"),
        ("tls_config: {min_version: TLS14}", "unknown TLS version: TLS14"),
        ("tls_config: {max_version: TLS10}", "not spoken"),
        ("tls_config: {min_version: TLS13, max_version: TLS12}", "below min_version"),
        ("no_proxy: x", "proxy_url must also be configured"),
        ("proxy_url: 'http://p', proxy_from_environment: true", "proxy_url must not be configured"),
        ("proxy_connect_header: {a: [b]}", "proxy_url or proxy_from_environment must also be configured"),
        ("http_headers: {Authorization: {values: [a]}}", "setting header \"Authorization\" is not allowed"),
        ("http_headers: {'a b': {values: [a]}}", "not a valid header name"),
        ("http_headers: {a: {values: [\"x\\ny\"]}}", "line breaks"),
    ] {
        refused(&job(keys), words);
    }
    let config = good(&job("tls_config: {min_version: TLS10}"));
    assert!(config.warnings[0].to_string().contains("the lowest version is TLS 1.2"));
}

#[test]
fn included_files_are_read_with_their_own_places_and_paths() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    std::fs::create_dir(dir.path().join("jobs")).unwrap();
    file("main.yml", "scrape_config_files: ['jobs/*.yml']\nrule_files: [r.yml]\nscrape_configs: [{job_name: a}]\n");
    file("jobs/b.yml", "scrape_configs:\n- {job_name: b, basic_auth: {password_file: pw}}\n");
    file("r.yml", "groups: [{name: g, rules: [{record: x, expr: up}]}]\n");
    let config = load(&dir.path().join("main.yml")).unwrap();
    assert_eq!(config.jobs.iter().map(|j| j.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let sources: Vec<_> = config.sources.iter().map(|p| p.strip_prefix(dir.path()).unwrap()).collect();
    assert_eq!(sources, [Path::new("main.yml"), Path::new("r.yml"), Path::new("jobs/b.yml")]);
    assert!(
        matches!(&config.jobs[1].client.auth, Auth::Basic { password: Some(SecretSource::File(p)), .. } if *p == dir.path().join("jobs/pw"))
    );
    assert!(!config.rendered.contains("job_name: b"));

    file("jobs/c.yml", "scrape_configs:\n- job_name: a\n  sheme: http\nglobal: {}\n");
    file("r.yml", "groups: [{name: g, rules: [{recrod: x, expr: up}]}]\n");
    let told: Vec<String> = load(&dir.path().join("main.yml")).unwrap_err().iter().map(|m| m.to_string()).collect();
    for (file, words) in [
        ("jobs/c.yml:2:13: ", "first found in main config file"),
        ("jobs/c.yml:3:3: ", "did you mean scheme?"),
        ("jobs/c.yml:4:1: ", "global: unknown key"),
        ("r.yml:1:29: ", "groups[0].rules[0].recrod: unknown key; did you mean record?"),
    ] {
        let at = format!("{}/{file}", dir.path().display());
        assert!(told.iter().any(|t| t.starts_with(&at) && t.contains(words)), "{at} {words} in {told:#?}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.yml");
    assert!(load(&path).unwrap_err().to_string().contains("c.yml:1:1: cannot be read"));
    std::fs::write(&path, b"global:\n  # \xff\n").unwrap();
    assert!(load(&path).unwrap_err().to_string().contains("c.yml:2:1: the file is not UTF-8"));
}

#[test]
fn what_is_shown_loads_again_and_shows_the_same() {
    // As in the reference, which does not show this key where it is false.
    let first = good(&EVERYTHING.replace("filter_external_labels: false", ""));
    let again = good(&first.rendered);
    assert_eq!(first.rendered, again.rendered);
    assert_eq!(first.jobs.len(), again.jobs.len());
}

/// What the reference shows in the plain `headers` of tracing and of remote write, and we do not.
const HIDDEN_HERE: [(&str, &str); 2] =
    [("  headers:\n    foo: bar\n", "  headers:\n    foo: <secret>\n"), ("    name: value\n", "    name: <secret>\n")];

/// `everything.yml` holds every section; the reference, given the same file, shows `everything.shown.yml`.
#[test]
fn the_effective_config_is_shown_as_the_reference_shows_it() {
    let config = load_str(EVERYTHING, Path::new(".")).unwrap_or_else(|e| panic!("{e}"));
    let mut shown = include_str!("testdata/everything.shown.yml").to_owned();
    for (theirs, ours) in HIDDEN_HERE {
        assert_eq!(shown.matches(theirs).count(), 1, "{theirs}");
        shown = shown.replace(theirs, ours);
    }
    for (i, (ours, theirs)) in config.rendered.lines().zip(shown.lines()).enumerate() {
        assert_eq!(ours, theirs, "line {}", i + 1);
    }
    assert_eq!(config.rendered, shown);
}

#[test]
fn the_configs_that_we_hand_out_are_right() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let mut seen = 0;
    for entry in std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path()) {
        if entry.extension().is_some_and(|e| e == "yml") {
            seen += 1;
            let config = load(&entry).unwrap_or_else(|e| panic!("{e}"));
            assert!(
                !config.jobs.is_empty() || config.federation.is_some() || config.gateway.is_some(),
                "{}",
                entry.display()
            );
            let missing = config.warnings.iter().find(|w| w.to_string().contains("does not exist"));
            assert!(missing.is_none(), "{missing:?}");
        }
    }
    assert!(seen >= 4, "{seen} configs in {}", dir.display());
}

#[test]
fn features_of_the_command_line_change_defaults_only() {
    let features = Features { extra_scrape_metrics: true, st_storage: true, ..Features::default() };
    let dir = tempfile::tempdir().unwrap();
    let load = |text: &str, features: &Features| {
        let path = dir.path().join("c.yml");
        std::fs::write(&path, text).unwrap();
        load_with(&path, features).unwrap()
    };
    let jobs = "scrape_configs: [{job_name: a}, {job_name: b, extra_scrape_metrics: false}]\n";
    let extra = |config: &Config| config.jobs.iter().map(|job| job.extra_scrape_metrics).collect::<Vec<_>>();
    assert_eq!(extra(&load(jobs, &Features::default())), [false, false]);
    assert_eq!(extra(&load(jobs, &features)), [true, false]);
    assert_eq!(extra(&load(&format!("global: {{extra_scrape_metrics: false}}\n{jobs}"), &features)), [false, false]);

    let floats = |name: &str| format!("storage: {{tsdb: {{chunk_encoding: {{floats: {name}}}}}}}");
    for (name, features, expected) in [
        ("xor", Features::default(), None),
        ("xor2", Features::default(), None),
        ("xor2", features, None),
        ("xor", features, Some("start timestamps")),
    ] {
        let warnings: Vec<_> = load(&floats(name), &features).warnings.iter().map(ToString::to_string).collect();
        let is_expected =
            expected.map_or(warnings.is_empty(), |word| warnings.len() == 1 && warnings[0].contains(word));
        assert!(is_expected, "{name}: {warnings:?}");
    }
}

mod random {
    use proptest::prelude::*;

    use super::*;

    /// One change of a text: at a place, some bytes go and others come.
    fn mutated(text: &str, changes: &[(usize, usize, String)]) -> String {
        let mut chars: Vec<char> = text.chars().collect();
        for (at, gone, come) in changes {
            let from = at % (chars.len() + 1);
            let to = (from + gone).min(chars.len());
            chars.splice(from..to, come.chars());
        }
        chars.into_iter().collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn garbage_never_panics(text in "\\PC{0,200}") {
            let _either = load_str(&text, Path::new("/nowhere"));
        }

        #[test]
        fn yaml_like_garbage_never_panics(text in "[a-c:\\-\\[\\]{},&*!|>'\"#%@?~<$\\\\ \n\t0-9]{0,120}") {
            let _either = load_str(&text, Path::new("/nowhere"));
        }

        #[test]
        fn a_changed_good_config_never_panics_and_what_is_shown_loads_again(
            changes in prop::collection::vec((any::<usize>(), 0usize..12, "[a-z0-9:\\-\\[\\]{},&*!|>'\"#~ \n]{0,8}"), 1..4)
        ) {
            let load = |text: &str| load_str(text, Path::new("/nowhere"));
            if let Ok(config) = load(&mutated(EVERYTHING, &changes)) {
                let shown = load(&config.rendered);
                prop_assert!(shown.is_ok(), "{}\n{}", shown.unwrap_err(), config.rendered);
                // Some keys are not shown where they are false, as in the reference, so only the second showing is a fixed point.
                let shown = shown.unwrap().rendered;
                prop_assert_eq!(load(&shown).unwrap().rendered, shown);
            }
        }
    }
}
