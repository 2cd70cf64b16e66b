//! A differential test of scraping: one job per hand-made case, the same configuration for a real Prometheus and for
//! Watershed; after the last scripted scrape both must have the same series with the same labels and values, say the same
//! of their targets, and have written the same about each scrape.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "helpers of tests fail by panicking")]

mod cases;
#[path = "../support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cases::Case;
use support::exposition::{Labels, samples};
use support::peers::Peers;
use support::process::{Home, Server};
use support::target::{Request, Target, reply};
use support::{http, now_ms, wait_for};

const LIMIT: Duration = Duration::from_secs(60);

/// Cases in which Watershed follows Prometheus 3.14 and the peer is older, with the reason. A case that stands here and
/// does not differ fails the test: its line is then to be removed.
const KNOWN_DIFFERENCES: &[(&str, &str)] = &[(
    "a limit that is exceeded only once",
    "3.5 remembers a new series that the limit refused and ends it with a staleness marker, which creates it; 3.14 does not",
)];

/// What the names of cases begin with whose targets a rule drops or a limit keeps from being asked.
const NEVER_SCRAPED: [&str; 2] = ["a target dropped", "targets over target_limit"];

/// The scripted targets of one server, and how often each was scraped.
struct Scripts {
    target: Target,
    scrapes: Arc<Vec<AtomicUsize>>,
}

impl Scripts {
    fn start(cases: &Arc<Vec<Case>>, start_ms: i64) -> Scripts {
        let scrapes: Arc<Vec<AtomicUsize>> = Arc::new(cases.iter().map(|_| AtomicUsize::new(0)).collect());
        let (cases, counts) = (Arc::clone(cases), Arc::clone(&scrapes));
        let target = Target::start(move |request: &Request, stream| {
            let path = request.target.split('?').next().unwrap_or_default();
            let number: usize = path.trim_start_matches("/case").parse().expect("a case's path");
            let answers = &cases[number].answers;
            let turn = counts[number].fetch_add(1, Ordering::SeqCst);
            let answer = answers[turn.min(answers.len() - 1)];
            let body = fill_in(answer.body, number, start_ms).0;
            reply(stream, answer.status, answer.content_type, body.as_bytes());
        });
        Scripts { target, scrapes }
    }

    /// Whether every target has given its last answer at least twice more, so that its effects are settled.
    fn all_played(&self, cases: &[Case]) -> Result<(), String> {
        for (number, case) in cases.iter().enumerate() {
            let scrapes = self.scrapes[number].load(Ordering::SeqCst);
            let is_never_scraped = NEVER_SCRAPED.iter().any(|start| case.about.starts_with(start));
            if scrapes < case.answers.len() + 2 && !is_never_scraped {
                return Err(format!("{} was scraped {scrapes} times", case.about));
            }
        }
        Ok(())
    }
}

/// The text with the case's prefix and with times, and those times in milliseconds.
fn fill_in(text: &str, number: usize, start_ms: i64) -> (String, BTreeSet<i64>) {
    let mut rest = text;
    let (mut out, mut times) = (String::new(), BTreeSet::new());
    while let Some(at) = rest.find("<ms").or_else(|| rest.find("<s")) {
        let end = at + rest[at..].find('>').expect("a closed token");
        let token = &rest[at + 1..end];
        let digits = token.trim_start_matches(['m', 's']);
        let time_ms = start_ms + digits.parse::<i64>().expect("seconds") * 1000;
        out.push_str(&rest[..at]);
        let in_seconds = !token.starts_with("ms");
        let _ = write!(out, "{}", if in_seconds { time_ms / 1000 } else { time_ms });
        let base = if in_seconds { time_ms / 1000 * 1000 } else { time_ms };
        times.extend([base, base + 250]);
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    (out.replace("X_", &format!("c{number:03}_")), times)
}

fn config(cases: &[Case], address: &str) -> String {
    let mut yaml = String::from("global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n");
    for (number, case) in cases.iter().enumerate() {
        // Only the address differs between the servers; nothing else may depend on it.
        let instance = if case.labels.contains("instance:") { "" } else { "instance: target, " };
        let _ = write!(
            yaml,
            "- job_name: case{number:03}\n  metrics_path: /case{number}\n  {}\n  static_configs: [{{targets: ['{address}'], labels: {{{instance}{}}}}}]\n",
            fill_in(case.job, number, 0).0,
            case.labels.replace("ADDRESS", address)
        );
    }
    yaml
}

/// Everything observable of one case: a line for each fact.
type Facts = BTreeMap<usize, BTreeSet<String>>;

/// Which case a series belongs to: the prefix of its name decides, for labels may be overwritten.
fn case_of(labels: &Labels) -> Option<usize> {
    let name = labels.get("__name__").map_or("", String::as_str);
    let of_name = name.trim_start_matches([':', '0']).strip_prefix('c').and_then(|n| n.get(..3)?.parse().ok());
    of_name.or_else(|| labels.get("job")?.strip_prefix("case")?.parse().ok())
}

/// A number that the facts keep for what no case claims.
const UNCLAIMED: usize = usize::MAX;

fn facts(server: &Server, cases: &[Case], start_ms: i64) -> Facts {
    let mut facts = Facts::new();
    let mut add = |case: Option<usize>, fact: String| facts.entry(case.unwrap_or(UNCLAIMED)).or_default().insert(fact);
    let everything = [("match[]", "{__name__=~\".*\",job!=\"\"}"), ("match[]", "{__name__=~\".+\"}")];

    for sample in samples(&http::get_text(&http::url(&server.url, "/federate", &everything)).expect("an answer")) {
        let case = case_of(&sample.labels);
        let explicit: BTreeSet<i64> = case.map_or_else(BTreeSet::new, |n| {
            cases[n].answers.iter().flat_map(|a| fill_in(a.body, n, start_ms).1).collect()
        });
        let time = sample
            .timestamp
            .filter(|t| explicit.contains(t))
            .map_or(String::new(), |t| format!(" at start{:+}ms", t - start_ms));
        let value = if sample.name() == "scrape_duration_seconds" { "some time" } else { &sample.value };
        add(case, format!("sample {:?} {value}{time}", sample.labels));
    }

    let start = ((start_ms - 2 * 86_400_000) / 1000).to_string();
    let end = ((start_ms + 86_400_000) / 1000).to_string();
    let query = [everything[0], everything[1], ("start", start.as_str()), ("end", end.as_str())];
    let series = http::get_api(&http::url(&server.url, "/api/v1/series", &query)).expect("an answer");
    for labels in series.as_array().expect("a list of series") {
        let labels: Labels = serde_json::from_value(labels.clone()).expect("labels");
        add(case_of(&labels), format!("series {labels:?}"));
    }

    let targets = http::get_api(&format!("{}/api/v1/targets", server.url)).expect("an answer");
    for target in targets["activeTargets"].as_array().expect("a list of targets") {
        let case = target["scrapePool"].as_str().and_then(|p| p.strip_prefix("case")?.parse().ok());
        let mut discovered: Labels = serde_json::from_value(target["discoveredLabels"].clone()).expect("labels");
        discovered.remove("__address__");
        let labels: Labels = serde_json::from_value(target["labels"].clone()).expect("labels");
        let error = if target["lastError"].as_str().unwrap_or_default().is_empty() { "no error" } else { "an error" };
        let times = format!("{} {}", target["scrapeInterval"], target["scrapeTimeout"]);
        let (health, url) = (&target["health"], target["scrapeUrl"].as_str().unwrap_or_default());
        let path = url.splitn(4, '/').nth(3).unwrap_or_default();
        add(case, format!("target {health} with {error}, {times}, /{path}, {labels:?} from {discovered:?}"));
    }
    for target in targets["droppedTargets"].as_array().expect("a list of targets") {
        let mut discovered: Labels = serde_json::from_value(target["discoveredLabels"].clone()).expect("labels");
        discovered.remove("__address__");
        add(case_of(&discovered), format!("dropped target {discovered:?}"));
    }
    facts
}

/// The cases that differ, each with what only one side says.
fn differences(cases: &[Case], ours: &Facts, theirs: &Facts) -> BTreeMap<usize, String> {
    let none = BTreeSet::new();
    let numbers: BTreeSet<&usize> = ours.keys().chain(theirs.keys()).collect();
    let mut differences = BTreeMap::new();
    for &number in numbers {
        let (a, b) = (ours.get(&number).unwrap_or(&none), theirs.get(&number).unwrap_or(&none));
        if a == b {
            continue;
        }
        let about = cases.get(number).map_or("series of no case", |c| c.about);
        let mut text = format!("case {number}: {about}\n");
        a.difference(b).for_each(|fact| text.push_str(&format!("  only watershed:  {fact}\n")));
        b.difference(a).for_each(|fact| text.push_str(&format!("  only prometheus: {fact}\n")));
        differences.insert(number, text);
    }
    differences
}

#[test]
fn scraped_series_are_those_of_prometheus() {
    let Some(peers) = Peers::find(&["prometheus"]) else { return };
    let cases = Arc::new(cases::all());
    let start_ms = now_ms();
    let (our_scripts, their_scripts) = (Scripts::start(&cases, start_ms), Scripts::start(&cases, start_ms));
    let (our_home, their_home) = (Home::new(), Home::new());
    our_home.write_config(&config(&cases, &our_scripts.target.address()));
    their_home.write_config(&config(&cases, &their_scripts.target.address()));
    let (ours, theirs) = (our_home.watershed(&[]), their_home.prometheus(&peers, &[]));

    let is_known = |number: &usize| {
        cases.get(*number).is_some_and(|case| KNOWN_DIFFERENCES.iter().any(|(about, _)| *about == case.about))
    };
    wait_for("all scripts to have been played", LIMIT, || {
        our_scripts.all_played(&cases).and_then(|()| their_scripts.all_played(&cases))
    });
    // What a scrape brought becomes visible a moment after it: what is equal now must have been made so by the same bodies.
    let healed = wait_for("both servers to say the same", Duration::from_secs(15), || {
        let found = differences(&cases, &facts(&ours, &cases, start_ms), &facts(&theirs, &cases, start_ms));
        let (known, new): (Vec<_>, Vec<_>) = found.into_iter().partition(|(number, _)| is_known(number));
        if !new.is_empty() {
            return Err(new.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(""));
        }
        Ok(KNOWN_DIFFERENCES.len().saturating_sub(known.len()))
    });
    assert_eq!(healed, 0, "a known difference is gone: remove its line");
    println!("{} cases, {} of them known to differ", cases.len(), KNOWN_DIFFERENCES.len());
}
