//! A Prometheus reads the whole cluster from the frontend, and sees what all members hold.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use watershed::model::{Labels, MatchOp, Matcher, TimestampMs, Value};
use watershed::remote::read::{Query, ReadRequest, decode_samples};
use watershed::remote::snappy;
use watershed::storage::TimeRange;

use crate::fleet::{Kind, Servers};
use crate::fuzz::data;
use crate::support::http;
use crate::support::peers::Peers;
use crate::support::process::{Home, Server};
use crate::{MEMBERS, variable};

/// A frontend over servers, as a process.
fn frontend(servers: &Servers) -> (Home, Server) {
    let home = Home::new();
    let mut members = String::new();
    for ((name, region), address) in MEMBERS.iter().zip(servers.addresses()) {
        let labels = region.map_or(String::new(), |region| format!(", labels: {{region: {region}}}"));
        members += &format!("  - {{name: {name}, url: 'http://{address}'{labels}}}\n");
    }
    home.write_config(&format!(
        "auth_enabled: false\nglobal: {{external_labels: {{frontend: here}}}}\nfederation:\n  proxy_targets:\n{members}"
    ));
    let server = home.watershed(&[]);
    (home, server)
}

/// How many samples each series has, ends of series not counted.
fn counts(servers: &Servers) -> BTreeMap<String, usize> {
    let count = |samples: &[(i64, Value)]| samples.iter().filter(|(_, value)| !value.is_stale()).count();
    let all = servers.all.iter().map(|series| (series.labels.to_string(), count(&series.samples)));
    all.filter(|(_, samples)| *samples > 0).collect()
}

fn labels_of(metric: &Json) -> String {
    let pairs = metric.as_object().expect("labels").iter();
    Labels::from_pairs(pairs.map(|(name, value)| (name.as_str(), value.as_str().expect("a value")))).to_string()
}

#[test]
fn a_prometheus_that_reads_from_the_frontend_sees_all_members_series() {
    let Some(peers) = Peers::find(&["prometheus"]) else { return };
    let servers = Servers::start(&peers, variable("WATERSHED_FUZZ_SEED", 1), [Kind::Prometheus; 3]);
    let (_frontend_home, frontend) = frontend(&servers);
    let home = Home::new();
    home.write_config(&format!(
        "global: {{scrape_interval: 1m}}\nremote_read:\n- {{url: '{}/prometheus/api/v1/read', read_recent: true}}\n",
        frontend.url
    ));
    let reader = home.prometheus(&peers, &["--enable-feature=native-histograms"]);
    let ask = |query: &str| -> Json {
        let time = (data::END / 1000).to_string();
        let data = http::get_api(&http::url(&reader.url, "/api/v1/query", &[("query", query), ("time", &time)]));
        data.expect("an answer")["result"].take()
    };
    let read = ask("{__cluster__=~\".+\"}[2h]");
    let samples = |series: &Json, list: &str| series[list].as_array().map_or(0, Vec::len);
    let read: BTreeMap<String, usize> = read
        .as_array()
        .expect("series")
        .iter()
        .map(|series| (labels_of(&series["metric"]), samples(series, "values") + samples(series, "histograms")))
        .collect();
    let held = counts(&servers);
    assert!(held.len() > 50, "{} series are few", held.len());
    assert_eq!(read, held);
    // What the reader asks for is decided before members are asked.
    let one = ask("count by (__cluster__, region) (last_over_time({__cluster__=\"home\"}[2h]))");
    assert_eq!(one.as_array().map(Vec::len), Some(1), "{one}");
    assert_eq!(one[0]["metric"], serde_json::json!({"__cluster__": "home", "region": "eu"}));
}

#[test]
fn answers_of_samples_hold_what_all_members_have_without_our_own_labels() {
    let Some(peers) = Peers::find(&["prometheus"]) else { return };
    let servers = Servers::start(&peers, variable("WATERSHED_FUZZ_SEED", 2), [Kind::Prometheus; 3]);
    let (_home, frontend) = frontend(&servers);
    let selector = vec![Matcher::new(MatchOp::NotEqual, "__name__", "").expect("a matcher")];
    let range = TimeRange { min: TimestampMs(0), max: TimestampMs(data::END + 3_600_000) };
    let message = ReadRequest { queries: vec![Query { range, selector, hints: None }], accepted: Vec::new() }.encode();
    let mut body = Vec::new();
    snappy::encode(&message, &mut body).expect("packed");
    let url = format!("{}/prometheus/api/v1/read", frontend.url);
    let response = http::post_bytes(&url, "Content-Encoding: snappy\r\n", &body).expect("an answer");
    assert_eq!(response.status, 200, "{}", response.text());
    let mut message = Vec::new();
    snappy::decode(&response.body, 256 << 20, &mut message).expect("unpacked");
    let read = decode_samples(&message).expect("an answer of samples");
    let samples: BTreeMap<String, usize> = read
        .iter()
        .map(|series| (series.labels.to_string(), series.chunks.iter().map(|c| c.sample_count() as usize).sum()))
        .collect();
    // Here ends of series are samples, too.
    let held: BTreeMap<String, usize> =
        servers.all.iter().map(|series| (series.labels.to_string(), series.samples.len())).collect();
    assert_eq!(samples, held);
}
