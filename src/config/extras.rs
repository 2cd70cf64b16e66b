//! The small sections `otlp`, and `runtime` and `tracing`, which are checked, and acted upon by a later version or by nobody.

use std::collections::{BTreeMap, HashSet};

use super::fields::{At, Field, Fields, Shown};
use super::http;
use crate::model::DurationMs;
use crate::net::TlsConfig;
use crate::remote::otlp::{self, TranslationStrategy};
use crate::scrape::NameValidation;

/// Reads `runtime`. Its only key tunes a garbage collector that this program does not have.
pub(super) fn read_runtime(at: &At<'_>) -> Shown {
    let mut f = at.fields();
    let mut percent: i64 = f.take("gogc", 0);
    f.warn("gogc", "accepted without effect: this program has no garbage collector");
    if percent == 0 {
        percent = 75;
    }
    f.put("gogc", percent.out());
    f.finish()
}

/// Where traces go.
#[derive(Clone, PartialEq, Debug)]
pub struct TracingConfig {
    /// How they go.
    pub client: TracingClient,
    /// Host and port.
    pub endpoint: String,
    /// The share of requests that are traced, 0 to 1.
    pub sampling_fraction: f64,
    /// Without TLS.
    pub insecure: bool,
    /// TLS.
    pub tls: TlsConfig,
    /// Further headers.
    pub headers: BTreeMap<String, String>,
    /// Whether what is sent is compressed with gzip.
    pub gzip: bool,
    /// Time allowed for one batch; zero for the protocol's default.
    pub timeout: DurationMs,
}

/// Transports of OTLP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TracingClient {
    /// `http`.
    Http,
    /// `grpc`.
    Grpc,
}

/// Reads `tracing`.
pub(super) fn read_tracing(at: &At<'_>) -> (TracingConfig, Shown) {
    let mut f = at.fields();
    let type_name: String = f.take("client_type", "grpc".to_owned());
    let client = match type_name.as_str() {
        "http" => TracingClient::Http,
        "grpc" => TracingClient::Grpc,
        "" if f.section("client_type").is_none() => TracingClient::Grpc,
        other => {
            let why = "expected tracing client type to be to be http or grpc, but got";
            f.mistake("client_type", format!("{why} {other}"));
            TracingClient::Grpc
        }
    };
    let endpoint: String = f.take("endpoint", String::new());
    let sampling_fraction = f.take("sampling_fraction", 0.0);
    let insecure = f.take("insecure", false);
    let tls = http::read_tls(&mut f, "tls_config");
    let headers = http::read_plain_headers(&mut f, "custom authorization header configuration is not yet supported");
    let compression: String = f.take("compression", String::new());
    let timeout = f.take("timeout", DurationMs(0));
    if endpoint.is_empty() && !f.has_faulty() {
        f.mistake("endpoint", "tracing endpoint must be set");
    }
    if !matches!(compression.as_str(), "" | "gzip") {
        f.mistake("compression", format!("invalid compression type {compression} provided, valid options: gzip"));
    }
    let gzip = compression == "gzip";
    let config = TracingConfig { client, endpoint, sampling_fraction, insecure, tls, headers, gzip, timeout };
    (config, f.finish())
}

const STRATEGIES: [(&str, TranslationStrategy); 4] = [
    ("UnderscoreEscapingWithSuffixes", TranslationStrategy::UnderscoreEscapingWithSuffixes),
    ("UnderscoreEscapingWithoutSuffixes", TranslationStrategy::UnderscoreEscapingWithoutSuffixes),
    ("NoUTF8EscapingWithSuffixes", TranslationStrategy::NoUtf8EscapingWithSuffixes),
    ("NoTranslation", TranslationStrategy::NoTranslation),
];

/// Reads `otlp`; a null gives the defaults.
pub(super) fn read_otlp(at: &At<'_>, names: NameValidation) -> (otlp::Config, Shown) {
    let mut f = at.fields();
    let promote_all = f.take("promote_all_resource_attributes", false);
    let promote: Vec<String> = f.take("promote_resource_attributes", Vec::new());
    let ignore: Vec<String> = f.take("ignore_resource_attributes", Vec::new());
    if promote_all {
        if !promote.is_empty() {
            f.mistake("promote_resource_attributes", "'promote_all_resource_attributes' and 'promote_resource_attributes' cannot be configured simultaneously");
        }
        check_attributes(&f, "ignore_resource_attributes", &ignore, "ignored");
    } else {
        if !ignore.is_empty() {
            f.mistake(
                "ignore_resource_attributes",
                "'ignore_resource_attributes' cannot be configured unless 'promote_all_resource_attributes' is true",
            );
        }
        check_attributes(&f, "promote_resource_attributes", &promote, "promoted");
    }
    let config = otlp::Config {
        promote_all_resource_attributes: promote_all,
        promote_resource_attributes: trimmed(promote),
        ignore_resource_attributes: trimmed(ignore),
        translation_strategy: read_strategy(&mut f, names),
        keep_identifying_resource_attributes: f.take("keep_identifying_resource_attributes", false),
        convert_histograms_to_nhcb: f.take("convert_histograms_to_nhcb", false),
        promote_scope_metadata: f.take("promote_scope_metadata", false),
        label_name_underscore_sanitization: f.take("label_name_underscore_sanitization", true),
        label_name_preserve_multiple_underscores: f.take("label_name_preserve_multiple_underscores", true),
    };
    (config, f.finish())
}

fn trimmed(names: Vec<String>) -> Vec<String> {
    names.into_iter().map(|name| name.trim().to_owned()).collect()
}

fn read_strategy(f: &mut Fields<'_>, names: NameValidation) -> TranslationStrategy {
    const KEY: &str = "translation_strategy";
    let name: String = f.take(KEY, STRATEGIES[0].0.to_owned());
    let found = STRATEGIES.iter().find(|(n, _)| *n == name || name.is_empty()).map(|(_, s)| *s);
    let Some(strategy) = found else {
        let allowed = STRATEGIES.map(|(n, _)| n).join(", ");
        f.mistake(KEY, format!("unsupported OTLP translation strategy {name:?}; allowed: {allowed}"));
        return TranslationStrategy::UnderscoreEscapingWithSuffixes;
    };
    let needs_utf8 =
        matches!(strategy, TranslationStrategy::NoTranslation | TranslationStrategy::NoUtf8EscapingWithSuffixes);
    if needs_utf8 && names == NameValidation::Legacy {
        f.mistake(KEY, format!("OTLP translation strategy {name:?} is not allowed when UTF8 is disabled"));
    }
    strategy
}

fn check_attributes(f: &Fields<'_>, key: &str, attributes: &[String], what: &str) {
    let mut seen = HashSet::new();
    for attribute in attributes {
        let name = attribute.trim();
        let why = if name.is_empty() {
            format!("empty {what} OTel resource attribute")
        } else if !seen.insert(name) {
            format!("duplicated {what} OTel resource attribute {name:?}")
        } else {
            continue;
        };
        f.mistake(key, format!("invalid '{key}': {why}"));
    }
}
