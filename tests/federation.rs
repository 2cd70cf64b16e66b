//! Two sites, each a real Prometheus that scrapes a real node exporter; a real Prometheus and Watershed as centres that
//! federate from both with the same configuration; and a third level above them. Nobody may be able to tell the two
//! centres apart by what they serve.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "helpers of tests fail by panicking")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use rustix::process::Signal;
use support::exposition::{Labels, Sample, samples};
use support::peers::Peers;
use support::process::{Home, Server};
use support::{http, wait_for};

const LIMIT: Duration = Duration::from_secs(60);

/// One edge site: a node exporter and the Prometheus that scrapes it.
struct Site {
    home: Home,
    server: Server,
    _exporter: Server,
    _exporter_home: Home,
}

impl Site {
    fn start(peers: &Peers, name: &'static str) -> Site {
        let exporter_home = Home::new();
        let exporter = exporter_home.node_exporter(peers);
        let home = Home::new();
        home.write_config(&Site::config(name, &exporter.address, &home.address()));
        let server = home.prometheus(peers, &[]);
        Site { home, server, _exporter: exporter, _exporter_home: exporter_home }
    }

    /// As the homelab guide has it: the node job, and a second job of the site (here: the server itself).
    fn config(name: &str, exporter: &str, itself: &str) -> String {
        format!(
            "global:\n  scrape_interval: 2s\n  scrape_timeout: 2s\nscrape_configs:\n\
             - job_name: '{name}-node'\n  static_configs:\n  - targets: ['{exporter}']\n\
             - job_name: '{name}-docker'\n  static_configs:\n  - targets: ['{itself}']\n    labels: {{env: '', rack: 'a \"b\" \\c'}}\n"
        )
    }

    /// Stops the flow of new samples while the last ones stay visible: the server is restarted on its data with nothing to
    /// scrape. (A reload would not do: it writes staleness markers for what is no longer scraped as before.)
    fn freeze(&mut self, peers: &Peers) {
        self.server.signal(Signal::TERM);
        assert!(self.server.wait_exit(LIMIT).success());
        self.home.write_config("scrape_configs: []\n");
        self.server = self.home.prometheus(peers, &[]);
    }
}

/// The centre's configuration of the homelab guide, with a shorter interval so that the test is quick.
fn centre_config(garage: &str, cabin: &str) -> String {
    format!(
        "global:
  scrape_interval: 10s
  external_labels: {{site: 'central', environment: 'production'}}
scrape_configs:
- job_name: 'federate-garage'
  scrape_timeout: 10s
  honor_labels: true
  metrics_path: '/federate'
  params:
    'match[]':
    - '{{job=\"garage-docker\"}}'
    - '{{job=\"garage-node\"}}'
  static_configs:
  - targets: ['{garage}']
- job_name: 'federate-cabin'
  scrape_timeout: 10s
  honor_labels: true
  metrics_path: '/federate'
  params:
    'match[]':
    - '{{job=\"cabin-node\"}}'
    - '{{job=\"cabin-docker\"}}'
  static_configs:
  - targets: ['{cabin}']
"
    )
}

fn federate(server: &Server, matchers: &[&str]) -> Vec<Sample> {
    let query: Vec<(&str, &str)> = matchers.iter().map(|m| ("match[]", *m)).collect();
    samples(&http::get_text(&http::url(&server.url, "/federate", &query)).expect("a federated answer"))
}

/// The samples of the edges' jobs; everything else a centre has is about its own scraping.
fn of_edges(all: &[Sample]) -> Vec<Sample> {
    all.iter().filter(|s| !s.label("job").starts_with("federate-")).cloned().collect()
}

/// A readable difference of two ordered lists of samples, empty if there is none.
fn difference(ours: &[Sample], theirs: &[Sample]) -> String {
    let mut text = String::new();
    let keyed =
        |list: &[Sample]| -> BTreeMap<Labels, Sample> { list.iter().map(|s| (s.labels.clone(), s.clone())).collect() };
    let (left, right) = (keyed(ours), keyed(theirs));
    let keys: BTreeSet<&Labels> = left.keys().chain(right.keys()).collect();
    for key in keys.into_iter().filter(|k| left.get(*k) != right.get(*k)).take(10) {
        let side = |s: Option<&Sample>| s.map_or("nothing".into(), |s| format!("{} at {:?}", s.value, s.timestamp));
        let _ = writeln!(text, "{key:?}: watershed {}, prometheus {}", side(left.get(key)), side(right.get(key)));
    }
    if text.is_empty() && ours != theirs {
        let at = ours.iter().zip(theirs).position(|(a, b)| a != b).unwrap_or(ours.len().min(theirs.len()));
        let _ = writeln!(text, "same samples, another order from line {at}: {:?}, {:?}", ours.get(at), theirs.get(at));
    }
    text
}

#[test]
fn a_centre_cannot_be_told_from_prometheus_by_its_neighbours() {
    let Some(peers) = Peers::find(&["prometheus", "prometheus-node-exporter"]) else { return };
    let mut sites = [Site::start(&peers, "garage"), Site::start(&peers, "cabin")];
    let config = centre_config(&sites[0].server.address, &sites[1].server.address);
    let (our_home, their_home) = (Home::new(), Home::new());
    our_home.write_config(&config);
    their_home.write_config(&config);
    let ours = our_home.watershed(&[]);
    let theirs = their_home.prometheus(&peers, &[]);

    // While the data moves: what both have of one series at one time must be one value.
    let everything = ["{__name__=~\".+\"}"];
    let mut seen: BTreeMap<(Labels, i64), String> = BTreeMap::new();
    wait_for("both centres to have federated from both sites", LIMIT, || {
        let (a, b) = (federate(&ours, &everything), federate(&theirs, &everything));
        let mut shared = 0;
        for sample in of_edges(&a).into_iter().chain(of_edges(&b)) {
            let at = sample.timestamp.expect("federated samples have timestamps");
            if let Some(other) = seen.insert((sample.labels.clone(), at), sample.value.clone()) {
                shared += 1;
                assert_eq!(other, sample.value, "two values of {:?} at {at}", sample.labels);
            }
        }
        let all_there = |list: &[Sample]| {
            let of = |job: &str| list.iter().filter(|s| s.label("job") == job).count();
            ["garage-node", "garage-docker", "cabin-node", "cabin-docker"].iter().all(|job| of(job) > 100)
        };
        if shared > 0 && all_there(&a) && all_there(&b) {
            Ok(())
        } else {
            Err(format!("{} and {} samples", a.len(), b.len()))
        }
    });

    // With the edges frozen, both centres must come to the same state, to the last byte of every line.
    sites.iter_mut().for_each(|site| site.freeze(&peers));
    let newest = |list: &[Sample]| list.iter().map(|s| s.timestamp).max();
    let edges: Vec<Sample> = wait_for("both centres to serve the same", LIMIT, || {
        let (a, b) = (of_edges(&federate(&ours, &everything)), of_edges(&federate(&theirs, &everything)));
        let upstream: usize = sites.iter().map(|s| federate(&s.server, &everything).len()).sum();
        let difference = difference(&a, &b);
        match () {
            () if !difference.is_empty() => Err(difference),
            () if a.len() != upstream => Err(format!("{} samples of {upstream} at the edges", a.len())),
            () if newest(&a) != newest(&b) => Err("different newest samples".to_owned()),
            () => Ok(a),
        }
    });
    assert!(edges.iter().all(|s| s.label("site") == "central" && s.label("environment") == "production"));
    println!("{} series of two sites, no difference", edges.len());

    wait_for("both centres to say the same of their own scrapes", LIMIT, || {
        let (a, b) = (own_series(&federate(&ours, &everything)), own_series(&federate(&theirs, &everything)));
        if a == b { Ok(()) } else { Err(format!("watershed {a:?}\nprometheus {b:?}")) }
    });
    unions_of_selectors_agree(&ours, &theirs);
    a_third_level_sees_no_difference(&peers, &ours, &theirs, edges.len());
}

/// What a centre says of its own scrapes, without the values that are durations.
fn own_series(all: &[Sample]) -> BTreeMap<Labels, String> {
    let own = all.iter().filter(|s| s.label("job").starts_with("federate-"));
    own.map(|s| {
        let timed = s.name() == "scrape_duration_seconds";
        (s.labels.clone(), if timed { String::new() } else { s.value.clone() })
    })
    .collect()
}

/// Several selectors, overlapping and empty ones, are answered as their union.
fn unions_of_selectors_agree(ours: &Server, theirs: &Server) {
    let unions: [&[&str]; 7] = [
        &["node_load1"],
        &["node_load1", "{job=\"cabin-node\",__name__=~\"node_load.*\"}"],
        &["{job=~\"garage.*\",__name__!~\"go_.*|node_.*\"}"],
        &["{site=\"central\"}"],
        &["{env=\"\",__name__=\"up\",job!~\"federate-.*\"}"],
        &["{rack=\"a \\\"b\\\" \\\\c\",__name__=~\"prometheus_build_info|go_info\"}"],
        &["nothing_has_this_name"],
    ];
    for matchers in unions {
        let (a, b) = (federate(ours, matchers), federate(theirs, matchers));
        assert_eq!(difference(&a, &b), "", "match[] = {matchers:?}");
    }
}

/// One more Prometheus federates from both centres; a label tells the two origins apart.
fn a_third_level_sees_no_difference(peers: &Peers, ours: &Server, theirs: &Server, expected: usize) {
    let home = Home::new();
    let job = |name: &str, address: &str| {
        format!(
            "- job_name: {name}\n  honor_labels: true\n  metrics_path: /federate\n  \
             params: {{'match[]': ['{{job=~\"(garage|cabin)-.*\"}}']}}\n  \
             metric_relabel_configs: [{{target_label: origin, replacement: {name}}}]\n  \
             static_configs: [{{targets: ['{address}']}}]\n"
        )
    };
    home.write_config(&format!(
        "global: {{scrape_interval: 3s, scrape_timeout: 3s}}\nscrape_configs:\n{}{}",
        job("ours", &ours.address),
        job("theirs", &theirs.address)
    ));
    let third = home.prometheus(peers, &[]);
    let from = |origin: &str| -> Vec<Sample> {
        let mut list = federate(&third, &[&format!("{{origin=\"{origin}\",job=~\"(garage|cabin)-.*\"}}")]);
        list.iter_mut().for_each(|s| drop(s.labels.remove("origin")));
        list
    };
    wait_for("the third level to have everything from both centres", LIMIT, || {
        let (a, b) = (from("ours"), from("theirs"));
        match difference(&a, &b) {
            text if !text.is_empty() => Err(text),
            _ if a.len() != expected => Err(format!("{} series of {expected}", a.len())),
            _ => Ok(()),
        }
    });
}
