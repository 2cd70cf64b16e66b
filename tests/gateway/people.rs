//! Who may ask, and what is noted of it.

use crate::RUNTIME;
use crate::backends::{Kind, Start};
use crate::client::{Client, request};
use crate::door::Door;
use crate::support::process::Home;

const RIGHT: &str = "Basic YWRtaW46c2VjcmV0"; // admin:secret
const WRONG: &str = "Basic YWRtaW46d3Jvbmc=";

fn web_config(home: &Home, more: &str) -> String {
    let hash = bcrypt::hash("secret", 4).expect("a hash");
    let path = home.path().join("web.yml");
    std::fs::write(&path, format!("basic_auth_users: {{admin: '{hash}'}}\n{more}")).expect("a file");
    format!("--web.config.file={}", path.display())
}

async fn ask(door: &Door, path: &str, credentials: Option<&str>) -> u16 {
    let mut asked = request("GET", path, b"");
    if let Some(value) = credentials {
        asked.headers_mut().insert("authorization", value.parse().expect("a value"));
    }
    Client::connect(door.address).await.send(asked).await.expect("an answer").status.as_u16()
}

#[test]
fn the_web_config_file_asks_for_a_password_on_all_routes_or_on_some() {
    RUNTIME.block_on(async {
        let backend = Start::new(Kind::Http).start().await;
        let config =
            format!("target: gateway\ngateway: {{proxy: {{default: {{url: '{}'}}}}}}\n", backend.url(Kind::Http));
        let files = Home::new();
        let door = Door::with(&config, &[&web_config(&files, ""), "--web.open-health-endpoints"]);
        assert_eq!(ask(&door, "/api/v1/push", None).await, 401);
        assert_eq!(ask(&door, "/api/v1/push", Some(WRONG)).await, 401);
        assert!(backend.take().is_empty());
        assert_eq!(ask(&door, "/api/v1/push", Some(RIGHT)).await, 200);
        let seen = backend.take();
        let names: Vec<&str> = seen[0].headers.iter().map(|(name, _)| name.as_str()).collect();
        assert!(!names.contains(&"authorization"), "the gateway's own passwords go no further: {names:?}");

        let files = Home::new();
        let some = web_config(
            &files,
            "basic_auth_paths: [/admin/api/, /prometheus/config/v1/rules, /api/v1/push/influx/write]\n",
        );
        let door = Door::with(&config, &[&some]);
        for (path, open) in [
            ("/api/v1/push", true),
            ("/prometheus/api/v1/query", true),
            ("/prometheus/config/v1/rules/space", false),
            ("/prometheus/%63onfig/v1/rules/space", false),
            ("/admin/api/v3/tenants", false),
            ("/%61dmin/ap%69/v3/tenants", false),
            ("/admin/api", false),
            ("/api/v1/push/influx/write", false),
            // Backends resolve encoded slashes, and leave out the second of two.
            ("/api/v1/push/influx%2Fwrite", false),
            ("/api/v1/push/influx%2f%2Fwrite", false),
            ("/api/v1/push/influx%5cwrite", false),
        ] {
            assert_eq!(ask(&door, path, None).await, if open { 200 } else { 401 }, "{path}");
            assert_eq!(backend.take().len(), usize::from(open), "{path}");
            assert_eq!(ask(&door, path, Some(RIGHT)).await, 200, "{path}");
            let headers = &backend.take()[0].headers;
            let passed = headers.iter().any(|(name, _)| name == "authorization");
            assert_eq!(passed, open, "{path}: credentials that are not asked for here are the backend's");
        }
        assert_eq!(ask(&door, "/prometheus/../admin/api/v3/tenants", None).await, 400);
    });
}

#[test]
fn requests_are_counted_by_component_and_logged_if_asked_for_without_their_queries() {
    RUNTIME.block_on(async {
        let backend = Start::new(Kind::Http).start().await;
        let url = backend.url(Kind::Http);
        let door = Door::with_file(&format!(
            "target: gateway\ngateway: {{access_log: true, proxy: {{ruler: {{url: '{url}'}}, distributor: {{url: '{url}'}}}}}}\n"
        ));
        let mut asked = request("GET", "/ruler/ring?token=hush", b"");
        asked.headers_mut().insert("x-scope-orgid", "team-a".parse().expect("a value"));
        let mut client = Client::connect(door.address).await;
        client.send(asked).await.expect("an answer");
        client.send(request("POST", "/api/v1/push", b"x")).await.expect("an answer");
        for nobodys in ["/nobodys?token=hush", "/graphite/render"] {
            let answer = client.send(request("GET", nobodys, b"")).await.expect("an answer");
            assert_eq!(answer.status.as_u16(), 404);
        }
        assert_eq!(door.metric("watershed_gateway_requests_refused_total"), 2.0);
        for component in ["ruler", "distributor"] {
            let count = |name: &str, labels: &str| door.metric(&format!(r#"{name}{{component="{component}"{labels}}}"#));
            let endpoint = format!(r#",endpoint="{}""#, backend.address);
            assert_eq!(count("watershed_gateway_requests_total", r#",code="200""#), 1.0);
            assert_eq!(count("watershed_gateway_request_duration_seconds_count", ""), 1.0);
            assert_eq!(count("watershed_gateway_requests_in_flight", ""), 0.0);
            assert_eq!(count("watershed_gateway_endpoint_requests_total", &endpoint), 1.0);
            assert_eq!(count("watershed_gateway_endpoints_live", ""), 1.0);
            assert_eq!(count("watershed_gateway_ejections_total", ""), 0.0);
        }
        let log = door.server.log();
        let line = log.lines().find(|line| line.contains("component=ruler") && line.contains("/ruler/ring"));
        let line = line.unwrap_or_else(|| panic!("no line in\n{log}"));
        for part in ["client=127.0.0.1", "method=GET", "tenant=team-a", "status=200", &backend.address.to_string()] {
            assert!(line.contains(part), "{part} in {line}");
        }
        for path in ["path=/nobodys", "path=/graphite/render"] {
            let line = log.lines().find(|line| line.contains(path)).unwrap_or_else(|| panic!("no {path} in\n{log}"));
            assert!(line.contains("status=404"), "{line}");
        }
        assert!(!log.contains("hush"), "{log}");
    });
}
