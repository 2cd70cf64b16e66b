//! Every route of the documented APIs, to backends of both kinds.

use bytes::Bytes;
use hyper::header::HeaderMap;

use crate::RUNTIME;
use crate::backends::{Asked, Backend, GrpcFailure, Kind, Start, Told, sorted};
use crate::client::{Client, request};
use crate::door::Door;
use crate::support::http;

const COMPONENTS: [&str; 9] = [
    "admin_api",
    "alertmanager",
    "compactor",
    "distributor",
    "graphite",
    "ingester",
    "query_frontend",
    "ruler",
    "store_gateway",
];

/// Methods, path and component, from the HTTP API references of Mimir (latest) and Cortex, the enterprise product's Admin
/// API and Graphite's; pages that every component serves about itself are left out.
const DOCUMENTED: &[(&str, &str, &str)] = &[
    ("POST", "/api/v1/push", "distributor"),
    ("POST", "/api/v1/push/influx/write", "distributor"),
    ("POST", "/otlp/v1/metrics", "distributor"),
    ("POST", "/api/v1/otlp/v1/metrics", "distributor"),
    ("POST", "/api/prom/push", "distributor"),
    ("GET", "/distributor/ring", "distributor"),
    ("GET", "/distributor/all_user_stats", "distributor"),
    ("GET", "/distributor/ha_tracker", "distributor"),
    ("GET", "/all_user_stats", "distributor"),
    ("GET", "/ha-tracker", "distributor"),
    ("GET,POST", "/ingester/flush", "ingester"),
    ("GET,POST,DELETE", "/ingester/prepare-shutdown", "ingester"),
    ("GET,POST", "/ingester/shutdown", "ingester"),
    ("GET,POST,DELETE", "/ingester/prepare-partition-downscale", "ingester"),
    ("GET,POST,DELETE", "/ingester/prepare-instance-ring-downscale", "ingester"),
    ("GET", "/ingester/ring", "ingester"),
    ("GET", "/ingester/tenants", "ingester"),
    ("GET", "/ingester/tsdb/team-a", "ingester"),
    ("GET", "/ingester/all_user_stats", "ingester"),
    ("GET,POST", "/ingester/mode", "ingester"),
    ("GET,POST", "/flush", "ingester"),
    ("GET,POST", "/shutdown", "ingester"),
    ("GET", "/ring", "ingester"),
    ("GET,POST", "/prometheus/api/v1/query", "query_frontend"),
    ("GET,POST", "/prometheus/api/v1/query_range", "query_frontend"),
    ("GET,POST", "/prometheus/api/v1/query_exemplars", "query_frontend"),
    ("GET,POST", "/prometheus/api/v1/series", "query_frontend"),
    ("GET,POST", "/prometheus/api/v1/cardinality/active_series", "query_frontend"),
    ("GET,POST", "/prometheus/api/v1/labels", "query_frontend"),
    ("GET", "/prometheus/api/v1/label/job/values", "query_frontend"),
    ("GET", "/prometheus/api/v1/metadata", "query_frontend"),
    ("POST", "/prometheus/api/v1/read", "query_frontend"),
    ("GET,POST", "/prometheus/api/v1/cardinality/label_names", "query_frontend"),
    ("GET,POST", "/prometheus/api/v1/cardinality/label_values", "query_frontend"),
    ("GET", "/prometheus/api/v1/status/buildinfo", "query_frontend"),
    ("GET,POST", "/prometheus/api/v1/format_query", "query_frontend"),
    ("GET,POST", "/prometheus/api/v1/parse_query", "query_frontend"),
    ("GET", "/api/v1/status/buildinfo", "query_frontend"),
    ("GET", "/api/v1/user_stats", "query_frontend"),
    ("GET", "/api/v1/user_limits", "query_frontend"),
    ("GET,POST", "/api/prom/api/v1/query", "query_frontend"),
    ("GET", "/api/prom/user_stats", "query_frontend"),
    ("GET", "/ruler/ring", "ruler"),
    ("GET", "/ruler/rule_groups", "ruler"),
    ("POST", "/ruler/delete_tenant_config", "ruler"),
    ("GET", "/ruler_ring", "ruler"),
    ("GET", "/prometheus/api/v1/rules", "ruler"),
    ("GET", "/prometheus/api/v1/alerts", "ruler"),
    ("GET", "/prometheus/config/v1/rules", "ruler"),
    ("GET,POST,DELETE", "/prometheus/config/v1/rules/a%2Fspace", "ruler"),
    ("GET,DELETE", "/prometheus/config/v1/rules/a%2Fspace/group%20one", "ruler"),
    ("GET", "/api/v1/rules", "ruler"),
    ("GET,POST,DELETE", "/api/v1/rules/space", "ruler"),
    ("GET,DELETE", "/api/v1/rules/space/group", "ruler"),
    ("GET", "/api/prom/rules", "ruler"),
    ("GET", "/api/prom/api/v1/rules", "ruler"),
    ("GET", "/api/prom/api/v1/alerts", "ruler"),
    ("GET", "/multitenant_alertmanager/status", "alertmanager"),
    ("GET", "/multitenant_alertmanager/configs", "alertmanager"),
    ("GET", "/multitenant_alertmanager/ring", "alertmanager"),
    ("POST", "/multitenant_alertmanager/delete_tenant_config", "alertmanager"),
    ("GET", "/alertmanager", "alertmanager"),
    ("GET,POST", "/alertmanager/api/v2/silences", "alertmanager"),
    ("GET", "/alertmanager/api/v1/status/buildinfo", "alertmanager"),
    ("GET,POST,DELETE", "/api/v1/alerts", "alertmanager"),
    ("GET", "/store-gateway/ring", "store_gateway"),
    ("GET", "/store-gateway/tenants", "store_gateway"),
    ("GET", "/store-gateway/tenant/team-a/blocks", "store_gateway"),
    ("GET,POST,DELETE", "/store-gateway/prepare-shutdown", "store_gateway"),
    ("GET", "/compactor/ring", "compactor"),
    ("POST", "/api/v1/upload/block/01FZ/start", "compactor"),
    ("POST", "/api/v1/upload/block/01FZ/files", "compactor"),
    ("POST", "/api/v1/upload/block/01FZ/finish", "compactor"),
    ("GET", "/api/v1/upload/block/01FZ/check", "compactor"),
    ("POST", "/compactor/delete_tenant", "compactor"),
    ("GET", "/compactor/delete_tenant_status", "compactor"),
    ("GET", "/compactor/tenants", "compactor"),
    ("GET", "/compactor/tenant/team-a/planned_jobs", "compactor"),
    ("GET,POST", "/graphite/metrics", "graphite"),
    ("GET,POST", "/graphite/render", "graphite"),
    ("GET,POST", "/graphite/metrics/find", "graphite"),
    ("GET,POST", "/graphite/tags/findSeries", "graphite"),
    ("GET", "/graphite/functions/sum", "graphite"),
    ("GET", "/admin/api/v3/clusters", "admin_api"),
    ("GET,POST", "/admin/api/v3/tenants", "admin_api"),
    ("GET,PUT,DELETE", "/admin/api/v3/accesspolicies/readers", "admin_api"),
    ("GET,PUT,DELETE", "/admin/api/v3/tokens/one", "admin_api"),
];

/// Bytes that are no text, more of them than one read of a socket takes.
fn body_for(method: &str) -> Vec<u8> {
    match method {
        "POST" | "PUT" => (0..40_000_u32).map(|n| (n % 251) as u8).collect(),
        _ => Vec::new(),
    }
}

fn told_by(component: &'static str, kind: Kind) -> Told {
    Told {
        // Not one that the gateway says of itself.
        status: 207,
        headers: vec![
            ("Content-Type", "application/x-of-the-backend".into()),
            ("X-Who", component.into()),
            ("X-Twice", "1".into()),
            ("X-Twice", "2".into()),
            ("Set-Cookie", "a=b; Path=/".into()),
        ],
        body: Bytes::from(vec![component.as_bytes()[0]; 70_000]),
        // The messages of gRPC have no trailers of HTTP.
        trailers: if kind == Kind::Http { vec![("X-Sum", "42")] } else { Vec::new() },
        ..Told::default()
    }
}

async fn start_all(kind: Kind) -> Vec<Backend> {
    let mut backends = Vec::new();
    for component in COMPONENTS {
        backends.push(Start { told: told_by(component, kind), ..Start::new(kind) }.start().await);
    }
    backends
}

fn proxies(backends: &[Backend], kind: Kind) -> String {
    let lines = COMPONENTS.iter().zip(backends);
    let lines: String =
        lines.map(|(name, backend)| format!("    {name}: {{url: '{}'}}\n", backend.url(kind))).collect();
    format!("target: gateway\ngateway:\n  proxy:\n{lines}")
}

/// What a backend of that kind is asked if a client asks for this.
fn expected(method: &str, target: &str, body: &[u8], kind: Kind, backend: &Backend) -> Asked {
    let own = [
        ("authorization", "Basic dGVhbTpzZWNyZXQ="),
        ("x-scope-orgid", "team-a|team-b"),
        ("x-twice", "b"),
        ("x-twice", "a"),
        ("accept-encoding", "gzip;q=0.5"),
        ("te", "trailers"),
        ("x-forwarded-for", "10.9.9.9, 127.0.0.1"),
        ("x-forwarded-host", "metrics.example.net"),
        ("x-forwarded-proto", "http"),
    ];
    let mut headers: Vec<(String, String)> = own.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    if kind == Kind::Http {
        headers.push(("host".to_owned(), backend.address.to_string()));
    }
    if !body.is_empty() {
        headers.push(("content-length".to_owned(), body.len().to_string()));
    }
    let (method, target) = (method.to_owned(), target.to_owned());
    Asked { method, target, headers: sorted(headers), body: Bytes::copy_from_slice(body) }
}

async fn check_route(
    client: &mut Client,
    backends: &[Backend],
    kind: Kind,
    (method, path, component): (&str, &str, &'static str),
) {
    let target = format!("{path}?x=%20y&match[]=a%7Bb=%22c%22%7D&empty=&+");
    let body = body_for(method);
    let mut asked = request(method, &target, &body);
    for (name, value) in [
        ("authorization", "Basic dGVhbTpzZWNyZXQ="),
        ("x-scope-orgid", "team-a|team-b"),
        ("x-twice", "b"),
        ("x-twice", "a"),
        ("accept-encoding", "gzip;q=0.5"),
        ("x-forwarded-for", "10.9.9.9"),
        ("te", "trailers"),
        ("connection", "x-for-the-door"),
        ("x-for-the-door", "1"),
    ] {
        asked.headers_mut().append(name, value.parse().expect("a value"));
    }
    let answer = client.send(asked).await.expect("an answer");
    let what = format!("{method} {path} by {kind:?}");
    for (name, backend) in COMPONENTS.iter().zip(backends) {
        let seen = backend.take();
        if *name == component {
            assert_eq!(seen, [expected(method, &target, &body, kind, backend)], "{what}");
        } else {
            assert!(seen.is_empty(), "{what} went to {name}: {seen:?}");
        }
    }
    let told = told_by(component, kind);
    assert_eq!(answer.status.as_u16(), told.status, "{what}");
    assert_eq!(answer.body, told.body, "{what}");
    for (name, _) in &told.headers {
        let values = |headers: &HeaderMap| -> Vec<String> {
            headers.get_all(*name).iter().map(|v| v.to_str().expect("text").to_owned()).collect()
        };
        let wanted: Vec<String> = told.headers.iter().filter(|(n, _)| n == name).map(|(_, v)| v.clone()).collect();
        assert_eq!(values(&answer.headers), wanted, "{what}: {name}");
    }
    for (name, value) in told.trailers {
        assert_eq!(answer.trailers.get(name).and_then(|v| v.to_str().ok()), Some(value), "{what}: {name}");
    }
}

fn every_route(kind: Kind) {
    RUNTIME.block_on(async {
        let backends = start_all(kind).await;
        let door = Door::with_file(&proxies(&backends, kind));
        let mut client = Client::connect(door.address).await;
        for (methods, path, component) in DOCUMENTED {
            for method in methods.split(',') {
                check_route(&mut client, &backends, kind, (method, path, component)).await;
            }
        }
    });
}

#[test]
fn every_documented_route_reaches_its_component_over_http_unchanged_both_ways() {
    every_route(Kind::Http);
}

#[test]
fn every_documented_route_reaches_its_component_over_grpc_unchanged_both_ways() {
    every_route(Kind::Grpc);
}

#[test]
fn a_component_without_a_url_answers_404_with_a_sentence_and_start_up_says_so() {
    let door = Door::with_file("target: gateway\ngateway: {proxy: {ruler: {url: 'http://127.0.0.1:9'}}}\n");
    let answer = http::post_bytes(&format!("{}/api/v1/push", door.server.url), "", b"x").expect("an answer");
    assert_eq!(answer.status, 404);
    assert!(answer.text().contains("gateway.proxy.distributor.url"), "{}", answer.text());
    let log = door.server.log();
    for component in COMPONENTS {
        let told = log.lines().any(|line| line.contains("no URL") && line.contains(component));
        assert_eq!(told, component != "ruler", "{component}\n{log}");
    }
    for stranger in ["/", "/nowhere", "/api/v1/pushy", "/prometheus"] {
        let answer = http::get(&format!("{}{stranger}", door.server.url)).expect("an answer");
        assert_eq!((answer.status, answer.text().contains("no component")), (404, true), "{stranger}");
    }
    let answer = http::get(&format!("{}/ruler/../admin/api", door.server.url)).expect("an answer");
    assert_eq!(answer.status, 400);
    for own in ["/ready", "/-/healthy", "/metrics", "/config"] {
        http::get_text(&format!("{}{own}", door.server.url)).expect("our own page");
    }
}

#[test]
fn the_minimal_config_behaves_the_same_as_a_file_and_as_flags() {
    RUNTIME.block_on(async {
        let all = Start { told: told_by("ruler", Kind::Http), ..Start::new(Kind::Http) }.start().await;
        let grpc = Start { told: told_by("distributor", Kind::Grpc), ..Start::new(Kind::Grpc) }.start().await;
        let (default, distributor) = (all.url(Kind::Http), grpc.url(Kind::Grpc));
        let of_file = Door::with_file(&format!(
            "target: gateway\ngateway:\n  proxy:\n    default: {{url: '{default}'}}\n    distributor: {{url: '{distributor}'}}\n"
        ));
        let flags = [
            "--target=gateway".to_owned(),
            format!("--gateway.proxy.default.url={default}"),
            format!("--gateway.proxy.distributor.url={distributor}"),
        ];
        let of_flags = Door::with("", &flags.each_ref().map(String::as_str));
        let config = |door: &Door| http::get_text(&format!("{}/config", door.server.url)).expect("the config");
        assert_eq!(config(&of_file), config(&of_flags));
        for door in [&of_file, &of_flags] {
            let mut client = Client::connect(door.address).await;
            for (methods, path, component) in DOCUMENTED {
                for method in methods.split(',') {
                    let answer = client.send(request(method, path, b"")).await.expect("an answer");
                    let (right, wrong) = if *component == "distributor" { (&grpc, &all) } else { (&all, &grpc) };
                    let what = format!("{method} {path}");
                    assert_eq!(answer.status.as_u16(), 207, "{what}");
                    assert_eq!(right.take().len(), 1, "{what}");
                    assert!(wrong.take().is_empty(), "{what}");
                }
            }
        }
    });
}

#[test]
fn an_error_of_grpc_is_the_answer_that_it_brings_or_the_status_that_says_the_same() {
    let rejected = Told {
        status: 400,
        headers: vec![("Content-Type", "text/plain".into())],
        body: Bytes::from_static(b"out of order sample"),
        ..Told::default()
    };
    // Errors of queries repeat the query, and come in trailers.
    let long = Told { body: "out of order sample".repeat(4000).into(), ..rejected.clone() };
    let failure = |code, message, details| GrpcFailure { code, message, details };
    let cases = [
        (failure(400, "out of order sample", Some(rejected.clone())), 400, "out of order sample"),
        (failure(400, "long", Some(long)), 400, "out of order sample"),
        (failure(2, "wrapped", Some(Told { status: 500, ..rejected })), 500, "out of order sample"),
        (failure(429, "too many", None), 429, "too many"),
        (failure(14, "shutting down", None), 503, "shutting down"),
        (failure(8, "received message larger than max (5 vs. 4)", None), 413, "larger"),
        (failure(12, "unknown service httpgrpc.HTTP", None), 501, "unknown service"),
    ];
    RUNTIME.block_on(async {
        for (fails, status, text) in cases {
            let backend = Start { fails: Some(fails.clone()), ..Start::new(Kind::Grpc) }.start().await;
            let url = backend.url(Kind::Grpc);
            let door =
                Door::with_file(&format!("target: gateway\ngateway: {{proxy: {{default: {{url: '{url}'}}}}}}\n"));
            let answer = Client::connect(door.address).await.send(request("POST", "/api/v1/push", b"x")).await;
            let answer = answer.expect("an answer");
            assert_eq!(answer.status.as_u16(), status, "{fails:?}");
            assert!(answer.text().contains(text), "{fails:?}: {}", answer.text());
            assert_eq!(backend.count(), 1, "{fails:?}: an answer is not asked for again");
        }
    });
}

#[test]
fn the_table_is_printed_with_components_and_places() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_watershed"))
        .args([
            "gateway",
            "routes",
            "--gateway.proxy.ruler.url=http://ruler:8080",
            "--http.prometheus-http-prefix=/prom",
        ])
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let line =
        |path: &str| text.lines().find(|l| l.split_whitespace().next() == Some(path)).unwrap_or_default().to_owned();
    assert!(line("/prom/config/v1/rules[/...]").contains("http://ruler:8080"), "{text}");
    assert!(line("/api/v1/push[/...]").contains("404"), "{text}");
    let first = text.lines().position(|l| l.starts_with("/prom/api/v1/rules"));
    assert!(first < text.lines().position(|l| l.starts_with("/prom/api/v1[")), "the longest come first:\n{text}");
}
