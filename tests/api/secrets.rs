//! No secret of a configuration leaves by any endpoint, the log or a tool.

use std::process::Command;

use super::support::http;
use super::support::process::Home;

const SECRET: &str = "hunter2secret";

/// A configuration with a secret wherever one can stand, of peers that refuse connections, so that errors tell of them. The
/// plain `headers` of remote write and of tracing are no place for any: the reference shows them, and has `http_headers`.
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
  sigv4: {access_key: a, secret_key: SECRET}
- url: http://127.0.0.1:9/write
  name: oauth
  oauth2: {client_id: c, client_secret: SECRET, token_url: 'http://127.0.0.1:9/t'}
remote_read:
- url: http://me:SECRET@127.0.0.1:9/read
  basic_auth: {username: u, password: SECRET}
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
    let others = ["/", "/targets", "/metrics", "/version", "/federate?match[]=%7Bjob=~%22.%2B%22%7D", "/nothing"];
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
    for (wrong, right) in [("password:", "pasword:"), ("credentials:", "credential:"), ("secret_key:", "secret_kei:")] {
        home.write_config(&CONFIG.replace("SECRET", SECRET).replace(wrong, right));
        let answer = http::post(&format!("{}/-/reload", server.url)).unwrap();
        assert!(answer.status == 500 && !answer.text().contains(SECRET), "{}", answer.text());
        look();
    }
    home.write_config(&CONFIG.replace("SECRET", SECRET));
    assert_eq!(http::post(&format!("{}/-/reload", server.url)).unwrap().status, 200);
    let shown = get("/api/v1/status/config");
    assert!(shown.matches("\\u003csecret\\u003e").count() >= 8, "secrets are masked, not left out: {shown}");
    for arguments in [&["check", "config", "config.yml"][..], &["debug", "all", &server.url]] {
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
