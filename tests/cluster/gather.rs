//! What members tell besides samples, gathered.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use watershed::cluster::{Lists, MemberConfig};
use watershed::storage::{ByteBudget, Scope};

use crate::fleet;
use crate::support::http;
use crate::support::process::{Home, Server};
use crate::support::target::{Target, reply};
use crate::support::wait_for;

const LIMIT: Duration = Duration::from_secs(60);

/// A server that answers each endpoint with fixed data, and remembers what it was asked.
struct Member {
    target: Target,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Member {
    fn start(data: impl Fn(&str) -> Json + Send + Sync + 'static) -> Member {
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = asked.clone();
        let target = Target::start(move |request, stream| {
            let path = request.target.split('?').next().unwrap_or_default().to_owned();
            log.lock().expect("no panic").push(request.target.clone());
            let body = json!({"status": "success", "data": data(&path)}).to_string();
            reply(stream, 200, "application/json", body.as_bytes());
        });
        Member { target, asked }
    }

    /// What it was asked last at an endpoint, decoded.
    fn last(&self, endpoint: &str) -> Option<Vec<(String, String)>> {
        let asked = self.asked.lock().expect("no panic");
        let target = asked.iter().rev().find(|target| target.contains(&format!("/api/v1/{endpoint}")))?;
        let query = target.split_once('?').map_or("", |(_, query)| query);
        Some(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }
}

fn data(path: &str) -> Json {
    let alert = json!({"labels": {"alertname": "Down", "job": "a"}, "annotations": {}, "state": "firing",
        "activeAt": "2026-01-01T00:00:00Z", "value": "1e+00"});
    match path {
        "/api/v1/metadata" => json!({"up": [{"type": "gauge", "help": "h", "unit": ""}],
            "x": [{"type": "counter", "help": "h", "unit": ""}, {"type": "gauge", "help": "h", "unit": ""}]}),
        "/api/v1/query_exemplars" => json!([{"seriesLabels": {"__name__": "x", "region": "own"},
            "exemplars": [{"labels": {"trace_id": "t"}, "value": "6", "timestamp": 1600096945.479}]}]),
        "/api/v1/rules" => json!({"groups": [{"name": "g", "file": "f", "interval": 60, "rules": [
            {"name": "Down", "type": "alerting", "query": "up == 0", "labels": {"severity": "page"}, "alerts": [alert]},
            {"name": "r", "type": "recording", "query": "sum(up)"}]}]}),
        "/api/v1/alerts" => json!({"alerts": [alert]}),
        _ => Json::Null,
    }
}

fn other(path: &str) -> Json {
    match path {
        "/api/v1/metadata" => {
            json!({"up": [{"type": "gauge", "help": "h", "unit": ""}, {"type": "gauge", "help": "i", "unit": ""}]})
        }
        "/api/v1/rules" => json!({"groups": []}),
        "/api/v1/alerts" => json!({"alerts": []}),
        "/api/v1/query_exemplars" => json!([]),
        _ => Json::Null,
    }
}

fn frontend(members: &str) -> (Home, Server) {
    let home = Home::new();
    home.write_config(&format!(
        "auth_enabled: false\nfederation:\n  partial_response: true\n  proxy_targets:\n{members}"
    ));
    let server = home.watershed(&[]);
    (home, server)
}

fn two() -> (Member, Member, (Home, Server)) {
    let (home, cabin) = (Member::start(data), Member::start(other));
    let members = format!(
        "  - {{name: home, url: 'http://{}', labels: {{region: eu}}}}\n  - {{name: cabin, url: 'http://{}', labels: {{region: us}}}}\n",
        home.target.address(),
        cabin.target.address()
    );
    (home, cabin, frontend(&members))
}

fn ask(server: &Server, path: &str, query: &[(&str, &str)]) -> Json {
    http::get_api(&http::url(&server.url, &format!("/prometheus/api/v1/{path}"), query)).expect("an answer")
}

#[test]
fn metadata_of_all_members_are_told_once_and_within_limits() {
    let (home, _cabin, (_dir, server)) = two();
    let [h, i] = ["h", "i"].map(|help| json!({"type": "gauge", "help": help, "unit": ""}));
    let x = json!({"type": "counter", "help": "h", "unit": ""});
    assert_eq!(ask(&server, "metadata", &[]), json!({"up": [h, i], "x": [x, h]}));
    assert_eq!(ask(&server, "metadata", &[("limit", "1")]), json!({"up": [h, i]}));
    assert_eq!(ask(&server, "metadata", &[("limit_per_metric", "1")]), json!({"up": [h], "x": [x]}));
    ask(&server, "metadata", &[("metric", "up")]);
    assert_eq!(home.last("metadata"), Some(vec![("metric".to_owned(), "up".to_owned())]));
}

#[test]
fn exemplars_have_virtual_labels_and_are_asked_of_those_who_can_have_them() {
    let (home, cabin, (_dir, server)) = two();
    let query = "rate(x_bucket{__cluster__=\"home\",a=\"b\"}[5m]) + on () y{region=\"eu\"}";
    let answer = ask(&server, "query_exemplars", &[("query", query), ("start", "1.5"), ("end", "2")]);
    let wanted = json!([{"seriesLabels": {"__cluster__": "home", "__name__": "x", "region": "eu"},
        "exemplars": [{"labels": {"trace_id": "t"}, "value": "6", "timestamp": 1600096945.479}]}]);
    assert_eq!(answer, wanted);
    let asked = home.last("query_exemplars").expect("it was asked");
    let expected =
        [("start", "1.500"), ("end", "2.000"), ("query", "{a=\"b\",__name__=\"x_bucket\"} or {__name__=\"y\"}")];
    let expected: Vec<_> = expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    assert_eq!(asked, expected);
    assert_eq!(cabin.last("query_exemplars"), None, "its series meet neither condition");
    let wrong = http::get(&format!("{}/prometheus/api/v1/query_exemplars?query=up&start=2&end=1", server.url));
    assert_eq!(wrong.expect("an answer").status, 400);
}

#[test]
fn rules_and_alerts_tell_their_cluster() {
    let (home, cabin, (_dir, server)) = two();
    let filters = [
        ("type", "alert"),
        ("rule_name[]", "Down"),
        ("file[]", "f"),
        ("rule_group[]", "g"),
        ("exclude_alerts", "false"),
    ];
    let answer = ask(&server, "rules", &filters);
    let group = &answer["groups"][0];
    assert_eq!((&group["cluster"], &group["name"]), (&json!("home"), &json!("g")), "{answer}");
    let rule = &group["rules"][0];
    assert_eq!(rule["labels"], json!({"severity": "page", "__cluster__": "home", "region": "eu"}));
    let dressed = json!({"alertname": "Down", "job": "a", "__cluster__": "home", "region": "eu"});
    assert_eq!(rule["alerts"][0]["labels"], dressed);
    assert_eq!(group["rules"][1]["labels"], json!({"__cluster__": "home", "region": "eu"}));
    let asked = home.last("rules").expect("it was asked");
    for (name, value) in filters {
        assert!(asked.contains(&(name.to_owned(), value.to_owned())), "{name}: {asked:?}");
    }
    assert_eq!(ask(&server, "alerts", &[])["alerts"][0]["labels"], dressed);

    cabin.asked.lock().expect("no panic").clear();
    ask(&server, "rules", &[("match[]", "{region=\"eu\"}")]);
    assert_eq!(home.last("rules"), Some(Vec::new()), "what is decided need not be asked");
    assert_eq!(cabin.last("rules"), None);
    ask(&server, "rules", &[("match[]", "{__cluster__=\"cabin\",severity=\"page\"}")]);
    assert_eq!(cabin.last("rules"), Some(vec![("match[]".to_owned(), "{severity=\"page\"}".to_owned())]));
    let wrong = http::get(&format!("{}/prometheus/api/v1/rules?type=x", server.url)).expect("an answer");
    assert_eq!(wrong.status, 400);
}

#[test]
fn a_member_that_fails_is_named_by_policy() {
    let good = Member::start(data);
    let bad = Target::start(|_, stream| reply(stream, 500, "text/plain", b"no"));
    for (policy, status) in [("optional", 200), ("required", 422)] {
        let members = format!(
            "  - {{name: home, url: 'http://{}'}}\n  - {{name: cabin, url: 'http://{}', policy: {policy}}}\n",
            good.target.address(),
            bad.address()
        );
        let (_dir, server) = frontend(&members);
        for path in ["metadata", "query_exemplars?query=up", "rules", "alerts"] {
            let answer = http::get(&format!("{}/prometheus/api/v1/{path}", server.url)).expect("an answer");
            assert_eq!(answer.status, status, "{path}: {}", answer.text());
            let answer: Json = serde_json::from_str(&answer.text()).expect("JSON");
            let told = if policy == "optional" { &answer["warnings"][0] } else { &answer["error"] };
            assert!(
                told.as_str().is_some_and(|told| told.contains("cabin: ") && told.contains("500")),
                "{path}: {answer}"
            );
        }
    }
}

#[test]
fn lists_are_asked_for_once_by_each_client_and_only_complete_ones_are_kept() {
    let home = Member::start(|path| match path {
        "/api/v1/label/a/values" => json!(["x"]),
        "/api/v1/metadata" => data(path),
        _ => Json::Null,
    });
    let members = format!("  - {{name: home, url: 'http://{}'}}\n", home.target.address());
    let (_dir, server) = frontend(&members);
    let asked = |endpoint: &str| {
        let asked = home.asked.lock().expect("no panic");
        asked.iter().filter(|target| target.contains(endpoint)).count()
    };
    let now = 1_700_000_000;
    for shift in [0, 1, 2] {
        let (start, end) = ((now - 7200 + shift).to_string(), (now + shift).to_string());
        assert_eq!(ask(&server, "label/a/values", &[("start", &start), ("end", &end)]), json!(["x"]));
        ask(&server, "metadata", &[("limit", &shift.to_string())]);
    }
    assert_eq!((asked("/label/a/values"), asked("/metadata")), (1, 1));
    let other = format!("{}/prometheus/api/v1/metadata", server.url);
    http::request("GET", &other, "Authorization: Bearer another\r\n").expect("an answer");
    assert_eq!(asked("/metadata"), 2, "what one was told is not told to another");
    let down = "  - {name: down, url: 'http://127.0.0.1:1', policy: optional}\n";
    let (_dir, server) = frontend(&format!("{members}{down}"));
    for _ in 0..2 {
        ask(&server, "label/a/values", &[]);
    }
    assert_eq!(asked("/label/a/values"), 3, "somebody was missing");
}

/// A pair whose servers are told apart by the label `replica`, and where samples are of some time only.
fn pair(first: &Member, second: &Member, further: &str) -> (Home, Server) {
    let urls = [first, second].map(|member| format!("'http://{}'", member.target.address())).join(", ");
    frontend(&format!("  - {{name: home, replicas: [{urls}], replica_labels: [replica]{further}}}\n"))
}

/// What one of a pair has: what both have, and what only it has.
fn replica(own: &'static str) -> Member {
    Member::start(move |path| match path {
        "/api/v1/labels" => json!(["__name__", "replica", own]),
        "/api/v1/label/job/values" => json!(["both", own]),
        "/api/v1/series" => {
            json!([{"__name__": "up", "replica": own}, {"__name__": "only", "replica": own, "job": own}])
        }
        "/api/v1/metadata" => json!({own: [{"type": "gauge", "help": "h", "unit": ""}]}),
        "/api/v1/query_exemplars" => {
            let exemplar = |id: &str, t: f64| json!({"labels": {"trace_id": id}, "value": "1", "timestamp": t});
            json!([{"seriesLabels": {"__name__": "x", "replica": own},
                "exemplars": [exemplar("both", 5.0), exemplar(own, 7.0)]}])
        }
        "/api/v1/alerts" => json!({"alerts": [{"labels": {"alertname": "A", "replica": "1"}},
            {"labels": {"alertname": "A", "replica": "2"}}]}),
        _ => Json::Null,
    })
}

#[test]
fn lists_of_a_pair_are_those_of_both_without_what_tells_them_apart() {
    let (first, second) = (replica("a"), replica("b"));
    let (_dir, server) = pair(&first, &second, "");
    assert_eq!(ask(&server, "labels", &[]), json!(["__cluster__", "__name__", "a", "b"]));
    assert_eq!(ask(&server, "label/job/values", &[]), json!(["a", "b", "both"]));
    assert_eq!(ask(&server, "label/replica/values", &[]), json!([]), "nobody sees it");
    assert_eq!(ask(&server, "label/__cluster__/values", &[]), json!(["home"]));
    let only = |own: &str| json!({"__cluster__": "home", "__name__": "only", "job": own});
    let up = json!({"__cluster__": "home", "__name__": "up"});
    assert_eq!(ask(&server, "series", &[("match[]", "{__name__=~\"up|only\"}")]), json!([only("a"), only("b"), up]));
    let metadata = ask(&server, "metadata", &[]);
    assert_eq!(
        metadata.as_object().map(|all| all.keys().cloned().collect()),
        Some(vec!["a".to_owned(), "b".to_owned()])
    );
    let told = ask(&server, "query_exemplars", &[("query", "x")]);
    assert_eq!(told[0]["seriesLabels"], json!({"__cluster__": "home", "__name__": "x"}), "{told}");
    let ids = told[0]["exemplars"].as_array().expect("exemplars").iter().map(|one| one["labels"]["trace_id"].clone());
    assert_eq!(
        (ids.collect::<Vec<_>>(), told.as_array().map(Vec::len)),
        (vec![json!("both"), json!("a"), json!("b")], Some(1))
    );
    let alerts = ask(&server, "alerts", &[])["alerts"].take();
    assert_eq!(alerts, json!([{"labels": {"alertname": "A", "__cluster__": "home"}}]));
}

#[test]
fn conditions_on_what_tells_a_pair_apart_are_decided_before_it_is_asked() {
    let (first, second) = (replica("a"), replica("b"));
    let (_dir, server) = pair(&first, &second, "");
    ask(&server, "label/job/values", &[("match[]", "up{replica=\"\"}")]);
    assert_eq!(second.last("label/job/values"), Some(vec![("match[]".to_owned(), "{__name__=\"up\"}".to_owned())]));
    assert_eq!(ask(&server, "series", &[("match[]", "up{replica=\"a\"}")]), json!([]));
    assert_eq!((first.last("series"), second.last("series")), (None, None));
    assert_eq!(ask(&server, "query_exemplars", &[("query", "x{replica=\"a\"}")]), json!([]));
}

#[test]
fn a_pair_of_which_one_is_down_is_answered_with_a_remark_and_not_kept() {
    let (first, bad) = (replica("a"), Target::start(|_, stream| reply(stream, 500, "text/plain", b"no")));
    let urls = format!("'http://{}', 'http://{}'", bad.address(), first.target.address());
    let (_dir, server) = frontend(&format!("  - {{name: home, replicas: [{urls}]}}\n"));
    for _ in 0..2 {
        let answer = http::get(&format!("{}/prometheus/api/v1/label/job/values", server.url)).expect("an answer");
        let answer: Json = serde_json::from_str(&answer.text()).expect("JSON");
        assert_eq!(answer["data"], json!(["a", "both"]));
        let remark = answer["infos"][0].as_str().unwrap_or_default();
        assert!(remark.contains("home: replica 1 is left out") && remark.contains("500"), "{answer}");
    }
    let asked = first.asked.lock().expect("no panic").iter().filter(|target| target.contains("/label/job/")).count();
    assert_eq!(asked, 2, "somebody was missing");
}

#[test]
fn lists_are_asked_of_who_has_samples_of_that_time() {
    let (first, second) = (replica("a"), replica("b"));
    let bounds = ", min_time: '2026-01-01T00:00:00Z', max_time: '2026-02-01T00:00:00Z'";
    let (_dir, server) = pair(&first, &second, bounds);
    let (min, max) = ("1767225600", "1769904000");
    for (start, end) in [("1767000000", "1767225500"), ("1769904100", "1770000000")] {
        assert_eq!(ask(&server, "label/job/values", &[("start", start), ("end", end)]), json!([]));
        assert_eq!(ask(&server, "query_exemplars", &[("query", "x"), ("start", start), ("end", end)]), json!([]));
    }
    assert_eq!((first.last("label/job/values"), second.last("query_exemplars")), (None, None));
    let sent = |times: &[(&str, &str)]| {
        ask(&server, "label/job/values", times);
        let asked = first.last("label/job/values").expect("it was asked");
        let value = |name: &str| asked.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone());
        (value("start"), value("end"))
    };
    let (min, max) = (Some(format!("{min}.000")), Some(format!("{max}.000")));
    assert_eq!(sent(&[]), (min.clone(), max.clone()));
    assert_eq!(sent(&[("start", "1767000000"), ("end", "1768000020")]), (min, Some("1768000020.000".to_owned())));
    assert_eq!(sent(&[("start", "1768000020"), ("end", "1790000010")]), (Some("1768000020.000".to_owned()), max));
}

#[test]
fn what_members_have_listed_is_charged_until_the_request_is_over_and_bounded_for_all_together() {
    let values: Vec<String> = (0..2000).map(|n| format!("{n:0100}")).collect();
    let members: Vec<Member> = (0..3)
        .map(|_| {
            let values = json!(values);
            Member::start(move |path| if path == "/api/v1/label/a/values" { values.clone() } else { Json::Null })
        })
        .collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let _entered = runtime.enter();
    let source = |(number, member): (usize, &Member)| {
        fleet::source(MemberConfig::new(number.to_string(), fleet::url(&member.target.address(), "")))
    };
    let frontend = fleet::over(members.iter().enumerate().map(source).collect());
    let budget = Arc::new(ByteBudget::new(u64::MAX));
    let list = |max_bytes| {
        let scope = Scope::within(Some(budget.clone()), Some(Instant::now() + LIMIT), u64::MAX, max_bytes);
        let listed = runtime.block_on(frontend.label_values("a", &Lists::default(), &scope));
        (listed.map(|(all, _)| all.len()).map_err(|e| e.to_string()), scope)
    };
    let all = 3 * 2000 * 100;
    let (listed, scope) = list(64 << 20);
    assert_eq!(listed, Ok(values.len()));
    assert!(budget.held() >= all, "{} bytes are charged for {all}", budget.held());
    drop(scope);
    assert_eq!(budget.held(), 0);
    let (listed, scope) = list(all);
    assert!(listed.as_ref().is_err_and(|error| error.contains("bytes of memory")), "{listed:?}");
    drop(scope);
    wait_for("everything to be given back", LIMIT, || match budget.held() {
        0 => Ok(()),
        held => Err(format!("{held} bytes are held")),
    });
}
