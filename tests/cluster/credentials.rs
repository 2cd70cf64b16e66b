//! In whose name members are asked.

use std::sync::{Arc, Mutex};

use crate::support::http;
use crate::support::process::{Home, Server};
use crate::support::target::{Target, reply};

/// bcrypt of `secret`, with the least cost.
const HASH: &str = "$2b$04$012345678901234567890upFofnwoxM8BwyrZGGmUcd1SyglgJHsa";
/// Of `user` and `secret`, and of what members are told.
const CLIENT: &str = "Basic dXNlcjpzZWNyZXQ=";
const OWN: &str = "Basic b3duOnBhc3M=";
const WARNING: &str = "whoever can reach it can query with them";

/// The credentials and the tenant of each request.
type Seen = Arc<Mutex<Vec<(String, String)>>>;

/// A member without data that remembers who asks.
fn member() -> (Target, Seen) {
    let seen = Seen::default();
    let log = seen.clone();
    let target = Target::start(move |request, stream| {
        if request.target.contains("/api/v1/labels") || request.target.contains("/api/v1/query") {
            let one = ["Authorization", "X-Scope-OrgID"].map(|name| request.header(name).to_owned());
            log.lock().expect("no panic").push(one.into());
        }
        let body = match request.target.contains("/api/v1/query") {
            true => r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#,
            false => r#"{"status":"success","data":[]}"#,
        };
        reply(stream, 200, "application/json", body.as_bytes());
    });
    (target, seen)
}

fn frontend(url: &str, further: &str, flags: &[&str]) -> (Home, Server) {
    let home = Home::new();
    home.write_config(&format!("federation:\n  proxy_targets: [{{name: home, url: '{url}'}}]\n{further}"));
    let server = home.watershed(flags);
    (home, server)
}

/// Who members have seen when a client with a password and a tenant has asked for labels and for a sum.
fn asked(server: &Server, seen: &Seen) -> Vec<(String, String)> {
    for path in ["labels", "query?query=sum(up)"] {
        let url = format!("{}/prometheus/api/v1/{path}", server.url);
        let headers = format!("Authorization: {CLIENT}\r\nX-Scope-OrgID: t\r\n");
        let answer = http::request("GET", &url, &headers).expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let mut seen = std::mem::take(&mut *seen.lock().expect("no panic"));
    assert!(seen.len() >= 2, "{seen:?}");
    seen.dedup();
    seen
}

#[test]
fn a_members_own_credentials_win_and_open_no_tenant_of_the_clients_choice() {
    let (target, seen) = member();
    let (plain, own) = (format!("http://{}", target.address()), format!("http://own:pass@{}", target.address()));
    let told = |authorization: &str, tenant: &str| vec![(authorization.to_owned(), tenant.to_owned())];

    let (_home, server) = frontend(&plain, "", &[]);
    assert_eq!(asked(&server, &seen), told(CLIENT, "t"));
    assert!(!server.log().contains(WARNING), "{}", server.log());

    let (_home, server) = frontend(&own, "", &[]);
    assert_eq!(asked(&server, &seen), told(OWN, ""));
    assert!(server.log().contains(WARNING), "{}", server.log());

    let (_home, server) = frontend(&own, "  extra_propagated_headers: [X-Scope-OrgID]\n", &[]);
    assert_eq!(asked(&server, &seen), told(OWN, "t"));
}

#[test]
fn a_server_that_asks_for_a_password_sends_it_nowhere_and_warns_of_nothing() {
    let (target, seen) = member();
    let web = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(web.path(), format!("basic_auth_users: {{user: '{HASH}'}}\n")).expect("a file");
    let flags = [&*format!("--web.config.file={}", web.path().display()), "--web.open-health-endpoints"];
    for (url, authorization) in
        [(format!("http://{}", target.address()), ""), (format!("http://own:pass@{}", target.address()), OWN)]
    {
        let (_home, server) = frontend(&url, "", &flags);
        assert_eq!(asked(&server, &seen)[0].0, authorization);
        assert!(!server.log().contains(WARNING), "{}", server.log());
    }
}
