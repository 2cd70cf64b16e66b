//! The documented example, word by word: two clusters, one of them with a password, and the questions that are asked there.

use serde_json::{Value as Json, json};

use crate::support::http;
use crate::support::peers::Peers;
use crate::support::process::{Home, Server};
use crate::support::wait_for;

/// bcrypt of `secret`, with the least cost.
const HASH: &str = "$2b$04$012345678901234567890upFofnwoxM8BwyrZGGmUcd1SyglgJHsa";
const LIMIT: std::time::Duration = std::time::Duration::from_secs(60);

/// A Prometheus that scrapes itself under several paths, so that `up` counts `targets`.
fn prometheus(peers: &Peers, targets: usize, flags: &[&str], basic_auth: &str) -> (Home, Server) {
    let home = Home::new();
    let job = |n: usize| {
        let address = home.address();
        format!("- job_name: self{n}\n{basic_auth}  static_configs: [{{targets: ['{address}']}}]\n")
    };
    let jobs: String = (0..targets).map(job).collect();
    home.write_config(&format!("global: {{scrape_interval: 1s}}\nscrape_configs:\n{jobs}"));
    let mut command = home.command(&peers.path("prometheus"), flags);
    command.env("GOMAXPROCS", "1");
    let server = Server::spawn("prometheus", command, home.port, &home.path().join("prometheus.log"));
    (home, server)
}

fn ask(base: &str, path: &str, query: &[(&str, &str)]) -> Result<Json, String> {
    let response = http::request("GET", &http::url(base, path, query), "Authorization: Basic dXNlcjpzZWNyZXQ=\r\n");
    let response = response.map_err(|e| e.to_string())?;
    serde_json::from_str(&response.text()).map_err(|e| format!("{e}: {}", response.text()))
}

#[test]
fn two_clusters_are_asked_as_one_as_documented() {
    let Some(peers) = Peers::find(&["prometheus"]) else { return };
    let web = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(web.path(), format!("basic_auth_users: {{user: '{HASH}'}}\n")).expect("a file");
    let flag = format!("--web.config.file={}", web.path().display());
    let own = prometheus(&peers, 2, &[], "");
    let cloud = prometheus(&peers, 3, &[&flag], "  basic_auth: {username: user, password: secret}\n");
    let home = Home::new();
    home.write_config(&format!(
        "auth_enabled: false\ntarget: federation-frontend\nfederation:\n  partial_response: true\n  proxy_targets:\n  - name: own-data-center\n    url: http://{}\n  - name: \
         grafana-cloud\n    url: http://{}\n    policy: optional\n    basic_auth:\n      username: user\n      password: secret\n",
        own.0.address(),
        cloud.0.address()
    ));
    let frontend = home.watershed(&[]);
    let base = &frontend.url;

    let count = ("query", "count(up) by (__cluster__)");
    let counted = |by_cluster: &[(&str, &str)]| {
        wait_for("both clusters to be counted", LIMIT, || {
            let answer = ask(base, "/prometheus/api/v1/query", &[count])?;
            let result = answer["data"]["result"].as_array().cloned().unwrap_or_default();
            let shown: Vec<(String, String)> = result
                .iter()
                .map(|one| (one["metric"].to_string(), one["value"][1].as_str().unwrap_or_default().to_owned()))
                .collect();
            let wanted: Vec<(String, String)> = by_cluster
                .iter()
                .map(|(name, n)| (json!({"__cluster__": name}).to_string(), (*n).to_owned()))
                .collect();
            match shown == wanted {
                true => Ok(answer),
                false => Err(answer.to_string()),
            }
        })
    };
    let answer = counted(&[("grafana-cloud", "3"), ("own-data-center", "2")]);
    assert_eq!((&answer["status"], &answer["data"]["resultType"]), (&json!("success"), &json!("vector")));
    assert_eq!(answer.get("warnings"), None);

    let post = http::post_form(&format!("{base}/prometheus/api/v1/labels"), "").expect("an answer");
    let labels: Json = serde_json::from_str(&post.text()).expect("JSON");
    assert_eq!(labels["data"][0], "__cluster__", "{labels}");
    let values = ask(base, "/prometheus/api/v1/label/__cluster__/values", &[]).expect("an answer");
    assert_eq!(values["data"], json!(["grafana-cloud", "own-data-center"]));
    let series = ask(base, "/prometheus/api/v1/series", &[("match[]", "up{__cluster__=\"own-data-center\"}")]);
    let series = series.expect("an answer");
    assert_eq!(series["data"].as_array().map(Vec::len), Some(2), "{series}");
    assert_eq!(series["data"][0]["__cluster__"], "own-data-center");

    // One of them, and what only samples can tell.
    let one = ask(base, "/prometheus/api/v1/query", &[("query", "count(up{__cluster__=\"grafana-cloud\"})")]);
    assert_eq!(one.expect("an answer")["data"]["result"][0]["value"][1], "3");
    let absent = ask(base, "/prometheus/api/v1/query", &[("query", "absent(up{job=\"nobody\"})")]).expect("an answer");
    assert_eq!(absent["data"]["result"][0]["metric"], json!({"job": "nobody"}), "{absent}");

    // The optional one goes: the answer says so, and names it.
    drop(cloud);
    let answer = counted(&[("own-data-center", "2")]);
    let warning = answer["warnings"][0].as_str().unwrap_or_default();
    assert!(warning.starts_with("grafana-cloud: left out of the answer: "), "{answer}");
    for prefix in ["", "/prometheus"] {
        let members = ask(base, &format!("{prefix}/api/v1/federation/members"), &[]).expect("an answer");
        assert_eq!(members["data"].as_array().map(Vec::len), Some(2), "{members}");
    }

    // The required one goes: an error that names it.
    drop(own);
    let answer = ask(base, "/prometheus/api/v1/query", &[count]).expect("an answer");
    assert_eq!((&answer["status"], &answer["errorType"]), (&json!("error"), &json!("execution")), "{answer}");
    assert!(answer["error"].as_str().is_some_and(|error| error.contains("member own-data-center")), "{answer}");
}
