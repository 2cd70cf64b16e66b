//! The web config file: who may ask the listeners, and how their connections are encrypted. Its format is that of the exporter
//! toolkit, version 0.17, whose files work as they are.
//!
//! Unlike the main config, its certificates are read and checked with it: a listener that cannot shake hands is of no use.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};

use super::fields::{At, Field, Fields, Reader, unknown_word};
use super::mistake::{ConfigErrors, ConfigWarning, fold};
use super::scalar::Resolved;
use super::{read_file, yaml};
use crate::net::{Secret, SecretSource, TlsVersion};
use crate::web::{
    ClientAuth, ListenerConfig, Named, PasswordHash, RateLimit, TlsFault, TlsServer, TlsServerConfig, cipher_suite,
    curve,
};

/// More rounds than these take seconds for each new password.
const COST_WISE: u32 = 14;

/// Headers that may be set, and the values that they may have if not any.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Content-Security-Policy", &[]),
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
];

/// What came of a web config file.
pub struct LoadedWeb {
    /// The file and those that it names; a change of any is a reason to load it again, also if it was refused.
    pub sources: Vec<PathBuf>,
    /// The rules and what is odd about them, or everything that is wrong.
    pub outcome: Result<(ListenerConfig, Vec<ConfigWarning>), ConfigErrors>,
}

/// Reads a web config file and the files that it names. Relative paths in it start at its own directory.
pub fn load_web(path: &Path) -> LoadedWeb {
    let reader = Reader::new(path, path.parent().unwrap_or(Path::new("")));
    let text = read_file(&reader, path);
    checked(reader, path, text.as_deref())
}

/// As [`load_web`], of a text; files that it names are looked for in `base_dir`.
pub fn load_web_str(text: &str, base_dir: &Path) -> LoadedWeb {
    let path = Path::new("<web config>");
    checked(Reader::new(path, base_dir), path, Some(text))
}

fn checked(reader: Reader, path: &Path, text: Option<&str>) -> LoadedWeb {
    let mut sources = vec![path.to_owned()];
    let root = text.and_then(|text| reader.parse(text));
    let rules = root.map(|root| read(&At::root(&reader, &root), &mut sources));
    let (mistakes, warnings) = reader.finish();
    let outcome = match rules {
        Some(rules) if mistakes.is_empty() => Ok((rules, fold(warnings))),
        _ => Err(ConfigErrors::new(path, mistakes)),
    };
    LoadedWeb { sources, outcome }
}

fn read(at: &At<'_>, sources: &mut Vec<PathBuf>) -> ListenerConfig {
    let mut f = at.fields();
    let null = yaml::Node::null(at.node.pos);
    let nothing = At::root(at.reader, &null);
    let tls_at = f.section("tls_server_config");
    let (http2, headers) = http(&f.section("http_server_config").unwrap_or_else(|| nothing.clone()));
    let tls = tls_at.and_then(|at| tls(&at, http2, sources));
    let rate_limit = f.section("rate_limit").and_then(|at| rate_limit(&at));
    let users = f.section("basic_auth_users").map_or_else(BTreeMap::new, |at| users(&at));
    if tls.is_none() && !users.is_empty() && !f.has("tls_server_config") {
        f.warn("basic_auth_users", "without tls_server_config, passwords travel in clear");
    }
    let protected = f.section("basic_auth_paths").map(|at| protected(&at));
    if protected.is_some() && users.is_empty() {
        f.mistake("basic_auth_paths", "says which paths need a password, but basic_auth_users names no user");
    }
    f.finish();
    ListenerConfig { tls, headers, users, protected, rate_limit }
}

/// A key of our own: the paths that need a password, without the slash that they may end in.
fn protected(at: &At<'_>) -> Vec<String> {
    let mut paths = Vec::new();
    for at in at.items() {
        let Some(text) = at.text() else { continue };
        if !text.starts_with('/') || text.contains(['?', '#', '%']) || text.contains("//") {
            at.mistake("must be a path such as /admin/api");
        }
        paths.push(text.trim_end_matches('/').to_owned());
    }
    paths
}

fn users(at: &At<'_>) -> BTreeMap<String, PasswordHash> {
    let mut users = BTreeMap::new();
    for (key, value) in at.pairs() {
        let (Some(name), Some(hash)) = (key.text(), value.read::<Secret>()) else { continue };
        if name.contains(':') {
            value.warn("nobody can log in by a name with a colon in it");
        }
        match PasswordHash::parse(hash.reveal()) {
            Ok(hash) => {
                if hash.cost() > COST_WISE {
                    value.warn(format!("with cost {}, the first check of each password takes seconds", hash.cost()));
                }
                users.insert(name.to_owned(), hash);
            }
            Err(why) => value.mistake(why),
        }
    }
    users
}

/// Whether to offer HTTP/2, and the headers of every answer.
fn http(at: &At<'_>) -> (bool, Vec<(HeaderName, HeaderValue)>) {
    let mut f = at.fields();
    let http2 = f.always("http2", true);
    let given = f.section("headers").map_or_else(Vec::new, |at| at.pairs());
    let headers = given.iter().filter_map(|(key, value)| header(key, value)).collect();
    f.finish();
    (http2, headers)
}

fn header(key: &At<'_>, value: &At<'_>) -> Option<(HeaderName, HeaderValue)> {
    let name = key.text()?;
    let Some((_, allowed)) = HEADERS.iter().find(|(known, _)| *known == name) else {
        let known = unknown_word("header", name, HEADERS.iter().map(|(name, _)| *name));
        key.mistake(format!("HTTP header {name:?} can not be configured: {known}"));
        return None;
    };
    let text: String = value.read()?;
    if !allowed.is_empty() && !allowed.contains(&text.as_str()) {
        value.mistake(format!("invalid value for {name}. Expected one of: {allowed:?}, but got: {text:?}"));
        return None;
    }
    let Ok(content) = HeaderValue::from_str(&text) else {
        value.mistake(format!("{text:?} cannot be sent as a header"));
        return None;
    };
    // As documented, a blank one is not sent.
    let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
    (!text.is_empty()).then_some((name, content))
}

fn rate_limit(at: &At<'_>) -> Option<RateLimit> {
    let mut f = at.fields();
    let burst: i64 = f.take("burst", 0);
    let interval = f.take("interval", GoDuration(0));
    f.finish();
    if burst < 1 && interval.0 > 0 {
        at.warn("with a burst below 1 every request is refused");
    }
    let interval = Duration::from_nanos(u64::try_from(interval.0).ok().filter(|nanos| *nanos > 0)?);
    Some(RateLimit { interval, burst: u32::try_from(burst.max(0)).unwrap_or(u32::MAX) })
}

/// The section with its files; `None` where it does not ask for TLS, or where the mistakes leave nothing to try.
fn tls(at: &At<'_>, http2: bool, sources: &mut Vec<PathBuf>) -> Option<TlsServer> {
    let mut f = at.fields();
    let cert = source(&mut f, "cert", "cert_file", sources);
    let key = source(&mut f, "key", "key_file", sources);
    let client_ca = source(&mut f, "client_ca", "client_ca_file", sources);
    let auth_type: String = f.take("client_auth_type", String::new());
    let client_auth = client_auth(&f, &auth_type);
    let cipher_suites = ciphers(&mut f);
    let curves = curves(&mut f);
    let min_version = version(&mut f, "min_version").unwrap_or(TlsVersion::Tls12);
    let max_version = version(&mut f, "max_version").unwrap_or(TlsVersion::Tls13);
    let prefer_server_cipher_suites = f.always("prefer_server_cipher_suites", true);
    let names: Option<Vec<String>> = f.optional("client_allowed_sans");
    if min_version > max_version {
        f.mistake("max_version", "max_version is below min_version");
    }
    if client_ca.is_some() && client_auth == Some(ClientAuth::None) {
        f.mistake("client_ca_file", "client CA's have been configured without a Client Auth Policy, client_auth_type");
    }
    if names.is_some() && client_auth == Some(ClientAuth::None) {
        f.warn("client_allowed_sans", "has no effect: client_auth_type asks for no certificate");
    }
    let wanted = cert.is_some() || key.is_some() || client_ca.is_some() || !auth_type.is_empty();
    if wanted && cert.is_none() {
        f.mistake("cert_file", "missing one of cert or cert_file");
    }
    if wanted && key.is_none() {
        f.mistake("key_file", "missing one of key or key_file");
    }
    let built = match (cert, key, client_auth) {
        (Some(cert), Some(key), Some(client_auth)) if min_version <= max_version => {
            let config = TlsServerConfig {
                cert,
                key,
                client_auth,
                client_ca,
                client_allowed_sans: names,
                min_version,
                max_version,
                cipher_suites,
                curves,
                prefer_server_cipher_suites,
                http2,
            };
            TlsServer::build(&config).map_err(|fault| tell(&f, &fault)).ok()
        }
        _ => None,
    };
    f.finish();
    built
}

/// A fault of a file, at the key that names it.
fn tell(f: &Fields<'_>, fault: &TlsFault) {
    let of_file = match fault.key {
        "cert" => "cert_file",
        "key" => "key_file",
        "client_ca" => "client_ca_file",
        other => other,
    };
    f.mistake(if f.has(of_file) { of_file } else { fault.key }, fault.why.clone());
}

/// A text under `key`, or in the file under `file_key`, which wins as in the reference.
fn source(
    f: &mut Fields<'_>,
    key: &'static str,
    file_key: &'static str,
    sources: &mut Vec<PathBuf>,
) -> Option<SecretSource> {
    let inline: Secret = f.take(key, Secret::default());
    let Some(file) = f.path(file_key) else {
        return (!inline.is_zero()).then_some(SecretSource::Inline(inline));
    };
    if !inline.is_zero() {
        f.warn(key, &format!("has no effect beside {file_key}"));
    }
    sources.push(file.clone());
    Some(SecretSource::File(file))
}

fn client_auth(f: &Fields<'_>, name: &str) -> Option<ClientAuth> {
    const NAMES: [(&str, ClientAuth); 6] = [
        ("NoClientCert", ClientAuth::None),
        ("RequestClientCert", ClientAuth::Request),
        ("RequireAnyClientCert", ClientAuth::RequireAny),
        ("RequireClientCert", ClientAuth::RequireAny),
        ("VerifyClientCertIfGiven", ClientAuth::VerifyIfGiven),
        ("RequireAndVerifyClientCert", ClientAuth::RequireAndVerify),
    ];
    if name.is_empty() {
        return Some(ClientAuth::None);
    }
    let found = NAMES.iter().find(|(known, _)| *known == name).map(|(_, auth)| *auth);
    if found.is_none() {
        let known = unknown_word("value", name, NAMES.iter().map(|(name, _)| *name));
        f.mistake("client_auth_type", format!("invalid ClientAuth: {name}: {known}"));
    }
    found
}

/// The items of a list of names that are spoken here. A list of which nothing remains is a mistake.
fn named<T>(f: &mut Fields<'_>, key: &'static str, what: &str, find: impl Fn(&str) -> Named<T>) -> Vec<T> {
    let mut found = Vec::new();
    let mut elsewhere = 0;
    for at in f.items(key) {
        let Some(name) = at.text() else { continue };
        match find(name) {
            Named::Here(thing) => found.push(thing),
            Named::Elsewhere => {
                at.warn(format!("{name} is not spoken here; the others of the list are"));
                elsewhere += 1;
            }
            Named::Unknown => at.mistake(format!("unknown {what}: {name}")),
        }
    }
    if found.is_empty() && elsewhere > 0 {
        f.mistake(key, "none of these is spoken here");
    }
    found
}

fn ciphers(f: &mut Fields<'_>) -> Vec<rustls::SupportedCipherSuite> {
    named(f, "cipher_suites", "cipher", cipher_suite)
}

fn curves(f: &mut Fields<'_>) -> Vec<&'static dyn rustls::crypto::SupportedKxGroup> {
    named(f, "curve_preferences", "curve", curve)
}

fn version(f: &mut Fields<'_>, key: &'static str) -> Option<TlsVersion> {
    let at = f.section(key)?;
    match (at.text()?, key) {
        ("TLS12", _) => return Some(TlsVersion::Tls12),
        ("TLS13", _) => return Some(TlsVersion::Tls13),
        ("TLS10" | "TLS11", "min_version") => {
            at.warn("TLS 1.0 and 1.1 are not spoken; the lowest version is TLS 1.2");
        }
        ("TLS10" | "TLS11", _) => at.mistake("TLS 1.0 and 1.1 are not spoken; allowed: TLS12, TLS13"),
        (other, _) => at.mistake(format!("unknown TLS version: {other}; allowed: TLS12, TLS13")),
    }
    None
}

/// A duration in Go's own notation, `1h2m3.5s`; nanoseconds. A bare number is nanoseconds too.
struct GoDuration(i64);

impl Field for GoDuration {
    fn read(at: &At<'_>) -> Option<GoDuration> {
        if let Some(Resolved::Int(nanos)) = at.node.scalar().map(|s| s.resolve()) {
            return Some(GoDuration(nanos));
        }
        let text = at.text()?;
        let parsed = go_duration(text);
        if parsed.is_none() {
            at.mistake(format!("{text:?} is not a duration such as 500ms, 1s or 1m30s"));
        }
        parsed.map(GoDuration)
    }
    fn zero() -> GoDuration {
        GoDuration(0)
    }
    fn is_zero(&self) -> bool {
        self.0 == 0
    }
    fn out(&self) -> super::render::Out {
        super::render::Out::Word(format!("{}ns", self.0))
    }
}

fn go_duration(text: &str) -> Option<i64> {
    const UNITS: [(&str, f64); 8] = [
        ("ns", 1.0),
        ("us", 1e3),
        ("\u{b5}s", 1e3),
        ("\u{3bc}s", 1e3),
        ("ms", 1e6),
        ("s", 1e9),
        ("m", 6e10),
        ("h", 3.6e12),
    ];
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut nanos = 0.0;
    loop {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').filter(|digits| *digits > 0)?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == &rest[..end])?;
        nanos += number * unit;
        rest = &rest[end..];
        if rest.is_empty() {
            break;
        }
    }
    (nanos < i64::MAX as f64).then_some((sign * nanos) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<(ListenerConfig, Vec<String>), String> {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("web.yml");
        std::fs::write(&path, text).expect("a file");
        let outcome = load_web(&path).outcome;
        let short = |text: String| text.replace(&format!("{}/", dir.path().display()), "");
        match outcome {
            Ok((rules, warnings)) => Ok((rules, warnings.iter().map(|w| short(w.to_string())).collect())),
            Err(errors) => Err(short(errors.to_string())),
        }
    }

    #[test]
    fn only_some_paths_may_need_a_password() {
        let hash = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG";
        let users = format!("basic_auth_users: {{alice: {hash}}}\n");
        let (rules, _) = load(&users).expect("good");
        assert_eq!(rules.protected, None);
        let (rules, _) = load(&format!("{users}basic_auth_paths: [/admin/api/, /]\n")).expect("good");
        assert_eq!(rules.protected, Some(vec!["/admin/api".to_owned(), String::new()]));
        for (text, why) in [
            ("basic_auth_paths: [/a]\n".to_owned(), "names no user"),
            (format!("{users}basic_auth_paths: [a]\n"), "must be a path"),
            (format!("{users}basic_auth_paths: [/a%2F]\n"), "must be a path"),
        ] {
            let told = load(&text).expect_err(&text);
            assert!(told.contains(why), "{told}");
        }
    }

    #[test]
    fn every_mistake_is_told_with_its_place() {
        let told = load(
            "basic_auth_users:\n  alice: secret\nhttp_server_config:\n  headers:\n    X-Frame-Options: allow\n    Server: x\n\
             tls_server_config:\n  client_auth_type: RequireClientCerts\n  min_version: TLS14\n  cipher_suits: []\n\
             rate_limit: {interval: 1d}\n",
        );
        let told = told.expect_err("full of mistakes");
        let lines: Vec<&str> = told.lines().collect();
        for (line, start) in lines.iter().zip([
            "web.yml:2:10: basic_auth_users.alice: crypto/bcrypt: hashedSecret too short",
            "web.yml:5:22: http_server_config.headers.X-Frame-Options: invalid value for X-Frame-Options",
            "web.yml:6:5: http_server_config.headers.Server: HTTP header \"Server\" can not be configured",
            "web.yml:8:3: tls_server_config.cert_file: missing one of cert or cert_file",
            "web.yml:8:3: tls_server_config.key_file: missing one of key or key_file",
            "web.yml:8:21: tls_server_config.client_auth_type: invalid ClientAuth: RequireClientCerts",
            "web.yml:9:16: tls_server_config.min_version: unknown TLS version: TLS14",
            "web.yml:10:3: tls_server_config.cipher_suits: unknown key; did you mean cipher_suites?",
            "web.yml:11:24: rate_limit.interval: \"1d\" is not a duration",
        ]) {
            assert!(line.starts_with(start), "{line}\n{start}\n{told}");
        }
        assert_eq!(lines.len(), 9, "{told}");
        assert!(!told.contains("alice: secret"), "{told}");
    }

    #[test]
    fn an_empty_file_asks_nobody_and_passwords_in_clear_are_a_warning() {
        let (rules, warnings) = load("").expect("fine");
        assert!(rules.tls.is_none() && rules.users.is_empty() && rules.rate_limit.is_none() && warnings.is_empty());
        let users = "basic_auth_users: {a: $2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG}";
        let (rules, warnings) = load(users).expect("fine");
        assert_eq!(rules.users.len(), 1);
        assert!(warnings.len() == 1 && warnings[0].contains("passwords travel in clear"), "{warnings:?}");
    }

    #[test]
    fn what_is_elsewhere_is_a_warning_as_long_as_something_remains() {
        let suites = |list: &str| load(&format!("tls_server_config: {{cipher_suites: [{list}]}}"));
        let cbc = "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA";
        let (_, warnings) = suites(&format!("{cbc}, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256")).expect("one remains");
        assert!(warnings.len() == 1 && warnings[0].contains(cbc), "{warnings:?}");
        assert!(suites(cbc).expect_err("nothing remains").contains("none of these is spoken here"));
        assert!(suites("TLS_RSA_WITH_RC4_128_SHA").expect_err("not safe").contains("unknown cipher: TLS_RSA"));
    }

    #[test]
    fn durations_are_those_of_go() {
        for (text, nanos) in [
            ("0", 0),
            ("1s", 1_000_000_000),
            ("1m30s", 90_000_000_000),
            ("1.5h", 5_400_000_000_000),
            ("-2ms", -2_000_000),
            ("100us", 100_000),
            ("7ns", 7),
        ] {
            assert_eq!(go_duration(text), Some(nanos), "{text}");
        }
        for bad in ["", "1", "s", "1d", "1 s", "1s ", ".s", "1..5s", "9999999999h", "--1s"] {
            assert_eq!(go_duration(bad), None, "{bad}");
        }
        let (rules, _) = load("rate_limit: {interval: 5, burst: 2}").expect("fine");
        assert_eq!(rules.rate_limit, Some(RateLimit { interval: Duration::from_nanos(5), burst: 2 }));
    }
}
