//! curl and a real Prometheus against Watershed with users, TLS and client certificates, while all of these change.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::certificates::{Authority, hash_of_right};
use crate::support::peers::Peers;
use crate::support::process::{Home, Server};
use crate::support::{http, wait_for};

const LIMIT: Duration = Duration::from_secs(60);

/// What one run of curl told: its exit code, the HTTP status, the protocol version, the body.
#[derive(Debug, PartialEq)]
struct Told {
    exit: i32,
    status: u16,
    version: String,
    body: String,
}

/// curl in a folder of certificates.
fn curl(folder: &Path, url: &str, args: &[&str]) -> Told {
    let mut command = Command::new("curl");
    command
        .current_dir(folder)
        .args(["-sS", "--max-time", "20", "-w", "\n%{http_version} %{http_code}", url])
        .args(args);
    let output = command.output().expect("curl runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, last) = text.rsplit_once('\n').unwrap_or(("", "0 0"));
    let (version, status) = last.split_once(' ').unwrap_or(("0", "0"));
    Told {
        exit: output.status.code().unwrap_or(-1),
        status: status.parse().unwrap_or(0),
        version: version.to_owned(),
        body: body.to_owned(),
    }
}

fn web_config(extra: &str, password_hash: &str) -> String {
    format!(
        "tls_server_config: {{cert_file: server.pem, key_file: server.key{extra}}}\n\
         http_server_config: {{headers: {{X-Frame-Options: deny}}}}\n\
         basic_auth_users: {{alice: {password_hash}}}\n"
    )
}

const REQUIRE: &str =
    ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem, client_allowed_sans: [client.example]";
const TRUST: [&str; 2] = ["--cacert", "ca.pem"];
const WHOLE: [&str; 8] = ["--cacert", "ca.pem", "--cert", "client.pem", "--key", "client.key", "-u", "alice:right"];

/// A folder with certificates and a web config file, and Watershed on it, which scrapes itself.
struct Secured {
    home: Home,
    server: Server,
    url: String,
}

impl Secured {
    fn start(extra: &str) -> Secured {
        let home = Home::new();
        let authority = Authority::new(home.path());
        for name in ["server", "client", "other"] {
            authority.sign(home.path(), name);
        }
        fs::write(home.path().join("web.yml"), web_config(extra, &hash_of_right())).expect("a file");
        home.write_config(&format!(
            "global: {{scrape_interval: 1s}}\nscrape_configs:\n- {}",
            scrape_job("self", &home.address())
        ));
        let server = home.watershed_unready(&["--web.config.file=web.yml", "--web.enable-lifecycle"]);
        let url = format!("https://{}", home.address());
        let secured = Secured { home, server, url };
        wait_for("Watershed to be ready", LIMIT, || match secured.curl("/-/ready", &WHOLE) {
            told if told.status == 200 => Ok(()),
            told => Err(format!("{told:?}")),
        });
        secured
    }

    fn curl(&self, path: &str, args: &[&str]) -> Told {
        curl(self.home.path(), &format!("{}{path}", self.url), args)
    }

    /// The newest value of a query, as text.
    fn query(&self, expr: &str) -> Result<String, String> {
        let mut args = WHOLE.to_vec();
        let query = format!("query={expr}");
        args.extend(["--data-urlencode", &query]);
        let told = self.curl("/api/v1/query", &args);
        let answer: serde_json::Value = serde_json::from_str(&told.body).map_err(|e| format!("{e}: {told:?}"))?;
        let value = answer["data"]["result"][0]["value"][1].as_str();
        value.map(str::to_owned).ok_or_else(|| answer.to_string())
    }
}

/// A job that has what it takes to be let in.
fn scrape_job(name: &str, address: &str) -> String {
    format!(
        "job_name: {name}\n  scheme: https\n  basic_auth: {{username: alice, password: right}}\n  \
         tls_config: {{ca_file: ca.pem, cert_file: client.pem, key_file: client.key}}\n  \
         static_configs: [{{targets: ['{address}']}}]\n"
    )
}

#[test]
fn curl_is_let_in_with_everything_and_told_what_is_missing() {
    let secured = Secured::start(REQUIRE);
    let good = secured.curl("/-/healthy", &WHOLE);
    assert_eq!((good.exit, good.status, good.body.as_str()), (0, 200, "Watershed is Healthy.\n"));
    assert_eq!(good.version, "2", "curl offers HTTP/2 first");
    let one = secured.curl("/-/healthy", &[&WHOLE[..], &["--http1.1"]].concat());
    assert_eq!((one.status, one.version.as_str()), (200, "1.1"));
    for user in ["alice:wrong", "mallory:right", "alice:", ":"] {
        let told = secured.curl("/metrics", &[&WHOLE[..6], &["-u", user]].concat());
        assert_eq!((told.status, told.body.as_str()), (401, "Unauthorized\n"), "{user}");
    }
    // Without a certificate, with one of other names, and one of another authority: no HTTP at all.
    let stranger = tempfile::tempdir().expect("a folder");
    Authority::new(stranger.path()).sign(stranger.path(), "client");
    let strange = |name: &str| stranger.path().join(name).display().to_string();
    for identity in [
        vec![],
        vec!["--cert".to_owned(), "other.pem".to_owned(), "--key".to_owned(), "other.key".to_owned()],
        vec!["--cert".to_owned(), strange("client.pem"), "--key".to_owned(), strange("client.key")],
    ] {
        let identity: Vec<&str> = identity.iter().map(String::as_str).collect();
        let told = secured.curl("/-/healthy", &[&TRUST[..], &["-u", "alice:right"], &identity].concat());
        assert!(told.exit != 0 && told.status == 0, "{identity:?}: {told:?}");
    }
    let clear = curl(secured.home.path(), &format!("http://{}/-/healthy", secured.home.address()), &["--http1.0"]);
    assert_eq!((clear.status, clear.body.as_str()), (400, "Client sent an HTTP request to an HTTPS server.\n"));
    let headers = secured.curl("/none", &[&WHOLE[..], &["-i"]].concat());
    assert!(headers.status == 404 && headers.body.to_lowercase().contains("x-frame-options: deny"), "{headers:?}");
    assert!(!secured.server.log().contains("right"), "no password is logged");
}

#[test]
fn health_checks_get_through_with_credentials_and_a_certificate() {
    let secured = Secured::start(REQUIRE);
    let folder = secured.home.path();
    let http_config = "basic_auth: {username: alice, password: right}\n\
                       tls_config: {ca_file: ca.pem, cert_file: client.pem, key_file: client.key}\n";
    fs::write(folder.join("http.yml"), http_config).expect("a file");
    fs::write(folder.join("wrong.yml"), http_config.replace("right", "wrong")).expect("a file");
    let url = format!("--url={}", secured.url);
    for command in [&["healthcheck"][..], &["check", "healthy"], &["check", "ready"]] {
        for (file, code, told) in [
            (Some("http.yml"), 0, "SUCCESS:  Watershed is "),
            (Some("wrong.yml"), 1, "status=401"),
            (Some("none.yml"), 1, "none.yml"),
            (None, 1, "FAILED"),
        ] {
            let mut watershed = Command::new(env!("CARGO_BIN_EXE_watershed"));
            watershed.current_dir(folder).args(command).arg(&url);
            watershed.args(file.map(|file| format!("--http.config.file={file}")));
            let output = watershed.output().expect("watershed runs");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(code), "{command:?} {file:?}: {said}");
            assert!(said.contains(told), "{command:?} {file:?}: {said}");
        }
    }
}

#[test]
fn watershed_scrapes_itself_with_users_tls_and_a_client_certificate() {
    let secured = Secured::start(REQUIRE);
    wait_for("the own scrape", LIMIT, || match secured.query(r#"up{job="self"}"#) {
        Ok(up) if up == "1" => Ok(()),
        told => Err(format!("{told:?}")),
    });
}

#[test]
fn users_and_certificates_change_without_a_restart_and_mistakes_change_nothing() {
    let secured = Secured::start("");
    let folder = secured.home.path();
    let is_served = |user: &str| secured.curl("/-/healthy", &[&TRUST[..], &["-u", user]].concat()).status == 200;
    assert!(is_served("alice:right") && !is_served("alice:newer"));

    let newer = bcrypt::hash_with_salt("newer", 4, [6; 16]).expect("a good cost").to_string();
    fs::write(folder.join("web.yml"), web_config("", &newer)).expect("a file");
    wait_for("the new password", LIMIT, || is_served("alice:newer").then_some(()).ok_or("not let in"));
    assert!(!is_served("alice:right"), "the old one is no longer good");

    // A certificate of another authority: who trusts only the old one is gone, who trusts the new one is served.
    let elsewhere = tempfile::tempdir().expect("a folder");
    Authority::new(elsewhere.path()).sign(elsewhere.path(), "server");
    let new_ca = elsewhere.path().join("ca.pem").display().to_string();
    for name in ["server.pem", "server.key"] {
        fs::copy(elsewhere.path().join(name), folder.join(name)).expect("a file");
    }
    let with_new = || secured.curl("/-/healthy", &["--cacert", &new_ca, "-u", "alice:newer"]);
    wait_for("the new certificate", LIMIT, || (with_new().status == 200).then_some(()).ok_or("not served"));
    assert!(!is_served("alice:newer"), "the old authority did not sign it");

    // Neither a broken key nor a broken file changes anything; both are told.
    fs::write(folder.join("server.key"), "broken").expect("a file");
    let tells = |what: &str| secured.server.log().contains(what);
    wait_for("the mistake in the log", LIMIT, || tells("there is no private key").then_some(()).ok_or("not told"));
    assert_eq!(with_new().status, 200);
    fs::write(folder.join("web.yml"), "basic_auth_users: {alice: newer}\n").expect("a file");
    wait_for("the mistake in the log", LIMIT, || tells("hashedSecret too short").then_some(()).ok_or("not told"));
    assert_eq!(with_new().status, 200);
    // Who reloads by hand is told as well.
    let reload = secured.curl("/-/reload", &["--cacert", &new_ca, "-u", "alice:newer", "-X", "POST"]);
    assert!(reload.status == 500 && reload.body.contains("web.yml:1:27: basic_auth_users.alice"), "{reload:?}");

    fs::write(folder.join("web.yml"), "").expect("a file");
    wait_for("nothing to be asked for", LIMIT, || {
        http::get_text(&format!("{}/-/healthy", secured.server.url)).map(drop)
    });
}

#[test]
fn a_real_prometheus_scrapes_and_federates_with_users_tls_and_a_client_certificate() {
    let Some(peers) = Peers::find(&["prometheus"]) else { return };
    let secured = Secured::start(REQUIRE);
    let home = Home::new();
    for name in ["ca.pem", "client.pem", "client.key"] {
        fs::copy(secured.home.path().join(name), home.path().join(name)).expect("a file");
    }
    let address = secured.home.address();
    let federate = format!(
        "{}  metrics_path: /federate\n  params: {{'match[]': ['{{job=\"self\"}}']}}\n  honor_labels: true\n",
        scrape_job("federate", &address)
    );
    let stranger = format!(
        "job_name: stranger\n  scheme: https\n  basic_auth: {{username: alice, password: wrong}}\n  \
         tls_config: {{ca_file: ca.pem, cert_file: client.pem, key_file: client.key}}\n  \
         static_configs: [{{targets: ['{address}']}}]\n"
    );
    let jobs = [scrape_job("watershed", &address), federate, stranger].join("- ");
    home.write_config(&format!("global: {{scrape_interval: 1s}}\nscrape_configs:\n- {jobs}"));
    let prometheus = home.prometheus(&peers, &[]);
    let query = |expr: &str| {
        let told = http::get_api(&http::url(&prometheus.url, "/api/v1/query", &[("query", expr)]))?;
        let value = told["result"][0]["value"][1].as_str();
        value.map(str::to_owned).ok_or_else(|| std::io::Error::other(told.to_string()))
    };
    for (expr, expected) in [
        (r#"up{job="watershed"}"#, "1"),
        (r#"up{job="federate"}"#, "1"),
        (r#"count(watershed_http_connections{job="self"})"#, "1"),
        (r#"up{job="stranger"}"#, "0"),
    ] {
        wait_for(expr, LIMIT, || match query(expr) {
            Ok(value) if value == expected => Ok(()),
            told => Err(format!("{told:?}")),
        });
    }
    let targets = http::get_api(&format!("{}/api/v1/targets", prometheus.url)).expect("targets").to_string();
    assert!(targets.contains("server returned HTTP status 401 Unauthorized"), "{targets}");
}
