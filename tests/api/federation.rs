//! `/federate` of what is scraped. The table compares it byte by byte where nothing is known of the families; where types are
//! known, Watershed keeps them, and then the same samples must come, the comments and the times of scrapes apart.

use std::collections::BTreeSet;

use super::compare::encode;
use super::support::http;
use super::support::peers::Peers;
use super::support::process::Server;
use super::world::Both;

/// All but what differs with each scrape, and native histograms, which are not written as text here.
const EVERYTHING: &str = "match[]={__name__=~\".%2B\",__name__!~\"scrape_duration_seconds|h_.*\"}";

const REQUESTS: &[&str] = &[
    EVERYTHING,
    "match[]={job=\"first\",__name__!=\"scrape_duration_seconds\"}",
    "match[]={job=\"first\",le!=\"\"}&match[]={job=\"second\",__name__!~\"scrape_.*\"}",
    "match[]=up&match[]=extreme&match[]=up",
    "match[]=temperature&match[]={__name__=~\"temp.*\",room=\"bad\"}",
    "match[]=requests_total{path='/a\"b\\\\c\\nd'}",
    "match[]=own_site&match[]=no_instance",
    "match[]={\"dotted.name\"}",
    "match[]={\"with space\"}",
    "match[]=UPPER_case&match[]=_underscore:colon",
];

fn ask(server: &Server, request: &str) -> String {
    let answer = http::get(&format!("{}/federate?{}", server.url, encode(request))).unwrap();
    assert_eq!(answer.status, 200, "{request}: {}", answer.text());
    answer.text()
}

/// The samples without their times, each of which stands once.
fn samples<'a>(request: &str, text: &'a str) -> BTreeSet<&'a str> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let samples: BTreeSet<&str> = lines.iter().map(|line| line.rsplit_once(' ').unwrap().0).collect();
    assert!(!samples.is_empty(), "{request} must find something to compare");
    assert_eq!(samples.len(), lines.len(), "{request}: {text}");
    samples
}

#[test]
fn what_is_scraped_is_federated_with_the_same_samples_and_with_its_types() {
    let Some(peers) = Peers::find(&["prometheus"]) else { return };
    let both = Both::start(&peers, &[], "");
    for request in REQUESTS {
        let (ours, theirs) = (ask(&both.ours, request), ask(&both.theirs, request));
        assert_eq!(samples(request, &ours), samples(request, &theirs), "{request}");
    }
    let all = ask(&both.ours, EVERYTHING);
    for head in [
        "# HELP requests_total All requests.\n# TYPE requests_total counter\nrequests_total{",
        " gauge\ntemperature{",
        "# HELP latency_seconds Latency.\n# TYPE latency_seconds histogram\nlatency_seconds_bucket{",
        "# TYPE extreme untyped\nextreme{",
    ] {
        assert!(all.contains(head), "{head}\nis not in\n{all}");
    }
}
