//! No secret of a configuration leaves by any endpoint, the log or a tool.

use std::process::Command;

use super::support::http;
use super::support::process::Home;

const SECRET: &str = "hunter2secret";

/// A configuration with a secret wherever one can stand, of peers that refuse connections, so that errors tell of them. Also in
/// the plain `headers`, which the reference shows.
const CONFIG: &str = "\
global: {scrape_interval: 1s, scrape_timeout: 1s}
scrape_configs:
- job_name: basic
  basic_auth: {username: u, password: SECRET}
  static_configs: [{targets: ['127.0.0.1:9']}]
- job_name: bearer
  authorization: {credentials: SECRET}
  proxy_url: http://me:SECRET@127.0.0.1:9
  static_configs: [{targets: ['127.0.0.1:9']}]
- job_name: headers
  bearer_token: SECRET
  http_headers: {X-Key: {secrets: [SECRET]}}
  proxy_url: http://127.0.0.1:9
  proxy_connect_header: {X-Proxy: [SECRET]}
  http_sd_configs:
  - url: http://me:SECRET@127.0.0.1:9/x
    basic_auth: {username: u, password: SECRET}
remote_write:
- url: http://me:SECRET@127.0.0.1:9/write
  name: out
  headers: {X-Api-Key: SECRET}
  sigv4: {access_key: a, secret_key: SECRET}
- url: http://127.0.0.1:9/write
  name: oauth
  oauth2: {client_id: c, client_secret: SECRET, token_url: 'http://127.0.0.1:9/t'}
remote_read:
- url: http://me:SECRET@127.0.0.1:9/read
  headers: {X-Api-Key: SECRET}
  basic_auth: {username: u, password: SECRET}
tracing: {endpoint: 127.0.0.1:9, headers: {X-Api-Key: SECRET}}
federation:
  proxy_targets:
  - {name: a, url: 'http://me:SECRET@127.0.0.1:9/a', basic_auth: {username: u, password: SECRET}}
alerting:
  alertmanagers:
  - basic_auth: {username: u, password: SECRET}
    static_configs: [{targets: ['127.0.0.1:9']}]
";

#[test]
fn no_secret_appears_in_any_answer_the_log_or_a_tool() {
    let home = Home::new();
    home.write_config(&CONFIG.replace("SECRET", SECRET));
    let server = home.watershed(&["--web.enable-lifecycle", "--web.enable-admin-api", "--log.level=debug"]);
    let get = |path: &str| http::get(&format!("{}{path}", server.url)).unwrap_or_else(|e| panic!("{path}: {e}")).text();
    let described = get("/api/v1/openapi.yaml");
    let paths = described.lines().filter_map(|line| line.strip_prefix("  /")?.strip_suffix(':'));
    let api = paths.filter(|path| *path != "notifications/live").map(|path| format!("/api/v1/{path}"));
    let others = [
        "/",
        "/targets",
        "/metrics",
        "/version",
        "/federate?match[]=%7Bjob=~%22.%2B%22%7D",
        "/nothing",
        // Asks the servers of `remote_read` and of `federation` in vain, and warns.
        "/api/v1/query?query=up",
        "/api/v1/series?match[]=up",
        "/api/v1/labels?match[]=up",
        "/prometheus/api/v1/query?query=up",
        "/prometheus/api/v1/series?match[]=up",
        "/prometheus/api/v1/labels?match[]=up",
        "/prometheus/api/v1/federation/members",
        "/api/v1/federation/members",
    ];
    let jobs = ["basic", "bearer", "headers"].map(|job| format!("/api/v1/scrape_pools/config?scrapePool={job}"));
    let paths: Vec<String> = api.chain(others.map(str::to_owned)).chain(jobs).collect();
    assert!(paths.len() > 30, "{paths:?}");
    let look = || {
        for path in &paths {
            assert!(!get(path).contains(SECRET), "{path}");
        }
    };
    look();
    // With mistakes right beside the secrets, and with all of it once more.
    for (right, wrong) in [
        ("password:", "pasword:"),
        ("credentials:", "credential:"),
        ("secret_key:", "secret_kei:"),
        ("X-Api-Key:", "X Api Key:"),
        ("X-Api-Key: SECRET", "X-Api-Key: [SECRET]"),
        ("headers: {X-Api-Key: SECRET}", "headers: SECRET"),
        ("password: SECRET", "password: [SECRET]"),
        ("authorization: {credentials: SECRET}", "authorization: SECRET"),
        ("bearer_token: SECRET", "bearer_token: {x: SECRET}"),
        ("secrets: [SECRET]", "secrets: SECRET"),
        ("{X-Proxy: [SECRET]}", "SECRET"),
        ("basic_auth: {username: u, password: SECRET}", "basic_auth: SECRET"),
        ("basic_auth: {username: u, password: SECRET}", "basic_auth: [SECRET]"),
        (
            "basic_auth: {username: u, password: SECRET}",
            "basic_auth: {username: u, password: SECRET, password_file: x}",
        ),
        ("oauth2: {client_id: c, client_secret: SECRET", "oauth2: {client_id: '', client_secret: SECRET"),
        ("basic_auth: {username: u, password: SECRET}", "tls_config: {key: SECRET}"),
        ("password: SECRET}", "password: 'SECRET}"),
        ("password: SECRET}", "password: *SECRET}"),
        ("password: SECRET}", "password: @SECRET}"),
        ("password: SECRET}", "password: %SECRET}"),
        ("password: SECRET}", "password: \"\\SECRET\"}"),
        ("http://me:", "htp://me:"),
        ("http://me:", "http//me:"),
        ("http://me:", "://me:"),
        ("@127.0.0.1:9/", "@127.0.0.1:99999/"),
        ("@127.0.0.1:9/", "@/"),
        ("@127.0.0.1:9/", "@[127.0.0.1:9/"),
    ] {
        home.write_config(&CONFIG.replace(right, wrong).replace("SECRET", SECRET));
        let answer = http::post(&format!("{}/-/reload", server.url)).unwrap();
        assert!(answer.status == 500 && !answer.text().contains(SECRET), "{wrong}: {}", answer.text());
        look();
    }
    home.write_config(&CONFIG.replace("SECRET", SECRET));
    assert_eq!(http::post(&format!("{}/-/reload", server.url)).unwrap().status, 200);
    let shown = get("/api/v1/status/config");
    assert!(shown.matches("\\u003csecret\\u003e").count() >= 12, "secrets are masked, not left out: {shown}");
    let closed = format!("http://me:{SECRET}@127.0.0.1:9");
    let at_closed = format!("--url={closed}");
    for arguments in [
        &["check", "config", "config.yml"][..],
        &["debug", "all", &server.url],
        &["debug", "metrics", &closed],
        &["check", "ready", &at_closed],
        &["healthcheck", &at_closed],
        &["push", "metrics", &closed, "config.yml"],
        &["query", "instant", &closed, "up"],
        &["query", "series", "--match=up", &closed],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_watershed"));
        let output = command.args(arguments).current_dir(home.path()).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(!String::from_utf8_lossy(&said).contains(SECRET), "{arguments:?}");
    }
    // By now every target and provider was asked in vain.
    look();
    let log = server.log();
    assert!(log.contains("127.0.0.1:9"), "the log tells of the peers: {log}");
    assert!(!log.contains(SECRET), "{log}");
}
