//! Asking both servers the same, and telling their answers apart.

use std::collections::BTreeSet;

use serde_json::Value;

use super::differences::{ABSENT, DIFFERENCES, GOOD_ELSEWHERE, Peer};
use super::support::http::{self, Response};
use super::support::peers::Peers;
use super::support::wait_for;
use super::table::{CLOSED, Endpoint, OPEN};
use super::world::{Both, LIMIT};

/// What counts of an answer.
#[derive(Debug, PartialEq)]
struct Observed {
    status: u16,
    content_type: String,
    allow: String,
    location: String,
    origins: String,
    body: Value,
}

/// One request of the table, taken apart.
struct Request<'a> {
    method: &'a str,
    path: String,
    headers: String,
    body: String,
}

impl<'a> Request<'a> {
    fn parse(text: &'a str, times: &[(&str, String)]) -> Request<'a> {
        let (method, rest) = text.split_once(' ').unwrap();
        let mut request = Request { method, path: String::new(), headers: String::new(), body: String::new() };
        let fill = |text: &str| times.iter().fold(text.to_owned(), |text, (name, time)| text.replace(name, time));
        let mut path = rest;
        for (mark, content_type) in
            [(" FORM ", "application/x-www-form-urlencoded"), (" TEXT ", "text/plain"), (" JSON ", "application/json")]
        {
            if let Some((before, body)) = rest.split_once(mark) {
                request.headers = format!("Content-Type: {content_type}\r\n");
                request.body = if mark == " FORM " { encode(&fill(body)) } else { body.to_owned() };
                path = before;
            }
        }
        if let Some((before, header)) = rest.split_once(" WITH ") {
            request.headers = format!("{header}\r\n");
            path = before;
        }
        request.path = encode(&fill(path));
        request
    }

    fn send(&self, base: &str) -> Response {
        let url = format!("{base}{}", self.path);
        // Who answers without reading the body resets the connection, sometimes before the answer was read.
        wait_for(&format!("an answer to {} {url}", self.method), LIMIT, || {
            if self.body.is_empty() && !self.headers.starts_with("Content-Type") {
                http::request(self.method, &url, &self.headers)
            } else {
                http::post_bytes(&url, &self.headers, self.body.as_bytes())
            }
        })
    }
}

/// Characters that a URL or a form cannot hold as they are.
pub fn encode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'{' | b'}' | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'|' | b' ' | 0x80.. => {
                out.push_str(&format!("%{byte:02X}"));
            }
            byte => out.push(byte.into()),
        }
    }
    out
}

impl Observed {
    /// Where two answers part: the first of their parts that differ.
    fn difference(&self, other: &Observed) -> String {
        let texts = [
            ("status", self.status.to_string(), other.status.to_string()),
            ("content type", self.content_type.clone(), other.content_type.clone()),
            ("allow", self.allow.clone(), other.allow.clone()),
            ("location", self.location.clone(), other.location.clone()),
            ("cross-origin headers", self.origins.clone(), other.origins.clone()),
        ];
        let mut found = String::new();
        for (what, ours, theirs) in texts.into_iter().filter(|(_, ours, theirs)| ours != theirs) {
            found.push_str(&format!("  {what}: {ours:?}, theirs {theirs:?}\n"));
        }
        if self.body != other.body {
            found.push_str(&parting("body", &self.body, &other.body));
        }
        found
    }
}

/// The way to the first place where two values differ, and both from there.
fn parting(at: &str, ours: &Value, theirs: &Value) -> String {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            let null = Value::Null;
            let of = |map: &'_ serde_json::Map<String, Value>, key: &String| map.get(key).unwrap_or(&null).clone();
            keys.into_iter()
                .filter(|key| a.get(*key) != b.get(*key))
                .map(|key| parting(&format!("{at}.{key}"), &of(a, key), &of(b, key)))
                .collect()
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let pair = a.iter().zip(b).enumerate().find(|(_, (a, b))| a != b);
            pair.map(|(index, (a, b))| parting(&format!("{at}[{index}]"), a, b)).unwrap_or_default()
        }
        (Value::String(a), Value::String(b)) if a.lines().count() > 3 => {
            let line = a.lines().zip(b.lines()).find(|(a, b)| a != b);
            format!("  {at}: {line:?}, {} and {} lines\n", a.lines().count(), b.lines().count())
        }
        _ => {
            let cut = |value: &Value| value.to_string().chars().take(300).collect::<String>();
            format!("  {at}: {}\n    theirs {}\n", cut(ours), cut(theirs))
        }
    }
}

fn observe(endpoint: &str, reply: &Response, places: &[String]) -> Observed {
    let header = |name: &str| reply.header(name).unwrap_or("").to_owned();
    // A data directory and an address are those of one server.
    let names = ["<dir>", "<address>", "<port>"];
    let text = places.iter().zip(names).fold(reply.text(), |text, (place, name)| text.replace(place.as_str(), name));
    let mut body: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
    if body.get("goVersion").is_some() {
        body = Value::Null;
    }
    mask(endpoint, &mut body);
    // Answers to OPTIONS of ours tell the methods, too.
    let allow = if reply.status == 405 { header("allow") } else { String::new() };
    let allowed: BTreeSet<String> = allow.split(',').map(|m| m.trim().to_owned()).collect();
    let access = ["allow-origin", "allow-headers", "allow-methods", "expose-headers"];
    Observed {
        status: reply.status,
        // What has no body needs no type.
        content_type: if reply.body.is_empty() { String::new() } else { header("content-type") },
        // HEAD is told by us where GET is, and OPTIONS is answered by both.
        allow: allowed.into_iter().filter(|m| !matches!(m.as_str(), "HEAD" | "OPTIONS")).collect::<Vec<_>>().join(" "),
        location: header("location"),
        origins: access.map(|name| header(&format!("access-control-{name}"))).join("|"),
        body,
    }
}

/// Takes out what cannot be the same: times of scrapes, what is told about the process, and the order of what the reference
/// keeps in hash maps.
fn mask(endpoint: &str, body: &mut Value) {
    let sort = |list: Option<&mut Value>| {
        if let Some(list) = list.and_then(Value::as_array_mut) {
            list.sort_by_key(Value::to_string);
        }
    };
    // Each server has metrics of its own.
    if endpoint == "/metrics" {
        *body = Value::Null;
    }
    let cut = body.get("warnings").is_some();
    let Some(data) = body.get_mut("data") else { return };
    match endpoint.strip_prefix("/api/v1").unwrap_or(endpoint) {
        "/series" | "/targets/metadata" | "/admin/tsdb/delete_series" if data.is_array() => sort(Some(data)),
        "/query" if data.get("stats").is_some() => data["stats"]["timings"] = Value::Null,
        "/query_exemplars" if data.is_array() => sort(Some(data)),
        "/metadata" => {
            data.as_object_mut().into_iter().flat_map(|map| map.values_mut()).for_each(|list| sort(Some(list)))
        }
        // Which ones a limit leaves is left to chance there.
        "/labels" | "/label/{name}/values" if cut => *data = Value::from(data.as_array().unwrap().len()),
        "/targets" | "below a prefix" if data.get("activeTargets").is_some() => {
            for target in data["activeTargets"].as_array_mut().into_iter().flatten() {
                let time = target["lastScrape"].as_str().and_then(|time| time.parse::<jiff::Timestamp>().ok());
                target["lastScrape"] = Value::Bool(time.is_some());
                target["lastScrapeDuration"] = Value::Bool(target["lastScrapeDuration"].is_f64());
                // Each network library has its own words.
                target["lastError"] = Value::Bool(target["lastError"] == "");
            }
            for list in ["activeTargets", "droppedTargets"] {
                for target in data[list].as_array_mut().into_iter().flatten() {
                    // Only later releases tell these, and they change nothing here.
                    let discovered = target["discoveredLabels"].as_object_mut().unwrap();
                    discovered.retain(|name, _| !name.ends_with("_histograms__") && !name.ends_with("_to_nhcb__"));
                }
            }
            sort(data.get_mut("activeTargets"));
            sort(data.get_mut("droppedTargets"));
        }
        "/status/tsdb" => mask_statistics(data),
        "/status/runtimeinfo" | "/status/buildinfo" => {
            // The keys count, and what the flags say.
            let told = data.as_object_mut().unwrap();
            told.remove("application");
            told.iter_mut().filter(|(key, _)| *key != "storageRetention").for_each(|(_, value)| *value = Value::Null);
        }
        "/status/flags" => data.as_object_mut().unwrap().retain(|flag, _| SHARED_FLAGS.contains(&flag.as_str())),
        "/features" => data.as_object_mut().unwrap().retain(|category, _| category.starts_with("promql")),
        "/status/self_metrics" => {
            for family in data.as_array_mut().into_iter().flatten() {
                family["help"] = Value::Null;
                family["metric"][0]["gauge"]["value"] = Value::Null;
            }
        }
        "/admin/tsdb/snapshot" => data["name"] = Value::Null,
        _ => {}
    }
}

/// Flags that mean the same and have the same default.
const SHARED_FLAGS: &[&str] = &[
    "query.lookback-delta",
    "query.max-concurrency",
    "query.max-samples",
    "query.timeout",
    "web.cors.origin",
    "web.enable-admin-api",
    "web.enable-lifecycle",
    "web.max-connections",
    "web.max-notifications-subscribers",
    "web.read-timeout",
];

/// Scrapes go on, so the newest sample and the last chunks differ. Of entries with the same count the reference shows any,
/// in any order.
fn mask_statistics(data: &mut Value) {
    data["headStats"]["maxTime"] = Value::Null;
    for (_, list) in data.as_object_mut().unwrap().iter_mut().filter(|(key, _)| *key != "headStats") {
        let list = list.as_array_mut().unwrap();
        if list.len() <= 10 {
            list.iter_mut().for_each(|entry| entry["name"] = Value::Null);
        } else {
            list.sort_by_key(|entry| (std::cmp::Reverse(entry["value"].as_u64()), entry["name"].to_string()));
        }
    }
}

fn is_old(version: &str) -> bool {
    let mut numbers = version.split('.').map(|n| n.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) < (Some(3), Some(14))
}

/// Sends everything to both; gives what is wrong.
fn compare(both: &Both, table: &[Endpoint]) -> Vec<String> {
    let old = is_old(&both.peer_version);
    let concerns = |peer: Peer| match peer {
        Peer::Any => true,
        Peer::Old => old,
        Peer::New => !old,
    };
    let places = both.places();
    let mut wrong = Vec::new();
    for (endpoint, requests) in table {
        let mut answered = BTreeSet::new();
        let absent = ABSENT.iter().any(|(path, peer, _)| path == endpoint && concerns(*peer));
        for text in *requests {
            let request = Request::parse(text, &both.times);
            let [ours, theirs] = [(&both.ours, 0), (&both.theirs, 1)]
                .map(|(server, n)| observe(endpoint, &request.send(&server.url), &places[n]));
            if request.method != "OPTIONS" && is_of(endpoint, text) {
                answered.insert(ours.status / 100);
            }
            let known = DIFFERENCES.iter().any(|(row, peer, _)| row == text && concerns(*peer));
            // What is absent there may well be refused alike.
            match (ours == theirs, known) {
                _ if absent => {}
                (true, false) | (false, true) => {}
                (true, true) => wrong.push(format!("{text}\n  does not differ any more: its line goes")),
                (false, false) => wrong.push(format!("{text}\n{}", ours.difference(&theirs))),
            }
        }
        let good_elsewhere = GOOD_ELSEWHERE.iter().any(|(path, _)| path == endpoint);
        if endpoint.starts_with('/') && (answered.contains(&2) == good_elsewhere || !answered.contains(&4)) {
            wrong.push(format!("{endpoint}: good and bad requests are both asked for, answers are {answered:?}00"));
        }
    }
    wrong
}

/// Whether a request goes to an endpoint, and not only near it.
fn is_of(endpoint: &str, request: &str) -> bool {
    let path = request.split([' ', '?']).nth(1).unwrap();
    let (ours, theirs) = (endpoint.split('/'), path.split('/'));
    ours.clone().count() == theirs.clone().count()
        && ours.zip(theirs).all(|(part, asked)| part == asked || part.starts_with('{'))
}

fn assert_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_request_of_the_table_is_answered_as_prometheus_answers_it() {
    let Some(peers) = Peers::find(&["prometheus"]) else { return };
    let flags = [
        "--web.external-url=http://people.example:80/",
        "--web.route-prefix=/",
        "--web.enable-admin-api",
        "--web.enable-lifecycle",
        "--web.enable-remote-write-receiver",
        "--enable-feature=exemplar-storage",
    ];
    let mut both = Both::start(&peers, &flags, "");
    let described = http::get_text(&format!("{}/api/v1/openapi.yaml", both.ours.url)).unwrap();
    let described: BTreeSet<&str> = described
        .lines()
        .filter_map(|line| line.strip_prefix("  /"))
        .filter_map(|line| line.strip_suffix(':'))
        .collect();
    let asked: BTreeSet<&str> = OPEN.iter().filter_map(|(endpoint, _)| endpoint.strip_prefix("/api/v1/")).collect();
    assert_eq!(asked, described, "the table asks every endpoint that the server describes");
    assert_none(&compare(&both, OPEN));
    for server in [&mut both.ours, &mut both.theirs] {
        assert!(server.wait_exit(LIMIT).success(), "who was asked to quit ends well");
    }
}

#[test]
fn prefixes_origins_and_what_is_switched_off_are_as_in_prometheus() {
    let Some(peers) = Peers::find(&["prometheus"]) else { return };
    let flags = ["--web.external-url=http://people.example/mon/", "--web.cors.origin=https://(a|b)\\.example"];
    let both = Both::start(&peers, &flags, "/mon");
    assert_none(&compare(&both, CLOSED));
}

#[test]
fn every_endpoint_is_asked_at_least_five_different_things() {
    for (endpoint, requests) in OPEN.iter().chain(CLOSED) {
        let different: BTreeSet<&str> = requests.iter().copied().collect();
        let own = different.iter().filter(|request| !endpoint.starts_with('/') || is_of(endpoint, request)).count();
        assert!(own >= 5, "{endpoint} is asked {own} things");
    }
    for endpoint in ["/federate", "/metrics", "/version", "/-/healthy", "/-/ready", "/-/reload", "/-/quit"] {
        assert!(OPEN.iter().any(|(path, _)| *path == endpoint), "{endpoint} is not asked");
    }
}

#[test]
fn every_listed_difference_names_a_request_of_the_table() {
    let asked: BTreeSet<&str> = OPEN.iter().chain(CLOSED).flat_map(|(_, requests)| requests.iter().copied()).collect();
    for (request, _, reason) in DIFFERENCES {
        assert!(asked.contains(request), "nobody asks {request}: {reason}");
    }
    for (endpoint, _, _) in ABSENT {
        assert!(OPEN.iter().any(|(path, _)| path == endpoint), "nobody asks {endpoint}");
    }
}
