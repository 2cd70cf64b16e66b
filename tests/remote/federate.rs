//! A real Prometheus federates from Watershed, once in each format: what it stores must be what Watershed has.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value as Json;

use crate::support::peers::Peers;
use crate::support::process::{Home, Server};
use crate::support::remote_write::{Series, Value, histograms, send};
use crate::support::target::{OPEN_METRICS, Request, Target, reply};
use crate::support::{http, now_ms, wait_for};

const LIMIT: Duration = Duration::from_secs(60);

/// What the edge's target exposes: every type, an exemplar of a counter and one of a bucket, and a name that is not a
/// legacy one.
const BODY: &str = r#"# HELP orders All "orders".
# TYPE orders counter
orders_total{kind="a\"b"} 17 # {trace_id="abc"} 2.5
# HELP queue_seconds How old the oldest is.
# TYPE queue_seconds gauge
# UNIT queue_seconds seconds
queue_seconds 0.125
# HELP wait_seconds How long one waits.
# TYPE wait_seconds histogram
# UNIT wait_seconds seconds
wait_seconds_bucket{le="0.5"} 3 # {trace_id="def"} 0.25
wait_seconds_bucket{le="10"} 4
wait_seconds_bucket{le="+Inf"} 5
wait_seconds_count 5
wait_seconds_sum 25.5
# TYPE size_bytes summary
size_bytes{quantile="0.5"} 100
size_bytes_count 4
size_bytes_sum 400
# TYPE "dotted.name" gauge
{"dotted.name","my.label"="x"} -1e-07
# EOF
"#;

/// Scrape protocol and the label that tells apart what came by it.
const WAYS: [(&str, &str); 4] = [
    ("PrometheusProto", "proto"),
    ("OpenMetricsText1.0.0", "openmetrics"),
    ("PrometheusText1.0.0", "text1"),
    ("PrometheusText0.0.4", "text"),
];

fn edge_config(target: &str) -> String {
    format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, external_labels: {{site: edge}}}}\n\
         storage: {{exemplars: {{max_exemplars: 1000}}}}\n\
         scrape_configs: [{{job_name: shop, static_configs: [{{targets: ['{target}']}}]}}]\n"
    )
}

fn centre_config(edge: &str) -> String {
    let mut yaml = "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n".to_owned();
    for (protocol, via) in WAYS {
        yaml += &format!(
            "- job_name: federate-{via}\n  honor_labels: true\n  metrics_path: /federate\n  \
             params: {{'match[]': ['{{job=\"shop\"}}', '{{job=\"pushed\"}}']}}\n  scrape_protocols: [{protocol}]\n  \
             static_configs: [{{targets: ['{edge}'], labels: {{via: {via}}}}}]\n"
        );
    }
    yaml
}

/// Native histograms of every kind but custom bounds, which no exposition format knows.
fn push_histograms(edge: &Server) {
    let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let now = now_ms();
    let series = (0..4).map(|kind| Series {
        labels: vec![label("__name__", &format!("native_{kind}")), label("instance", "i"), label("job", "pushed")],
        samples: (0..).zip(histograms(kind, 60)).map(|(i, h)| (now - 60_000 + i * 1000, Value::Histogram(h))).collect(),
    });
    send(&edge.url, &series.collect::<Vec<_>>()).expect("the edge receives remote write");
}

/// Samples of the last minutes by series without `via`, `site` and empty labels, each as its time and what the API shows of it.
fn stored(server: &Server, selector: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let query = format!("{selector}[5m]");
    let data = http::get_api(&http::url(&server.url, "/api/v1/query", &[("query", &query)])).expect("an answer");
    let mut found = BTreeMap::new();
    for series in data["result"].as_array().expect("series") {
        let mut labels = series["metric"].as_object().expect("labels").clone();
        labels.retain(|name, _| name != "via" && name != "site");
        let points = ["values", "histograms"].into_iter().filter_map(|key| series[key].as_array()).flatten();
        let points = points.map(|p| (p[0].to_string(), p[1].to_string()));
        found.insert(Json::from(labels).to_string(), points.collect());
    }
    found
}

/// Every sample that the centre has is one that the edge has. Returns the series of both.
fn compare(edge: &Server, centre: &Server, via: &str, job: &str) -> Result<Vec<String>, String> {
    let theirs = stored(centre, &format!("{{via=\"{via}\",job=\"{job}\",site=\"edge\"}}"));
    let ours = stored(edge, &format!("{{job=\"{job}\",__name__!~\"up|scrape_.*\"}}"));
    let ours: BTreeMap<_, _> = ours.into_iter().map(|(series, samples)| (asked_for(&series, via), samples)).collect();
    let scraped: Vec<String> = theirs.keys().filter(|k| !is_report(k)).cloned().collect();
    for series in &scraped {
        let known = ours.get(series).ok_or_else(|| format!("{via}: the edge has no {series}"))?;
        for (t, value) in &theirs[series] {
            match known.get(t) {
                Some(own) if own == value => {}
                other => return Err(format!("{via}: {series} at {t}: {other:?} became {value}")),
            }
        }
    }
    // Nothing on both sides is the same, too, and says nothing.
    match scraped.len() == ours.len() && !ours.is_empty() {
        true => Ok(scraped),
        false => Err(format!("{via}: of {} series {} have come", ours.len(), scraped.len())),
    }
}

/// A series as a Prometheus asks for it: only of the newer text formats it wants names that are not legacy names.
fn asked_for(series: &str, via: &str) -> String {
    match via {
        "proto" | "text" => series.replace("dotted.name", "dotted_name").replace("my.label", "my_label"),
        _ => series.to_owned(),
    }
}

/// What the edge's own scrapes say of themselves is federated, too, but not compared.
fn is_report(series: &str) -> bool {
    ["\"__name__\":\"up\"", "\"__name__\":\"scrape_"].iter().any(|name| series.contains(name))
}

/// Type and help by family, as the centre learnt them.
fn told(centre: &Server, via: &str) -> BTreeMap<String, (String, String)> {
    let selector = format!("{{via=\"{via}\"}}");
    let url = http::url(&centre.url, "/api/v1/targets/metadata", &[("match_target", &selector)]);
    let told = http::get_api(&url).expect("an answer");
    let text = |json: &Json| json.as_str().unwrap_or_default().to_owned();
    let told = told.as_array().expect("a list").iter();
    told.map(|one| (text(&one["metric"]), (text(&one["type"]), text(&one["help"])))).collect()
}

fn check_types(centre: &Server) {
    for (_, via) in WAYS {
        let told = told(centre, via);
        let of = |family: &str| told.get(family).map_or(("", ""), |(t, h)| (t.as_str(), h.as_str()));
        let orders = if via == "openmetrics" { "orders" } else { "orders_total" };
        assert_eq!(of(orders), ("counter", "All \"orders\"."), "{via}: {told:?}");
        assert_eq!(of("queue_seconds"), ("gauge", "How old the oldest is."), "{via}");
        let (histogram, summary) = match via {
            "proto" => (of("wait_seconds_bucket").0, of("size_bytes_count").0),
            _ => (of("wait_seconds").0, of("size_bytes").0),
        };
        let expected = if via == "proto" { ("unknown", "unknown") } else { ("histogram", "summary") };
        assert_eq!((histogram, summary), expected, "{via}");
    }
    let native = told(centre, "proto");
    assert_eq!(native["native_0"].0, "histogram");
    assert_eq!(native["native_3"].0, "gaugehistogram");
}

/// Labels and values of all exemplars of a query, with their series.
fn exemplars(server: &Server, selector: &str) -> Vec<(String, String)> {
    let now = now_ms() / 1000;
    let (start, end) = ((now - 600).to_string(), (now + 60).to_string());
    let parameters = [("query", selector), ("start", &start), ("end", &end)];
    let found = http::get_api(&http::url(&server.url, "/api/v1/query_exemplars", &parameters)).expect("an answer");
    let mut all = Vec::new();
    for series in found.as_array().expect("series") {
        let name = series["seriesLabels"]["__name__"].to_string();
        let newest = series["exemplars"].as_array().and_then(|e| e.last()).expect("an exemplar");
        all.push((name, format!("{} {} {}", newest["labels"], newest["value"], newest["timestamp"])));
    }
    all.sort();
    all
}

#[test]
fn what_a_prometheus_federates_in_any_format_is_what_watershed_has() {
    let Some(peers) = Peers::find(&["prometheus"]) else { return };
    let target = Target::start(|_: &Request, stream| reply(stream, 200, OPEN_METRICS, BODY.as_bytes()));
    let (edge_home, centre_home) = (Home::new(), Home::new());
    edge_home.write_config(&edge_config(&target.address()));
    let edge = edge_home.watershed(&["--web.enable-remote-write-receiver", "--enable-feature=exemplar-storage"]);
    push_histograms(&edge);
    centre_home.write_config(&centre_config(&edge.address));
    let centre = centre_home.prometheus(&peers, &["--enable-feature=native-histograms,exemplar-storage"]);
    for (_, via) in WAYS {
        let series = wait_for("the shop's series to be federated", LIMIT, || compare(&edge, &centre, via, "shop"));
        assert_eq!(series.len(), 11, "{via}: {series:?}");
    }
    let native = wait_for("histograms to be federated", LIMIT, || compare(&edge, &centre, "proto", "pushed"));
    assert_eq!(native.len(), 4);
    assert!(
        stored(&centre, "{via=~\"text.*|openmetrics\",job=\"pushed\"}").is_empty(),
        "text has no native histograms"
    );
    check_types(&centre);
    let own = exemplars(&edge, "{job=\"shop\"}");
    assert_eq!(own.len(), 2, "{own:?}");
    assert_eq!(exemplars(&centre, "{via=\"openmetrics\"}"), own);
    assert_eq!(exemplars(&centre, "{via=\"proto\"}"), own[..1], "buckets are untyped there and have none");
    assert!(exemplars(&centre, "{via=~\"text.*\"}").is_empty());
}

#[test]
fn requests_that_ask_for_what_there_is_not_are_refused_with_a_sentence() {
    let home = Home::new();
    home.write_config("global: {}\n");
    let server = home.watershed(&[]);
    for (query, sentence) in [
        ("", "no match[] parameter provided"),
        ("match[]=up%7B", "parse error"),
        ("match[]=up&limit=x", "limit"),
        ("match[]=up&source=cluster", "cluster frontend, which is not configured"),
        ("match[]=up&source=moon", "\"moon\" is neither \"local\" nor \"cluster\""),
    ] {
        let answer = http::get(&format!("{}/federate?{query}", server.url)).expect("an answer");
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.text().contains(sentence), "{query}: {}", answer.text());
    }
    let answer = http::get(&format!("{}/federate?match[]=up&source=local&limit=1", server.url)).expect("an answer");
    assert_eq!(answer.status, 200);
}
