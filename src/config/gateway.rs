//! The sections `gateway` and `api`: the backends behind the door, and the prefixes of their paths.

use super::fields::{At, Field as _, Fields, Shown};
use super::http;
use super::render::Out;
use crate::gateway::{BackendConfig, Component, DEFAULT, FIELDS, FieldKind, GatewayConfig};
use crate::net::SecretSource;

/// Reads the section.
pub(super) fn read(at: &At<'_>, prefixes: Prefixes) -> (GatewayConfig, Shown) {
    let mut f = at.fields();
    let access_log = f.take("access_log", false);
    let mut backends = Vec::new();
    if let Some(proxy) = f.section("proxy") {
        let (read, shown) = read_proxy(&proxy);
        backends = read;
        f.put("proxy", shown.into_out_or_omit());
    }
    if backends.is_empty() {
        f.mistake("proxy", "no backend has a URL: set proxy.default.url, or the url of a component");
    }
    let Prefixes { prometheus, alertmanager } = prefixes;
    let config =
        GatewayConfig { backends, prometheus_prefix: prometheus, alertmanager_prefix: alertmanager, access_log };
    (config, f.finish())
}

fn read_proxy(at: &At<'_>) -> (Vec<(Component, BackendConfig)>, Shown) {
    let mut f = at.fields();
    let default = read_backend(&mut f, DEFAULT);
    if let Some(section) = f.find(DEFAULT) {
        let others = FIELDS.iter().filter(|field| field.name != "url");
        let given = section.fields();
        for field in others.filter(|field| given.has(field.name)) {
            given.warn(field.name, "only the URL is inherited from default, so this has no effect");
        }
    }
    let mut backends = Vec::new();
    for component in Component::ALL {
        let mut backend = read_backend(&mut f, component.name());
        if backend.url.is_none() {
            backend.url = default.url.clone();
        }
        if backend.url.is_some() {
            backends.push((component, backend));
        }
    }
    (backends, f.finish())
}

fn read_backend(f: &mut Fields<'_>, key: &'static str) -> BackendConfig {
    let mut config = BackendConfig::default();
    let Some(at) = f.section(key) else { return config };
    let mut b = at.fields();
    for field in &FIELDS {
        let Some(value) = b.section(field.name) else { continue };
        let Some(text) = value.text() else { continue };
        let text = match field.kind {
            // Words that YAML takes for true and false.
            FieldKind::Switch => value.read::<bool>().map_or_else(|| text.to_owned(), |on| on.to_string()),
            FieldKind::Path if !text.is_empty() => at.reader.path(text).to_string_lossy().into_owned(),
            _ => text.to_owned(),
        };
        match (field.set)(&mut config, &text) {
            Ok(()) if field.name == "url" => b.put(field.name, http::show_url(&text)),
            Ok(()) => b.put(field.name, shown(field.kind, text)),
            Err(why) if field.kind != FieldKind::Switch => value.mistake(why),
            // Reading it as true or false has told the mistake.
            Err(_) => {}
        }
    }
    check_tls(&b, &config);
    f.put(key, b.finish().into_out_or_omit());
    config
}

fn shown(kind: FieldKind, text: String) -> Out {
    match kind {
        FieldKind::Switch | FieldKind::Number => Out::Word(text),
        FieldKind::Text | FieldKind::Path | FieldKind::Duration => text.out(),
    }
}

fn check_tls(b: &Fields<'_>, config: &BackendConfig) {
    let given = |source: &Option<SecretSource>| source.is_some();
    match (given(&config.tls.cert), given(&config.tls.key)) {
        (true, false) => b.mistake("tls_cert_path", "a certificate needs its key, under tls_key_path"),
        (false, true) => b.mistake("tls_key_path", "a key needs its certificate, under tls_cert_path"),
        _ => {}
    }
    let is_https = config.url.as_ref().is_some_and(|url| url.is_https);
    if !config.tls_enabled && !is_https && config.url.is_some() {
        for field in FIELDS.iter().filter(|f| f.name.starts_with("tls_") && f.name != "tls_enabled") {
            if b.has(field.name) {
                b.mistake(field.name, "connections are not encrypted: set tls_enabled, or use https");
            }
        }
    }
}

/// Where the gateway serves what has no place of its own.
pub(super) struct Prefixes {
    prometheus: String,
    alertmanager: String,
}

/// Reads the section `api`, whose names are Mimir's.
pub(super) fn read_prefixes(f: &mut Fields<'_>) -> Prefixes {
    let GatewayConfig { prometheus_prefix, alertmanager_prefix, .. } = GatewayConfig::default();
    let mut prefixes = Prefixes { prometheus: prometheus_prefix, alertmanager: alertmanager_prefix };
    let Some(at) = f.section("api") else { return prefixes };
    let mut api = at.fields();
    prefixes.prometheus = read_prefix(&mut api, "prometheus_http_prefix", prefixes.prometheus);
    prefixes.alertmanager = read_prefix(&mut api, "alertmanager_http_prefix", prefixes.alertmanager);
    if prefixes.prometheus == prefixes.alertmanager {
        api.mistake("alertmanager_http_prefix", "is that of the query API, whose paths could not be told from its own");
    }
    f.put("api", api.finish().into_out_or_omit());
    prefixes
}

fn read_prefix(f: &mut Fields<'_>, key: &'static str, default: String) -> String {
    let text: String = f.take(key, default);
    let prefix = text.trim_end_matches('/');
    let is_path = prefix.starts_with('/') && prefix.bytes().all(|b| b.is_ascii_graphic() && !b"?#%\\".contains(&b));
    if !is_path || prefix.contains("//") {
        f.mistake(key, "must be a path such as /prometheus: below / itself the components' paths would meet");
    }
    prefix.to_owned()
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::super::{Config, Settings, Target, load_str, load_str_with};
    use super::*;
    use crate::net::TlsVersion;

    const MINIMAL: &str = "target: gateway\n\
        gateway: {proxy: {default: {url: 'http://all:8080'}, distributor: {url: 'dns:///distributor:9095'}}}\n";

    fn good(text: &str) -> Config {
        load_str(text, Path::new("/etc/w")).unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn with_flags(flags: &[(&str, &str)]) -> Result<Config, String> {
        let values = flags.iter().map(|(path, value)| ((*path).to_owned(), (*value).to_owned())).collect();
        load_str_with("", Path::new("/etc/w"), Settings(values)).map_err(|errors| errors.to_string())
    }

    #[test]
    fn the_minimal_config_is_the_same_in_both_forms() {
        let of_file = good(MINIMAL);
        let of_flags = with_flags(&[
            ("target", "gateway"),
            ("gateway.proxy.default.url", "http://all:8080"),
            ("gateway.proxy.distributor.url", "dns:///distributor:9095"),
        ])
        .expect("good");
        assert_eq!(of_file.target, Target::Gateway);
        assert_eq!(of_file.gateway, of_flags.gateway);
        assert_eq!(of_file.rendered, of_flags.rendered);
        let gateway = of_file.gateway.expect("the section");
        assert_eq!(gateway.backends.len(), Component::ALL.len());
        let url = |component| gateway.backend(component).and_then(|b| b.url.as_ref()).map(|u| u.text.as_str());
        assert_eq!(url(Component::Distributor), Some("dns:///distributor:9095"));
        assert_eq!(url(Component::Ruler), Some("http://all:8080"));
    }

    #[test]
    fn only_the_url_is_inherited_and_that_is_told() {
        let config = good(
            "target: gateway\ngateway: {proxy: {default: {url: 'http://all', timeout: 1s, retries: 0}, ruler: {timeout: 2m}}}\n",
        );
        let gateway = config.gateway.as_ref().expect("the section");
        let timeout = |component| gateway.backend(component).map(|b| b.timeout);
        assert_eq!(timeout(Component::Ruler), Some(Duration::from_secs(120)));
        assert_eq!(timeout(Component::Compactor), Some(BackendConfig::default().timeout));
        assert_eq!(config.warnings.len(), 2, "{:?}", config.warnings);
    }

    #[test]
    fn every_field_is_read_from_the_file_and_from_its_flag() {
        let fields = [
            ("url", "https://r:1/base"),
            ("enable_keepalive", "false"),
            ("tls_enabled", "true"),
            ("tls_ca_path", "/ca.pem"),
            ("tls_cert_path", "/cert.pem"),
            ("tls_key_path", "/key.pem"),
            ("tls_server_name", "ruler"),
            ("tls_insecure_skip_verify", "true"),
            ("tls_min_version", "VersionTLS13"),
            ("timeout", "1m30s"),
            ("max_body_bytes", "12345"),
            ("retries", "7"),
        ];
        assert_eq!(fields.map(|(name, _)| name), FIELDS.each_ref().map(|field| field.name));
        let lines: String = fields.iter().map(|(name, value)| format!("      {name}: {value}\n")).collect();
        let of_file = good(&format!("target: gateway\ngateway:\n  proxy:\n    ruler:\n{lines}"));
        let paths = fields.map(|(name, _)| format!("gateway.proxy.ruler.{name}"));
        let mut flags: Vec<(&str, &str)> =
            paths.iter().zip(fields).map(|(path, (_, value))| (path.as_str(), value)).collect();
        flags.push(("target", "gateway"));
        let of_flags = with_flags(&flags).expect("good");
        assert_eq!(of_file.gateway, of_flags.gateway);
        assert_eq!(of_file.rendered, of_flags.rendered);
        let gateway = of_file.gateway.expect("the section");
        let ruler = gateway.backend(Component::Ruler).expect("a backend");
        assert_eq!((ruler.retries, ruler.max_body_bytes, ruler.enable_keepalive), (7, 12345, false));
        assert_eq!(ruler.tls.min_version, Some(TlsVersion::Tls13));
        assert_eq!(gateway.backends.len(), 1);
    }

    #[test]
    fn flags_win_over_the_file() {
        let flags = Settings(vec![("gateway.proxy.distributor.url".into(), "http://other".into())]);
        let config = load_str_with(MINIMAL, Path::new(""), flags).expect("good");
        let gateway = config.gateway.expect("the section");
        let url = |component| gateway.backend(component).and_then(|b| b.url.as_ref()).map(|u| u.text.as_str());
        assert_eq!(url(Component::Distributor), Some("http://other"));
        assert_eq!(url(Component::Ruler), Some("http://all:8080"));
    }

    #[test]
    fn each_section_that_a_gateway_ignores_is_warned_about() {
        let file = format!(
            "{}\n{MINIMAL}federation: {{proxy_targets: [{{name: a, url: 'http://a'}}]}}\n",
            include_str!("testdata/everything.yml")
        );
        let config = load_str(&file, Path::new(".")).unwrap_or_else(|errors| panic!("{errors}"));
        let told = |key: &str| {
            let text = format!("the role gateway does not act on {key}");
            config.warnings.iter().any(|warning| warning.mistake.key == key && warning.to_string().ends_with(&text))
        };
        let sections = file.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()));
        let sections: Vec<&str> = sections.filter_map(|line| line.split_once(':')).map(|(key, _)| key).collect();
        assert!(sections.len() > 12, "{sections:?}");
        // What `runtime` says no role acts on, and is warned about by itself.
        for key in sections.into_iter().filter(|key| !["target", "gateway", "runtime"].contains(key)) {
            assert!(told(key), "{key}: {:?}", config.warnings);
        }
        assert!(good(MINIMAL).warnings.is_empty());
    }

    #[test]
    fn mistakes_are_told_where_they_are() {
        for (text, why) in [
            ("target: gateway\n", "needs backends"),
            ("target: gateway\ngateway: {proxy: {}}\n", "no backend has a URL"),
            ("gateway: {proxy: {ruler: {url: 'ftp://x'}}}", "neither http, https nor dns"),
            ("gateway: {proxy: {rulr: {url: 'http://x'}}}", "did you mean ruler?"),
            ("gateway: {proxy: {ruler: {url: 'http://x', tls_cert_path: a}}}", "needs its key"),
            ("gateway: {proxy: {ruler: {url: 'http://x', tls_server_name: a}}}", "not encrypted"),
            ("gateway: {proxy: {ruler: {url: 'http://x', retries: 11}}}", "from 0 to 10"),
            ("gateway: {proxy: {ruler: {url: 'http://x', timeout: 0s}}}", "above 0"),
            ("gateway: {proxy: {ruler: {url: 'http://x', enable_keepalive: 3}}}", "true or false"),
            ("api: {prometheus_http_prefix: /}", "must be a path"),
            ("api: {prometheus_http_prefix: /a/%2e}", "must be a path"),
            ("api: {alertmanager_http_prefix: /prometheus}", "could not be told"),
            ("target: 'gateway,agent'\ngateway: {proxy: {ruler: {url: 'http://x'}}}", "alone"),
        ] {
            let errors = load_str(text, Path::new("")).expect_err(text).to_string();
            assert!(errors.contains(why), "{text}: {errors}");
        }
    }
}
