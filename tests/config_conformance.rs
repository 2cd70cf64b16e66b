//! The reference's own config files: each is judged as its name says, and a refusal names the offending key or value.

#![expect(clippy::unwrap_used, reason = "a helper of tests that cannot read its files has failed")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use watershed::config;

/// A refused file, what its message must hold, and whether it is only wrong as an included file.
const BAD: &[(&str, &[&str])] = &[
    ("bearertoken.bad.yml", &["bearer_token_file: at most one of bearer_token & bearer_token_file must be configured"]),
    (
        "bearertoken_basicauth.bad.yml",
        &["bearer_token: at most one of basic_auth, oauth2, bearer_token & bearer_token_file must be configured"],
    ),
    ("dropequal.bad.yml", &["target_label: relabel configuration for dropequal action requires 'target_label' value"]),
    (
        "dropequal1.bad.yml",
        &["regex: dropequal action requires only 'source_labels' and `target_label`, and no other fields"],
    ),
    ("empty_alert_relabel_config.bad.yml", &["alerting.alert_relabel_configs[0]: empty or null alert relabeling rule"]),
    (
        "empty_alertmanager_relabel_config.bad.yml",
        &["alerting.alertmanagers[0].relabel_configs[0]: empty or null Alertmanager target relabeling rule"],
    ),
    (
        "empty_metric_relabel_config.bad.yml",
        &["scrape_configs[0].metric_relabel_configs[0]: empty or null metric relabeling rule"],
    ),
    ("empty_rr_config.bad.yml", &["remote_read[0]: empty or null remote read config section"]),
    ("empty_rw_config.bad.yml", &["remote_write[0]: empty or null remote write config section"]),
    (
        "empty_rw_relabel_config.bad.yml",
        &["remote_write[0].write_relabel_configs[0]: empty or null relabeling rule in remote write config"],
    ),
    ("empty_scrape_config.bad.yml", &["scrape_configs[0]: empty or null scrape config section"]),
    ("empty_scrape_config_action.bad.yml", &["relabel_configs[0].action: relabel action cannot be empty"]),
    ("empty_static_config.bad.yml", &["static_configs[0]: empty or null section in static_configs"]),
    ("empty_target_relabel_config.bad.yml", &["relabel_configs[0]: empty or null target relabeling rule"]),
    (
        "http_token_file.bad.yml",
        &["http_sd_configs[0].bearer_token_file: at most one of bearer_token & bearer_token_file must be configured"],
    ),
    ("http_url_bad_scheme.bad.yml", &["http_sd_configs[0].url: URL scheme must be 'http' or 'https'"]),
    ("http_url_no_host.bad.yml", &["http_sd_configs[0].url: host is missing in URL"]),
    ("http_url_no_scheme.bad.yml", &["http_sd_configs[0].url: URL scheme must be 'http' or 'https'"]),
    ("jobname.bad.yml", &["scrape_configs[0].job_name: job_name is empty"]),
    (
        "jobname_dup.bad.yml",
        &["scrape_configs[2].job_name: found multiple scrape configs with job name \"prometheus\""],
    ),
    ("keepequal.bad.yml", &["target_label: relabel configuration for keepequal action requires 'target_label' value"]),
    (
        "keepequal1.bad.yml",
        &["regex: keepequal action requires only 'source_labels' and `target_label`, and no other fields"],
    ),
    ("labeldrop.bad.yml", &["source_labels: labeldrop action requires only 'regex', and no other fields"]),
    ("labeldrop2.bad.yml", &["modulus: labeldrop action requires only 'regex', and no other fields"]),
    ("labeldrop3.bad.yml", &["separator: labeldrop action requires only 'regex', and no other fields"]),
    ("labeldrop4.bad.yml", &["replacement: labeldrop action requires only 'regex', and no other fields"]),
    ("labeldrop5.bad.yml", &["target_label: labeldrop action requires only 'regex', and no other fields"]),
    ("labelkeep.bad.yml", &["source_labels: labelkeep action requires only 'regex', and no other fields"]),
    ("labelkeep2.bad.yml", &["modulus: labelkeep action requires only 'regex', and no other fields"]),
    ("labelkeep3.bad.yml", &["separator: labelkeep action requires only 'regex', and no other fields"]),
    ("labelkeep4.bad.yml", &["replacement: labelkeep action requires only 'regex', and no other fields"]),
    ("labelkeep5.bad.yml", &["target_label: labelkeep action requires only 'regex', and no other fields"]),
    ("labelmap.bad.yml", &["replacement: !!binary value contains invalid base64 data"]),
    ("labelname.bad.yml", &["global.external_labels", "\"\\xff\" is not a valid label name"]),
    ("labelvalue.bad.yml", &["global.external_labels.name: \"\\xff\" is not a valid label value"]),
    ("lowercase.bad.yml", &["target_label: relabel configuration for lowercase action requires 'target_label' value"]),
    ("lowercase3.bad.yml", &["replacement: 'replacement' can not be set for lowercase action"]),
    (
        "metric_name_validation_scheme.bad.yml",
        &["global.metric_name_validation_scheme: unrecognized ValidationScheme: \"invalid_scheme\""],
    ),
    ("modulus_missing.bad.yml", &["modulus: relabel configuration for hashmod requires non-zero modulus"]),
    ("regex.bad.yml", &["relabel_configs[0].regex: error parsing regexp"]),
    ("remote_read_dup.bad.yml", &["remote_read", "found multiple remote read configs with job name \"queue1\""]),
    (
        "remote_read_header.bad.yml",
        &["remote_read[0].headers", "x-prometheus-remote-write-version is a reserved header. It must not be changed"],
    ),
    ("remote_read_url_missing.bad.yml", &["remote_read[0].url: url for remote_read is empty"]),
    (
        "remote_write_authorization_header.bad.yml",
        &[
            "remote_write[0].headers",
            "authorization header must be changed via the basic_auth, authorization, oauth2, sigv4, azuread or google_iam parameter",
        ],
    ),
    ("remote_write_dup.bad.yml", &["remote_write", "found multiple remote write configs with job name \"queue1\""]),
    (
        "remote_write_header.bad.yml",
        &["remote_write[0].headers", "x-prometheus-remote-write-version is a reserved header. It must not be changed"],
    ),
    (
        "remote_write_queue_capacity_zero.bad.yml",
        &["queue_config.capacity: remote write queue capacity must be positive"],
    ),
    (
        "remote_write_queue_max_backoff_less_than_min.bad.yml",
        &["queue_config.max_backoff: remote write queue max_backoff must not be less than min_backoff"],
    ),
    (
        "remote_write_queue_max_samples_per_send_zero.bad.yml",
        &["queue_config.max_samples_per_send: remote write queue max_samples_per_send must be positive"],
    ),
    ("remote_write_url_missing.bad.yml", &["remote_write[0].url: url for remote_write is empty"]),
    (
        "remote_write_wrong_msg.bad.yml",
        &[
            "protobuf_message: invalid protobuf_message value: unknown type for remote write protobuf message io.prometheus.writet.v2.Request, supported: prometheus.WriteRequest, io.prometheus.write.v2.Request",
        ],
    ),
    ("rules.bad.yml", &["rule_files[1]: invalid rule file path \"my/*/rule\""]),
    ("scrape_body_size_limit.bad.yml", &["body_size_limit: units: unknown unit  in 100"]),
    (
        "scrape_config_files.bad.yml",
        &["scrape_timeout: scrape timeout greater than scrape interval for scrape config with job name \"prometheus\""],
    ),
    (
        "scrape_config_files_double_import.bad.yml",
        &["found multiple scrape configs with job name \"prometheus\", first found in", "scrape_config_files.good.yml"],
    ),
    (
        "scrape_config_files_duplicate.bad.yml",
        &["found multiple scrape configs with job name \"prometheus\", first found in main config file"],
    ),
    (
        "scrape_config_files_fallback_scrape_protocol1.bad.yml",
        &[
            "fallback_scrape_protocol: invalid fallback_scrape_protocol for scrape config with job name \"node\": unknown scrape protocol prometheusproto, supported: [OpenMetricsText0.0.1 OpenMetricsText1.0.0 PrometheusProto PrometheusText0.0.4 PrometheusText1.0.0]",
        ],
    ),
    (
        "scrape_config_files_fallback_scrape_protocol2.bad.yml",
        &["fallback_scrape_protocol: expected a text, found a list"],
    ),
    (
        "scrape_config_files_glob.bad.yml",
        &["scrape_config_files[0]: invalid scrape config file path \"scrape_configs/*/*\""],
    ),
    (
        "scrape_config_files_global.bad.yml",
        &["scrape_config_files.bad.yml:4:", "scrape timeout greater than scrape interval"],
    ),
    (
        "scrape_config_files_global_duplicate.bad.yml",
        &["found multiple scrape configs with job name \"prometheus\", first found in main config file"],
    ),
    (
        "scrape_config_files_scrape_protocols.bad.yml",
        &[
            "scrape_protocols: scrape_protocols: unknown scrape protocol prometheusproto, supported: [OpenMetricsText0.0.1 OpenMetricsText1.0.0 PrometheusProto PrometheusText0.0.4 PrometheusText1.0.0] for scrape config with job name \"node\"",
        ],
    ),
    (
        "scrape_config_files_scrape_protocols2.bad.yml",
        &[
            "scrape_protocols: duplicated protocol in scrape_protocols, got [OpenMetricsText1.0.0 PrometheusProto OpenMetricsText1.0.0] for scrape config with job name \"node\"",
        ],
    ),
    (
        "scrape_config_utf8_conflicting.bad.yml",
        &["utf8 metric names requested but validation scheme is not set to UTF8"],
    ),
    (
        "scrape_interval.bad.yml",
        &["scrape_timeout: scrape timeout greater than scrape interval for scrape config with job name \"prometheus\""],
    ),
    ("section_key_dup.bad.yml", &["4:1: scrape_configs: key already set in line 1"]),
    // A target group, which no config is; the reference decodes it as one, `target_group_file_is_refused` does the like.
    ("static_config.bad.yml", &["targets: unknown key", "labels: unknown key"]),
    (
        "target_label_hashmod_missing.bad.yml",
        &["relabel configuration for hashmod action requires 'target_label' value"],
    ),
    ("target_label_missing.bad.yml", &["relabel configuration for replace action requires 'target_label' value"]),
    (
        "tracing_invalid_authorization_header.bad.yml",
        &["tracing.headers", "authorization header configuration is not yet supported"],
    ),
    (
        "tracing_invalid_compression.bad.yml",
        &["tracing.compression: invalid compression type foo provided, valid options: gzip"],
    ),
    (
        "tracing_invalid_header.bad.yml",
        &["tracing.headers", "x-prometheus-remote-write-version is a reserved header. It must not be changed"],
    ),
    ("tracing_missing_endpoint.bad.yml", &["tracing.endpoint: tracing endpoint must be set"]),
    (
        "tsdb_chunk_encoding_floats.bad.yml",
        &[
            "'storage.tsdb.chunk_encoding.floats' must be 'xor' or 'xor2', or the field must be omitted entirely, got \"xor3\"",
        ],
    ),
    (
        "tsdb_chunk_encoding_floats_wrong_case.bad.yml",
        &[
            "'storage.tsdb.chunk_encoding.floats' must be 'xor' or 'xor2', or the field must be omitted entirely, got \"XOR\"",
        ],
    ),
    (
        "tsdb_chunk_encoding_floats_wrong_case_xor2.bad.yml",
        &[
            "'storage.tsdb.chunk_encoding.floats' must be 'xor' or 'xor2', or the field must be omitted entirely, got \"XOR2\"",
        ],
    ),
    (
        "tsdb_retention_percentage.bad.yml",
        &["'storage.tsdb.retention.percentage' must be in the range [0, 100]", "101"],
    ),
    (
        "tsdb_retention_percentage_negative.bad.yml",
        &["'storage.tsdb.retention.percentage' must be in the range [0, 100]", "-1"],
    ),
    ("tsdb_retention_size.bad.yml", &["'storage.tsdb.retention.size' must be greater than or equal to 0", "-1GiB"]),
    ("tsdb_retention_time.bad.yml", &["storage.tsdb.retention.time: not a valid duration string: \"-1h\""]),
    (
        "unknown_attr.bad.yml",
        &["scrape_configs[0].consult_sd_configs: unknown key; did you mean consul_sd_configs, which is not available?"],
    ),
    ("unknown_global_attr.bad.yml", &["global.nonexistent_field: unknown key"]),
    ("uppercase.bad.yml", &["relabel configuration for uppercase action requires 'target_label' value"]),
    ("uppercase3.bad.yml", &["'replacement' can not be set for uppercase action"]),
    ("url_in_targetgroup.bad.yml", &["targets[0]: \"http://bad\" is not a valid hostname"]),
    // Its name does not say so, but the reference refuses it too.
    (
        "config_with_deprecated_am_api_config.yml",
        &["alertmanagers[0].api_version: expected Alertmanager api version to be one of [v2] but got v1"],
    ),
];

/// The folder of the suite, or `None` outside of CI where it is missing.
fn suite() -> Option<PathBuf> {
    let root = std::env::var_os("WATERSHED_CONFORMANCE")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance"), PathBuf::from);
    let dir = root.join("config");
    if dir.is_dir() {
        return Some(dir);
    }
    assert!(std::env::var_os("CI").is_none(), "the conformance suite is missing: {}", dir.display());
    eprintln!("skipped: no conformance suite at {}", dir.display());
    None
}

fn files(dir: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap());
    let files = entries.filter(|e| e.file_type().unwrap().is_file());
    files.map(|e| e.file_name().into_string().unwrap()).collect()
}

#[test]
fn every_bad_file_is_refused_by_naming_its_mistake() {
    let Some(dir) = suite() else { return };
    let listed: BTreeSet<&str> = BAD.iter().map(|(name, _)| *name).collect();
    for name in files(&dir).iter().filter(|n| n.contains(".bad.")) {
        assert!(listed.contains(name.as_str()), "{name} has no line in the table");
    }
    let mut failures = Vec::new();
    for (name, words) in BAD {
        match config::load(&dir.join(name)) {
            Ok(_) => failures.push(format!("{name} is accepted")),
            Err(errors) => {
                let text = errors.to_string();
                let missing = words.iter().filter(|w| !text.contains(**w));
                failures.extend(missing.map(|w| format!("{name} does not say {w:?} but\n{text}")));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_other_file_is_accepted() {
    let Some(dir) = suite() else { return };
    let refused: BTreeSet<&str> = BAD.iter().map(|(name, _)| *name).collect();
    let mut failures = Vec::new();
    for name in files(&dir).iter().filter(|n| !refused.contains(n.as_str())) {
        if let Err(errors) = config::load(&dir.join(name)) {
            failures.push(format!("{name} is refused:\n{errors}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn included_files_resolve_paths_from_their_own_place_and_name_the_mechanism_that_is_missing() {
    let Some(dir) = suite() else { return };
    let dir = dir.canonicalize().unwrap();
    let config = config::load(&dir.join("scrape_config_files_glob.good.yml")).unwrap();
    let names: Vec<&str> = config.jobs.iter().map(|j| j.name.as_str()).collect();
    assert_eq!(names, ["prometheus", "node"]);
    let key = |i: usize| match config.jobs[i].client.tls.key.clone().unwrap() {
        watershed::net::SecretSource::File(path) => path,
        other => panic!("{other:?}"),
    };
    assert_eq!(key(0), dir.join("scrape_configs/valid_key_file"));
    assert_eq!(key(1), dir.join("valid_key_file"));
    assert!(config.jobs[1].discovery.is_empty());
    let warned = config.warnings.iter().map(ToString::to_string).find(|w| w.contains("vultr_sd_configs"));
    assert!(warned.is_some_and(|w| w.contains("THE JOB GETS NO TARGETS FROM HERE")));
}

#[test]
fn target_group_file_is_refused() {
    let Some(dir) = suite() else { return };
    let group = std::fs::read_to_string(dir.join("static_config.bad.yml")).unwrap();
    let group: String = group.lines().map(|l| format!("    {l}\n")).collect();
    let text = format!("scrape_configs:\n- job_name: x\n  static_configs:\n  -\n{group}");
    let errors = config::load_str(&text, Path::new("")).unwrap_err().to_string();
    assert!(errors.contains("\"\\xff\" is not a valid label name"), "{errors}");
}

/// Rule files, whether they are judged by legacy names, and what their refusal must hold; `None` where they are good.
const RULES: &[(&str, bool, Option<&str>)] = &[
    ("bad_field.bad.yaml", false, Some("annotation: unknown key; did you mean annotations?")),
    ("duplicate_grp.bad.yaml", false, Some("groupname: \"yolo\" is repeated in the same file")),
    ("invalid_label_name.bad.yaml", false, Some("invalid label name")),
    ("invalid_record_name.bad.yaml", false, Some("braces present in the recording rule name; should it be in expr?")),
    ("legacy_validation_annotation.bad.yaml", true, Some("invalid annotation name: ins-tance")),
    ("legacy_validation_annotation.good.yaml", true, None),
    ("no_rec_alert.bad.yaml", false, Some("one of 'record' or 'alert' must be set")),
    ("noexpr.bad.yaml", false, Some("field 'expr' must be set in rule")),
    ("record_and_alert.bad.yaml", false, Some("only one of 'record' and 'alert' must be set")),
    ("record_and_for.bad.yaml", false, Some("invalid field 'for' in recording rule")),
    ("record_and_keep_firing_for.bad.yaml", false, Some("invalid field 'keep_firing_for' in recording rule")),
    ("test.yaml", false, None),
    ("test_aliases.yaml", false, None),
    ("utf-8_annotation.good.yaml", false, None),
    ("utf-8_lname.good.yaml", false, None),
    ("bad_expr.bad.yaml", false, Some("could not parse expression")),
];

#[test]
fn every_rule_file_is_judged_by_its_shape() {
    let Some(dir) = suite().map(|config| config.with_file_name("rules").join("format")) else { return };
    assert_eq!(files(&dir).len(), RULES.len(), "a rule file has no line in the table");
    for (name, legacy, words) in RULES {
        let scheme = if *legacy { "legacy" } else { "utf8" };
        let path = dir.join(name);
        let text = format!("global: {{metric_name_validation_scheme: {scheme}}}\nrule_files: ['{}']\n", path.display());
        match (config::load_str(&text, Path::new("")), words) {
            (Ok(_), None) => {}
            (Ok(_), Some(_)) => panic!("{name} is accepted"),
            (Err(e), Some(words)) if e.to_string().contains(words) => {}
            (Err(e), _) => panic!("{name} is refused with\n{e}"),
        }
    }
}
