//! The OTLP receiver beside a real Prometheus: the same requests to both, then all series and exemplars of both.

mod cases;
mod fixed;
mod payload;

use std::io::Write as _;
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use watershed::runtime::Clock;

use crate::support::http;
use crate::support::peers::Peers;
use crate::support::process::{Home, Server};
use cases::{Case, cases};

const PATH: &str = "/api/v1/otlp/v1/metrics";
const PROTOBUF: &str = "Content-Type: application/x-protobuf\r\n";
const FLAG: &str = "--web.enable-otlp-receiver";
const EXEMPLARS: &str = "--enable-feature=exemplar-storage";
const TYPE_LABELS: &str = "--enable-feature=exemplar-storage,type-and-unit-labels";

/// What `otlp:` says and a further flag, each with both servers anew.
const CONFIGS: [(&str, &str); 12] = [
    ("{}", EXEMPLARS),
    (
        "{translation_strategy: UnderscoreEscapingWithoutSuffixes, label_name_preserve_multiple_underscores: false}",
        EXEMPLARS,
    ),
    ("{translation_strategy: NoUTF8EscapingWithSuffixes, promote_scope_metadata: true}", EXEMPLARS),
    ("{translation_strategy: NoTranslation, keep_identifying_resource_attributes: true}", EXEMPLARS),
    ("{convert_histograms_to_nhcb: true}", EXEMPLARS),
    ("{promote_resource_attributes: [host.name, service.name, ' k8s.pod/name ', absent]}", EXEMPLARS),
    ("{promote_all_resource_attributes: true, ignore_resource_attributes: [cloud.region]}", EXEMPLARS),
    ("{promote_scope_metadata: true, keep_identifying_resource_attributes: true}", EXEMPLARS),
    ("{label_name_underscore_sanitization: false}", EXEMPLARS),
    (
        "{promote_all_resource_attributes: true, translation_strategy: NoTranslation, convert_histograms_to_nhcb: true}",
        EXEMPLARS,
    ),
    ("{}", TYPE_LABELS),
    ("{translation_strategy: NoTranslation}", TYPE_LABELS),
];

fn now_nanos() -> u64 {
    u64::try_from(Clock::system().now().0).expect("after 1970") / 1000 * 1_000_000_000
}

fn send(server: &Server, case: &Case) -> (u16, String) {
    let reply = http::post_bytes(&format!("{}{PATH}", server.url), &case.headers, &case.body).expect("an answer");
    (reply.status, reply.text())
}

/// All series of the last hour, sorted.
fn series(server: &Server, now: u64) -> Vec<String> {
    let time = (now / 1_000_000_000 + 1).to_string();
    let query = [("query", r#"{__name__=~".+"}[1h]"#), ("time", &time)];
    sorted(http::get_api(&http::url(&server.url, "/api/v1/query", &query)).expect("an answer")["result"].clone())
}

fn exemplars(server: &Server, now: u64) -> Vec<String> {
    let (start, end) = ((now / 1_000_000_000 - 3600).to_string(), (now / 1_000_000_000 + 1).to_string());
    let query = [("query", r#"{__name__=~".+"}"#), ("start", &start), ("end", &end)];
    sorted(http::get_api(&http::url(&server.url, "/api/v1/query_exemplars", &query)).expect("an answer"))
}

fn sorted(list: Value) -> Vec<String> {
    let mut items: Vec<String> = list.as_array().expect("a list").iter().map(Value::to_string).collect();
    items.sort_unstable();
    items
}

/// Whether the peer translates as the version that we follow; the rules have changed between versions.
fn is_current(peers: &Peers) -> bool {
    let output = Command::new(peers.path("prometheus")).arg("--version").output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.split_whitespace().nth(2).unwrap_or_default().to_owned();
    let mut numbers = version.split('.').map(|n| n.parse::<u32>().unwrap_or(0));
    let is_current = (numbers.next(), numbers.next()) >= (Some(3), Some(14));
    if !is_current {
        println!("skipped: Prometheus {version} translates by the rules of before 3.14");
    }
    is_current
}

#[test]
fn every_request_leaves_the_series_that_prometheus_makes_of_it() {
    let Some(peers) = Peers::find(&["prometheus"]).filter(is_current) else { return };
    for (config, flag) in CONFIGS {
        let homes = [Home::new(), Home::new()];
        homes.iter().for_each(|home| home.write_config(&format!("otlp: {config}\n")));
        let (theirs, ours) = (homes[0].prometheus(&peers, &[FLAG, flag]), homes[1].watershed(&[FLAG, flag]));
        let now = now_nanos();
        for case in cases(now) {
            let (our_status, our_text) = send(&ours, &case);
            let (their_status, their_text) = send(&theirs, &case);
            if case.is_mended_after_3_14_0 && their_status == 500 {
                assert_eq!((our_status, our_text.as_str()), (200, ""), "{}: {their_text}", case.name);
                continue;
            }
            let what = format!("{} with {config}: {their_text:?}, {our_text:?}", case.name);
            assert_eq!(our_status, their_status, "{what}");
            assert_eq!(our_text.is_empty(), their_text.is_empty(), "{what}");
            if case.has_same_text {
                assert_eq!(our_text, their_text, "{what}");
            }
        }
        assert_same(&series(&ours, now), &series(&theirs, now), config);
        assert_same(&exemplars(&ours, now), &exemplars(&theirs, now), config);
    }
}

fn assert_same(ours: &[String], theirs: &[String], config: &str) {
    let only = |a: &[String], b: &[String]| a.iter().filter(|x| !b.contains(x)).cloned().collect::<Vec<_>>().join("\n");
    let (more, less) = (only(ours, theirs), only(theirs, ours));
    assert!(more.is_empty() && less.is_empty(), "{config}\nonly here:\n{more}\nonly there:\n{less}");
    assert_eq!(ours.len(), theirs.len());
    println!("{} series or exemplars are the same with {config}", ours.len());
    assert!(!ours.is_empty());
}

#[test]
fn the_receiver_is_off_unless_it_is_asked_for() {
    let home = Home::new();
    home.write_config("{}");
    let server = home.watershed(&[]);
    let reply = http::post_bytes(&format!("{}{PATH}", server.url), PROTOBUF, &[]).expect("an answer");
    assert_eq!(reply.status, 404);
    assert_eq!(reply.text(), "otlp write receiver needs to be enabled with --web.enable-otlp-receiver\n");
}

fn gzipped(body: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(body).expect("memory");
    gzip.finish().expect("memory")
}
