//! `explain=true` tells what was done for a query, over real servers.

use serde_json::{Value as Json, json};
use watershed::model::{Labels, Value};

use crate::fleet;
use crate::fuzz::data::{START, STEP, Series};
use crate::support::http;
use crate::support::peers::Peers;
use crate::support::process::{Home, Server};

/// A Prometheus with two series.
fn member(peers: &Peers) -> (Home, Server) {
    let series = |n: &str| Series {
        labels: Labels::from_pairs([("__name__", "requests_total"), ("n", n)]),
        samples: (0..40).map(|at| (START + at * STEP, Value::Float(1.0))).collect(),
    };
    fleet::prometheus(peers, &[series("1"), series("2")])
}

/// The exchange with a member.
fn with<'a>(exchanges: &'a Json, member: &str) -> &'a Json {
    let found = exchanges.as_array().and_then(|all| all.iter().find(|one| one["member"] == member));
    found.unwrap_or_else(|| panic!("nothing about {member}: {exchanges}"))
}

/// What is the same every time.
fn told(exchange: &Json) -> Json {
    let keys = ["via", "sent", "series", "samples", "cachedSteps"];
    keys.iter().map(|key| exchange[key].clone()).collect()
}

#[test]
fn explain_tells_the_plan_and_what_came_from_whom_and_how() {
    let Some(peers) = Peers::find(&["prometheus"]) else { return };
    let servers = [member(&peers), member(&peers), member(&peers)];
    let [pushed, read, asked] = [0, 1, 2].map(|at: usize| servers[at].0.address());
    let home = Home::new();
    home.write_config(&format!(
        "target: federation-frontend\nfederation:\n  partial_response: true\n  local: {{name: here}}\n  proxy_targets:\n  - {{name: \
         pushed, url: 'http://{pushed}'}}\n  - {{name: read, url: 'http://{read}', via: remote_read}}\n  - {{name: asked, url: \
         'http://{asked}', via: query}}\n  - {{name: gone, url: 'http://127.0.0.1:1', policy: optional}}\n",
    ));
    let frontend = home.watershed(&[]);
    let ask = |query: &str, explain: &str| -> Json {
        let [start, end, step] = [START, START + 9 * STEP, STEP].map(|ms| format!("{}.{:03}", ms / 1000, ms % 1000));
        let query = [("query", query), ("start", &start), ("end", &end), ("step", &step), ("explain", explain)];
        let answer =
            http::get_text(&http::url(&frontend.url, "/prometheus/api/v1/query_range", &query)).expect("an answer");
        serde_json::from_str(&answer).unwrap_or_else(|e| panic!("{e}: {answer}"))
    };
    // The first question finds out what the members are.
    assert_eq!(ask("sum(rate(requests_total[5m]))", "").get("explain"), None);

    let answer = ask("sum(rate(requests_total[5m]))", "true");
    assert_eq!(answer["status"], "success", "{answer}");
    let explain = &answer["explain"];
    assert_eq!(explain["plan"], "sum(<part 0>)", "{explain}");
    assert_eq!(
        (&explain["parts"][0]["part"], &explain["parts"][0]["expr"]),
        (&json!(0), &json!("sum(rate(requests_total[5m]))"))
    );
    let members = &explain["parts"][0]["members"];
    let pushed = with(members, "pushed");
    // At the first instant there are too few samples for a rate.
    assert_eq!(told(pushed), json!(["pushdown", "sum(rate(requests_total[5m]))", 1, 9, null]), "{explain}");
    let read = with(members, "read");
    assert_eq!(told(read), json!(["remote_read", "{__name__=\"requests_total\"}", 2, 20, null]), "{explain}");
    let asked = with(members, "asked");
    assert_eq!(told(asked), json!(["query", "{__name__=\"requests_total\"}", 2, 20, null]), "{explain}");
    for exchange in [pushed, read, asked] {
        assert!(exchange["receivedBytes"].as_u64() > Some(0), "{explain}");
        assert!(exchange["milliseconds"].as_f64() > Some(0.0), "{explain}");
    }
    assert_eq!(with(members, "here")["via"], "local", "{explain}");
    let gone = with(members, "gone");
    assert!(gone["error"].as_str().is_some_and(|error| !error.is_empty()), "{explain}");

    let again = ask("sum(rate(requests_total[5m]))", "true");
    assert_eq!(again["data"], answer["data"]);
    let pushed = with(&again["explain"]["parts"][0]["members"], "pushed");
    assert_eq!(told(pushed), json!(["cached", "sum(rate(requests_total[5m]))", 1, 9, 10]), "{again}");
    assert_eq!(pushed["receivedBytes"], 0, "{again}");

    // What is evaluated here over all members' samples.
    let explain = &ask("absent(requests_total)", "true")["explain"];
    assert_eq!((&explain["plan"], &explain["parts"]), (&json!("absent(requests_total)"), &json!([])));
    for member in ["pushed", "read"] {
        assert_eq!(with(&explain["samples"], member)["via"], "remote_read", "{explain}");
    }
    assert!(with(&explain["samples"], "gone")["error"].is_string(), "{explain}");
}
