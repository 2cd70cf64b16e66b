//! Members that are down, slow, silent or lie: the others' answer comes in time, by policy with a warning or as an error that
//! names the member, and nothing remains of it.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use url::Url;
use watershed::cluster::{
    CLUSTER, FederationConfig, Frontend, Member, MemberConfig, MemberMetrics, Policy, Reads, Sender, Source, Via,
};
use watershed::model::{AnnotationKind, Labels, Matcher, TimestampMs};
use watershed::net::header::{AUTHORIZATION, HeaderValue};
use watershed::promql::{Answer, Engine, EngineOptions, Outcome, Point, Span};
use watershed::remote::read::{self, Deps, Endpoint, EndpointConfig, Limits, Query, ReadRequest, ResponseKind};
use watershed::runtime::Tasks;
use watershed::storage::memory::MemoryStore;
use watershed::storage::{Appendable as _, ByteBudget, FloatSample, Scope, TimeRange};
use watershed::telemetry::Registry;

use crate::support::process::Home;
use crate::support::target::{Request, Target, reply};
use crate::support::{http, wait_for};

const AT: TimestampMs = TimestampMs(1_700_000_000_000);
const TIMEOUT: Duration = Duration::from_millis(500);
const LIMIT: Duration = Duration::from_secs(60);
const BYTES: u64 = 64 << 20;
const GOOD: &str =
    r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"a":"b"},"value":[1700000000,"7"]}]}}"#;

/// What a bad member does with a connection that has sent a request.
type Behaviour = fn(&mut TcpStream);

fn json(stream: &mut TcpStream, body: &str) {
    reply(stream, 200, "application/json", body.as_bytes());
}

/// Waits until the other side has gone.
fn hang(stream: &mut TcpStream) {
    // Whatever this brings, it is the end.
    let _ = std::io::copy(stream, &mut std::io::sink());
}

fn send(stream: &mut TcpStream, text: &str) {
    // A client that went away is what is wanted.
    let _ = stream.write_all(text.as_bytes());
}

fn endless(stream: &mut TcpStream, head: &str, piece: &[u8]) {
    send(stream, head);
    while stream.write_all(piece).is_ok() {}
}

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";

/// Every way to fail, and what the sentence about it has to say.
const WAYS: [(&str, Behaviour); 15] = [
    ("slow", |stream| {
        std::thread::sleep(Duration::from_secs(5));
        json(stream, GOOD);
    }),
    ("never answers", hang),
    ("sends a head and then nothing", |stream| {
        send(stream, &format!("{HEAD}Content-Length: 100\r\n\r\n"));
        hang(stream);
    }),
    ("sends half of a head and then nothing", |stream| {
        send(stream, "HTTP/1.1 200 OK\r\nContent-");
        hang(stream);
    }),
    ("trickles", |stream| {
        send(stream, &format!("{HEAD}Content-Length: 100000\r\n\r\n"));
        while stream.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    }),
    ("answers 500", |stream| reply(stream, 500, "text/plain", b"out of order")),
    ("says what is no HTTP", |stream| send(stream, "SSH-2.0-OpenSSH_9.9\r\n")),
    ("says what is no JSON", |stream| json(stream, "<html>it works</html>")),
    ("says JSON that is no answer", |stream| {
        json(stream, r#"{"status":"success","data":{"resultType":"vector","result":7}}"#)
    }),
    ("answers for another time", |stream| json(stream, &GOOD.replace("1700000000", "1700000001"))),
    ("ends within the body", |stream| {
        send(stream, &format!("{HEAD}Content-Length: 1000\r\n\r\n{GOOD}"));
    }),
    ("ends within a chunk", |stream| {
        send(stream, &format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n400\r\n{GOOD}"));
    }),
    ("sends without end", |stream| {
        endless(stream, &format!("{HEAD}\r\n{{\"status\":\""), &[b'x'; 1 << 16]);
    }),
    ("closes at once", |_| {}),
    ("is out of order and says so as the API does", |stream| {
        reply(stream, 503, "application/json", br#"{"status":"error","errorType":"unavailable","error":"stopping"}"#);
    }),
];

/// What a server tells about itself.
fn introduce(request: &Request, stream: &mut TcpStream) -> bool {
    let path = request.target.split('?').next().unwrap_or_default();
    match path.rsplit_once("/api/v1/").map_or("", |(_, endpoint)| endpoint) {
        "status/buildinfo" => {
            json(stream, r#"{"status":"success","data":{"version":"3.5.3","revision":"x","goVersion":"go1"}}"#);
        }
        "status/config" => json(stream, r#"{"status":"success","data":{"yaml":"global: {}"}}"#),
        // A request without queries asks whether there is remote read.
        "read" if request.header("Content-Length") == "1" => reply(stream, 200, "application/x-protobuf", b"\0"),
        _ => return false,
    }
    true
}

/// Answers as a Prometheus 2 that has [`send_samples`]; false if it is asked to evaluate.
fn is_read_of_prometheus_2(request: &Request, stream: &mut TcpStream) -> bool {
    if request.target.ends_with("/buildinfo") {
        json(stream, r#"{"status":"success","data":{"version":"2.53.5","revision":"x","goVersion":"go1"}}"#);
        return true;
    }
    if introduce(request, stream) {
        return true;
    }
    let is_read = request.target.ends_with("/api/v1/read");
    if is_read {
        send_samples(stream);
    }
    is_read
}

/// Answers a remote read with the sample at [`AT`].
fn send_samples(stream: &mut TcpStream) {
    let selector = vec![Matcher::equal("__name__", "up")];
    let request =
        ReadRequest { queries: vec![Query { range: TimeRange::ALL, selector, hints: None }], accepted: vec![] };
    let (scope, external, store) = (Scope::unbounded(), Labels::empty(), store());
    let source = read::Source { storage: &*store, scope: &scope, external: &external };
    let limits = Limits { samples: None, streamed_samples: None, bytes: None, frame: 1 << 20 };
    let mut body = Vec::new();
    let mut take = |piece: &mut Vec<u8>| {
        body.append(piece);
        Ok(())
    };
    read::serve(ResponseKind::Samples, &request, source, &limits, &mut take).expect("an answer");
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\nContent-Length: \
         {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
}

/// A member with one series, `up{a="b"} 7`.
fn good() -> Target {
    Target::start(|request, stream| {
        if introduce(request, stream) {
            return;
        }
        if request.target.ends_with("/api/v1/read") { send_samples(stream) } else { json(stream, GOOD) }
    })
}

fn store() -> Arc<MemoryStore> {
    let store = MemoryStore::new();
    let mut appender = store.appender();
    let series = appender.series(&Labels::from_pairs([("__name__", "up"), ("a", "b")])).expect("a series");
    appender.append(&[FloatSample { series, t: AT, v: 7.0 }]).expect("a sample");
    appender.commit().expect("kept");
    Arc::new(store)
}

/// From when on a bad member is bad.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bad {
    Always,
    /// It tells about itself before.
    WhenAsked,
}

fn bad(behaviour: Behaviour, when: Bad) -> Target {
    Target::start(move |request, stream| {
        if when == Bad::Always || !introduce(request, stream) {
            behaviour(stream);
        }
    })
}

/// An address where somebody takes connections and never answers.
pub fn silent() -> String {
    bad(hang, Bad::Always).address()
}

/// An address where nobody listens any more.
pub fn down() -> String {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").to_string()
}

/// A member as it is configured.
fn member(name: &str, address: &str, policy: Policy, via: Via, tasks: &Tasks) -> Source {
    let url = |path: &str| Url::parse(&format!("http://{address}{path}")).expect("a URL");
    let registry = Registry::new();
    let config = MemberConfig { policy, via, ..MemberConfig::new(name, url("")) };
    let member = Member::new(config, 3, 16, MemberMetrics::new(&registry, name)).expect("a member");
    let read = EndpointConfig { name: name.to_owned(), read_recent: true, ..EndpointConfig::new(url("/api/v1/read")) };
    let deps = Deps { registry, tasks: tasks.clone(), local_start: Arc::new(|| TimestampMs(0)) };
    let reads = Reads::Remote(vec![Box::new(Endpoint::new(read, deps).expect("an endpoint"))]);
    Source { member: Arc::new(member), reads }
}

/// A member whose samples are here.
fn local(name: &str) -> Source {
    let member = Member::local(name, &Labels::empty(), MemberMetrics::new(&Registry::new(), name)).expect("a member");
    Source { member: Arc::new(member), reads: Reads::Local(store()) }
}

struct Fleet {
    runtime: Runtime,
    frontend: Arc<Frontend>,
    engine: Engine,
    budget: Arc<ByteBudget>,
    tasks: Tasks,
}

impl Fleet {
    /// A good member and a bad one.
    fn new(bad: &str, policy: Policy, via: Via) -> Fleet {
        let runtime = Runtime::new().expect("a runtime starts");
        let entered = runtime.enter();
        let tasks = Tasks::new();
        let config =
            FederationConfig { partial_response: true, max_response_bytes: 8 << 20, ..FederationConfig::default() };
        let good = match via {
            Via::Pushdown => member("good", &good().address(), Policy::Required, via, &tasks),
            _ => local("good"),
        };
        let members = vec![member("bad", bad, policy, via, &tasks), good];
        let frontend = Arc::new(Frontend::new(&config, members, tasks.clone()).expect("few labels"));
        drop(entered);
        let (engine, budget) = (Engine::new(EngineOptions::default()), Arc::new(ByteBudget::new(u64::MAX)));
        Fleet { runtime, frontend, engine, budget, tasks }
    }

    /// Evaluates a query, and tells how long that took.
    fn ask(&self, text: &str) -> (Outcome, Scope, Duration) {
        let started = Instant::now();
        let deadline = started.checked_add(TIMEOUT).expect("a time");
        let scope = Scope::within(Some(self.budget.clone()), Some(deadline), u64::MAX, BYTES);
        let outcome =
            self.frontend.run(&self.engine, text, Span::Instant(AT), &Sender::default(), &scope).expect("a query");
        (outcome, scope, started.elapsed())
    }

    /// Waits until nothing is charged any more, and until no task is left.
    fn settle(self, what: &str) {
        let limit = LIMIT;
        let budget = self.budget.clone();
        wait_for(&format!("{what}: everything to be given back"), limit, || match budget.held() {
            0 => Ok(()),
            held => Err(format!("{held} bytes are held")),
        });
        assert!(self.runtime.block_on(self.tasks.shutdown(limit)), "{what}: tasks are left");
    }
}

/// Tells by how much threads wake too late while the machine is loaded.
struct Lateness {
    most: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
}

impl Lateness {
    fn watch() -> Lateness {
        let (most, is_over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (noted, over) = (most.clone(), is_over.clone());
        std::thread::spawn(move || {
            let nap = Duration::from_millis(2);
            while !over.load(Ordering::Relaxed) {
                let started = Instant::now();
                std::thread::sleep(nap);
                let late = started.elapsed().saturating_sub(nap);
                noted.fetch_max(u64::try_from(late.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
        });
        Lateness { most, is_over }
    }

    /// Several threads take part in a query one after the other; each may wake so late.
    fn slack(self) -> Duration {
        self.is_over.store(true, Ordering::Relaxed);
        Duration::from_millis(self.most.load(Ordering::Relaxed)) * 5
    }
}

/// Asks until an answer has come in time, at most a few times: other processes may take the machine for themselves.
fn in_time(fleet: &Fleet, what: &str, query: &str) -> (Outcome, Scope) {
    let mut took = Vec::new();
    for _ in 0..3 {
        let lateness = Lateness::watch();
        let (outcome, scope, elapsed) = fleet.ask(query);
        let allowed = TIMEOUT + Duration::from_millis(100) + lateness.slack();
        if elapsed <= allowed {
            return (outcome, scope);
        }
        took.push(format!("{elapsed:?} of {allowed:?}"));
    }
    panic!("{what}: the answer never came in time: {took:?}");
}

/// Every way to fail, from the beginning and later.
fn addresses() -> Vec<(String, String)> {
    let bad =
        |(name, behaviour): &(&str, Behaviour), when| (format!("{name}, {when:?}"), bad(*behaviour, when).address());
    let all = WAYS.iter().flat_map(|way| [bad(way, Bad::Always), bad(way, Bad::WhenAsked)]);
    all.chain([("is down".to_owned(), down())]).collect()
}

fn each_way(check: impl Fn(&str, &Fleet, &str), policy: Policy) {
    for (name, address) in addresses() {
        for via in [Via::Pushdown, Via::RemoteRead] {
            let what = format!("a member that {name}, {via:?}");
            let fleet = Fleet::new(&address, policy, via);
            for query in ["up", "sum(up)"] {
                check(&format!("{what}, {query}"), &fleet, query);
            }
            fleet.settle(&what);
        }
    }
}

fn values(outcome: &Outcome) -> Vec<(Labels, f64)> {
    match outcome.answer.as_ref().expect("an answer") {
        Answer::Vector(_, all) => all
            .iter()
            .map(|sample| match sample.value {
                Point::Float(v) => (sample.labels.clone(), v),
                Point::Histogram(_) => panic!("a histogram"),
            })
            .collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn without_an_optional_member_the_others_answer_in_time_and_a_warning_names_it() {
    let check = |what: &str, fleet: &Fleet, query: &str| {
        let (outcome, _scope) = in_time(fleet, what, query);
        let all = values(&outcome);
        assert_eq!(all.iter().map(|(_, v)| *v).collect::<Vec<_>>(), [7.0], "{what}");
        if query == "up" {
            assert_eq!(all[0].0.get(CLUSTER), Some("good"), "{what}");
        }
        let warnings: Vec<String> = outcome.annotations.of(AnnotationKind::Warning).map(ToString::to_string).collect();
        assert_eq!(warnings.len(), 1, "{what}: {warnings:?}");
        assert!(warnings[0].starts_with("bad: left out of the answer: "), "{what}: {warnings:?}");
    };
    each_way(check, Policy::Optional);
}

#[test]
fn without_a_required_member_there_is_an_error_in_time_that_names_it_and_nothing_stays_charged() {
    let check = |what: &str, fleet: &Fleet, query: &str| {
        let (outcome, scope) = in_time(fleet, what, query);
        let error = outcome.answer.expect_err("an error").to_string();
        assert!(error.contains("member bad: "), "{what}: {error}");
        wait_for(&format!("{what}: the scope to be as before"), LIMIT, || match BYTES - scope.bytes_left() {
            0 => Ok(()),
            held => Err(format!("{held} bytes are charged")),
        });
    };
    each_way(check, Policy::Required);
}

#[test]
fn what_needs_all_members_samples_does_without_an_optional_one() {
    for (name, address) in addresses() {
        let fleet = Fleet::new(&address, Policy::Optional, Via::RemoteRead);
        let (outcome, scope) = in_time(&fleet, &name, "absent(up{a=\"c\"})");
        assert_eq!(values(&outcome).len(), 1, "{name}");
        assert_eq!(outcome.annotations.of(AnnotationKind::Warning).count(), 1, "{name}: {:?}", outcome.annotations);
        drop((outcome, scope));
        fleet.settle(&name);
    }
}

/// What is read here was begun only when the silent member had used up all time.
#[test]
fn samples_are_read_while_a_member_that_evaluates_is_silent() {
    let (runtime, tasks) = (Runtime::new().expect("a runtime starts"), Tasks::new());
    let entered = runtime.enter();
    let silent = bad(hang, Bad::WhenAsked);
    let slow = Target::start(|request, stream| {
        if introduce(request, stream) {
            return;
        }
        if request.target.ends_with("/api/v1/read") {
            std::thread::sleep(Duration::from_millis(200));
            send_samples(stream);
        } else {
            let histogram = GOOD.replace("\"value\":[1700000000,\"7\"]", "\"histogram\":[1700000000,{}]");
            json(stream, &histogram);
        }
    });
    let members = vec![
        member("silent", &silent.address(), Policy::Optional, Via::Pushdown, &tasks),
        member("slow", &slow.address(), Policy::Required, Via::Pushdown, &tasks),
        local("here"),
    ];
    let config = FederationConfig { partial_response: true, ..FederationConfig::default() };
    let frontend = Arc::new(Frontend::new(&config, members, tasks.clone()).expect("few labels"));
    drop(entered);
    let (engine, budget) = (Engine::new(EngineOptions::default()), Arc::new(ByteBudget::new(u64::MAX)));
    let fleet = Fleet { runtime, frontend, engine, budget, tasks };
    let (outcome, scope) = in_time(&fleet, "a silent member", "up");
    assert_eq!(values(&outcome).len(), 2, "{:?}", outcome.annotations);
    drop((outcome, scope));
    fleet.settle("a silent member");
}

#[test]
fn who_is_out_of_order_once_is_asked_again_and_who_has_given_the_query_up_is_not() {
    for (kind, wanted) in [("unavailable", 2), ("timeout", 1)] {
        let asked = Arc::new(AtomicU64::new(0));
        let counted = asked.clone();
        let server = Target::start(move |request, stream| {
            if introduce(request, stream) {
                return;
            }
            match counted.fetch_add(1, Ordering::Relaxed) {
                0 => {
                    let error = format!(r#"{{"status":"error","errorType":"{kind}","error":"not now"}}"#);
                    reply(stream, 503, "application/json", error.as_bytes());
                }
                _ => json(stream, GOOD),
            }
        });
        let fleet = Fleet::new(&server.address(), Policy::Optional, Via::Pushdown);
        let scope = Scope::new(None, u64::MAX, BYTES);
        let run = fleet.frontend.run(&fleet.engine, "up", Span::Instant(AT), &Sender::default(), &scope);
        let outcome = run.expect("a query");
        let remarks: Vec<String> = outcome.annotations.of(AnnotationKind::Warning).map(ToString::to_string).collect();
        assert_eq!(asked.load(Ordering::Relaxed), wanted, "{kind}: {remarks:?}");
        assert_eq!((values(&outcome).len(), remarks.len()), if wanted == 2 { (2, 0) } else { (1, 1) }, "{remarks:?}");
        assert!(remarks.iter().all(|remark| remark.ends_with("timeout: not now")), "{remarks:?}");
    }
}

/// What is asked beside was waited for until the query had no time left.
#[test]
fn who_does_not_tell_its_configuration_answers_queries() {
    for endpoint in ["status/config", "read"] {
        let server = Target::start(move |request, stream| {
            if request.target.ends_with(endpoint) {
                hang(stream);
            } else if !introduce(request, stream) {
                json(stream, GOOD);
            }
        });
        let fleet = Fleet::new(&server.address(), Policy::Required, Via::Pushdown);
        let deadline = Instant::now().checked_add(Duration::from_secs(10));
        let scope = Scope::new(deadline, u64::MAX, BYTES);
        let run = fleet.frontend.run(&fleet.engine, "up", Span::Instant(AT), &Sender::default(), &scope);
        let outcome = run.expect("a query");
        assert_eq!(values(&outcome).len(), 2, "{endpoint} hangs: {:?}", outcome.annotations);
    }
}

/// It was taken for a server that can do nothing, for everybody and for minutes.
#[test]
fn who_may_not_ask_a_member_does_not_decide_what_it_can_do() {
    for status in [401, 403] {
        let server = Target::start(move |request, stream| {
            if request.header("Authorization") != "Bearer right" {
                // Some are told who it is, and nothing else.
                if status == 401 || !request.target.ends_with("/buildinfo") {
                    return reply(stream, status, "text/plain", b"no");
                }
            }
            if !is_read_of_prometheus_2(request, stream) {
                reply(stream, 500, "text/plain", b"a Prometheus 2 is read");
            }
        });
        let ask = |fleet: &Fleet, token: &str| {
            let value = HeaderValue::from_str(&format!("Bearer {token}")).expect("a value");
            let sender = Sender { credentials: [(AUTHORIZATION, value)].into_iter().collect(), ..Sender::default() };
            let scope = Scope::new(None, u64::MAX, BYTES);
            fleet.frontend.run(&fleet.engine, "up", Span::Instant(AT), &sender, &scope).expect("a query")
        };
        for before in [&["right", "wrong"][..], &["wrong"]] {
            let fleet = Fleet::new(&server.address(), Policy::Required, Via::Auto);
            for token in before {
                assert_eq!(ask(&fleet, token).answer.is_ok(), *token == "right", "{status}");
            }
            // At once if anybody right has asked before.
            let limit = if before.len() > 1 { Duration::ZERO } else { LIMIT };
            wait_for(&format!("both to answer, {status} after {before:?}"), limit, || {
                match ask(&fleet, "right").answer {
                    Ok(_) => Ok(()),
                    Err(error) => Err(error.to_string()),
                }
            });
        }
    }
}

/// Its windows are closed at their beginning: what it had evaluated was taken for what is evaluated here.
#[test]
fn a_prometheus_2_is_read_and_does_not_evaluate() {
    let evaluated = Arc::new(AtomicU64::new(0));
    let counted = evaluated.clone();
    let server = Target::start(move |request, stream| {
        if !is_read_of_prometheus_2(request, stream) {
            counted.fetch_add(1, Ordering::Relaxed);
            json(stream, GOOD);
        }
    });
    let fleet = Fleet::new(&server.address(), Policy::Required, Via::Auto);
    for text in ["sum(up)", "up", "count_over_time(up[5m])"] {
        let scope = Scope::new(None, u64::MAX, BYTES);
        let run = fleet.frontend.run(&fleet.engine, text, Span::Instant(AT), &Sender::default(), &scope);
        assert!(!values(&run.expect("a query")).is_empty(), "{text}");
        assert_eq!(evaluated.load(Ordering::Relaxed), 0, "{text}");
    }
}

#[test]
fn many_queries_at_once_find_out_once_what_a_member_can_do() {
    let asked = Arc::new(AtomicU64::new(0));
    let counted = asked.clone();
    let server = Target::start(move |request, stream| {
        if request.target.ends_with("/buildinfo") {
            counted.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(200));
        }
        if !introduce(request, stream) {
            json(stream, GOOD);
        }
    });
    let fleet = Fleet::new(&server.address(), Policy::Required, Via::Pushdown);
    std::thread::scope(|threads| {
        for _ in 0..12 {
            threads.spawn(|| {
                let scope = Scope::new(None, u64::MAX, BYTES);
                let run = fleet.frontend.run(&fleet.engine, "up", Span::Instant(AT), &Sender::default(), &scope);
                assert_eq!(values(&run.expect("a query")).len(), 2);
            });
        }
    });
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[test]
fn a_query_given_up_leaves_nothing_behind() {
    for via in [Via::Pushdown, Via::RemoteRead] {
        let fleet = Fleet::new(&bad(hang, Bad::WhenAsked).address(), Policy::Required, via);
        let scope = Scope::within(Some(fleet.budget.clone()), None, u64::MAX, BYTES);
        let other = scope.clone();
        let canceller = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            other.cancel();
        });
        let run = fleet.frontend.run(&fleet.engine, "up", Span::Instant(AT), &Sender::default(), &scope);
        let error = run.expect("a query").answer.expect_err("cancelled");
        assert_eq!(error.to_string(), "the client went away", "{via:?}");
        canceller.join().expect("it ends");
        wait_for("the scope to be as before", LIMIT, || match BYTES - scope.bytes_left() {
            0 => Ok(()),
            held => Err(format!("{held} bytes are charged")),
        });
        drop(scope);
        fleet.settle("a query given up");
    }
}

#[test]
fn more_series_than_allowed_end_the_query() {
    let (runtime, tasks) = (Runtime::new().expect("a runtime starts"), Tasks::new());
    let entered = runtime.enter();
    let servers = [good(), good()];
    let members = ["a", "b"].iter().zip(&servers);
    let members =
        members.map(|(name, server)| member(name, &server.address(), Policy::Required, Via::Pushdown, &tasks));
    let config = FederationConfig { max_fetched_series: 1, ..FederationConfig::default() };
    let frontend = Frontend::new(&config, members.collect(), Tasks::new()).expect("few labels");
    drop(entered);
    let engine = Engine::new(EngineOptions::default());
    let ask = |text: &str| {
        let scope = Scope::new(None, u64::MAX, BYTES);
        let run = frontend.run(&engine, text, Span::Instant(AT), &Sender::default(), &scope);
        run.expect("a query").answer.map(|_| ()).map_err(|e| e.to_string())
    };
    for text in ["up", "absent(up)", "sum(up) + count(up)"] {
        let error = ask(text).expect_err("too many");
        assert_eq!(error, "the query would fetch more than 1 series", "{text}");
    }
}

/// A server with a good member, and bad ones of every kind that may be missing.
fn server(extra: &str, bad: &[(&str, String)]) -> (Home, crate::support::process::Server, Target) {
    let (home, good) = (Home::new(), good());
    let mut members = format!("  - {{name: good, url: 'http://{}', via: pushdown}}\n", good.address());
    for (name, address) in bad {
        members += &format!("  - {{name: {name}, url: 'http://{address}', policy: optional, via: pushdown}}\n");
    }
    home.write_config(&format!(
        "auth_enabled: false\nfederation:\n  partial_response: true\n{extra}  proxy_targets:\n{members}"
    ));
    let server = home.watershed(&[]);
    (home, server, good)
}

fn metric(server: &crate::support::process::Server, name: &str) -> f64 {
    let text = http::get_text(&format!("{}/metrics", server.url)).expect("metrics");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}")).parse().expect("a number")
}

fn count(pid: u32, what: &str) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/{what}")).map_or(0, Iterator::count)
}

#[test]
fn a_thousand_queries_over_bad_members_leave_nothing_behind() {
    let names = ["silent", "head", "refusing", "garbage", "cut", "endless", "closing"];
    let places = [1, 2, 5, 7, 10, 12, 13];
    let bad: Vec<Target> = places.iter().map(|at| bad(WAYS[*at].1, Bad::WhenAsked)).collect();
    let addresses = bad.iter().map(Target::address).chain([down()]);
    let bad: Vec<(&str, String)> = names.into_iter().chain(["down"]).zip(addresses).collect();
    let (_home, server, _good) = server("  max_response_bytes: 1MB\n", &bad);
    let path = "/prometheus/api/v1/query";
    let ask = |timeout: &str, query: &str| {
        let form = [("query", query), ("time", "1700000000"), ("timeout", timeout)];
        let response = http::get(&http::url(&server.url, path, &form)).expect("an answer");
        serde_json::from_str::<serde_json::Value>(&response.text()).expect("JSON")
    };
    let many = |count: usize| {
        let left = std::sync::atomic::AtomicUsize::new(count);
        std::thread::scope(|threads| {
            for _ in 0..16 {
                threads.spawn(|| {
                    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok() {
                        let answer = ask("400ms", "up");
                        if answer["status"] == "success" {
                            assert_eq!(answer["data"]["result"][0]["value"][1], "7", "{answer}");
                            assert_eq!(answer["warnings"].as_array().map(Vec::len), Some(names.len() + 1), "{answer}");
                        }
                    }
                });
            }
        });
    };
    // Threads, pools and caches of allocators come with the first ones.
    many(200);
    let settled = |what: &str, most: usize| {
        wait_for(&format!("{what} to be given back"), LIMIT, || match count(server.pid(), what) {
            few if few <= most => Ok(few),
            many => Err(format!("{many} are left of {most}")),
        })
    };
    let (files, threads, memory) = (settled("fd", 150), count(server.pid(), "task"), server.status_bytes("VmRSS:"));
    many(1000);
    settled("fd", files + 20);
    settled("task", threads);
    let after = server.status_bytes("VmRSS:");
    assert!(after < memory + (48 << 20), "{memory} bytes became {after}");
    assert_eq!(metric(&server, "watershed_engine_queries{view=\"cluster\"}"), 0.0);
    // All places of all members are free: the good one answers at once, and the silent one is asked.
    let answer = ask("5s", "up");
    assert_eq!(answer["data"]["result"][0]["value"][1], "7", "{answer}");
    assert!(!answer["warnings"].to_string().contains("no time was left"), "{answer}");
}

#[test]
fn members_that_hang_keep_nobody_from_local_data() {
    let silent = bad(hang, Bad::Always).address();
    let (_home, server, _good) = server("", &[("silent", silent)]);
    let url = |path: &str| http::url(&server.url, path, &[("query", "1"), ("timeout", "30s")]);
    let over_members = http::url(
        &server.url,
        "/prometheus/api/v1/query",
        &[("query", "up"), ("time", "1700000000"), ("timeout", "20s")],
    );
    let federated = http::url(&server.url, "/federate", &[("match[]", "up"), ("source", "cluster")]);
    for address in [&over_members, &federated] {
        // Far more than there are places.
        for _ in 0..50 {
            let address = address.clone();
            std::thread::spawn(move || drop(http::get(&address)));
        }
    }
    wait_for("all places to be taken", LIMIT, || match metric(&server, "watershed_engine_queries{view=\"cluster\"}") {
        taken if taken >= 40.0 => Ok(()),
        taken => Err(format!("{taken} wait")),
    });
    for path in ["/api/v1/query", "/federate?match[]=up&x=", "/api/v1/label/a/values"] {
        let response = http::get(&url(path)).expect("an answer");
        assert_eq!(response.status, 200, "{path}: {}", response.text());
    }
    assert!(metric(&server, "watershed_engine_queries{view=\"cluster\"}") >= 20.0, "they still hang");
}

#[test]
fn who_is_asked_by_itself_refuses() {
    let home = Home::new();
    home.write_config(&format!(
        "auth_enabled: false\nfederation:\n  proxy_targets:\n  - {{name: self, url: 'http://{}/prometheus'}}\n",
        home.address()
    ));
    let server = home.watershed(&[]);
    for path in
        ["query?query=up", "query?query=absent(up)", "labels", "series?match[]=up", "metadata", "rules", "alerts"]
    {
        let response = http::get(&format!("{}/prometheus/api/v1/{path}", server.url)).expect("an answer");
        let text = response.text();
        assert!(
            text.contains("member self: ") && text.contains("come back to where it was sent from"),
            "{path}: {text}"
        );
    }
    wait_for("the log to tell", LIMIT, || {
        match server.log().contains("a member of the cluster is this server itself") {
            true => Ok(()),
            false => Err("it does not"),
        }
    });
    let members = http::get_api(&format!("{}/prometheus/api/v1/federation/members", server.url)).expect("an answer");
    assert_eq!(members[0]["replicas"][0]["isSelf"], true, "{members}");
}

#[test]
fn what_is_known_of_members_is_told() {
    let silent = bad(WAYS[5].1, Bad::WhenAsked);
    let (_home, server, _good) = server("", &[("refusing", silent.address()), ("down", down())]);
    let members = || http::get_api(&format!("{}/prometheus/api/v1/federation/members", server.url)).expect("an answer");
    wait_for("the version to be told before anybody asks", LIMIT, || {
        let members = members();
        let good = &members[0]["replicas"][0];
        let is_told = good["version"] == "3.5.3" && good["capabilities"].is_null();
        if is_told { Ok(()) } else { Err(members.to_string()) }
    });
    let form = [("query", "up"), ("time", "1700000000")];
    http::get_api(&http::url(&server.url, "/prometheus/api/v1/query", &form)).expect("an answer");
    let members = members();
    let [good, refusing, down] = [0, 1, 2].map(|at| &members[at]["replicas"][0]);
    assert_eq!((&good["health"], &good["isAsked"], &good["isSelf"]), (&text_of("up"), &true.into(), &false.into()));
    assert!(good["latencySeconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{members}");
    let capabilities = &good["capabilities"];
    assert_eq!((&capabilities["version"], &capabilities["flavour"]), (&text_of("3.5.3"), &text_of("prometheus")));
    assert_eq!((&refusing["health"], &members[1]["policy"]), (&text_of("down"), &text_of("optional")), "{members}");
    assert!(refusing["lastError"].as_str().is_some_and(|error| error.contains("500")), "{members}");
    assert!(down["lastError"].as_str().is_some_and(|error| error.contains("refused")), "{members}");
    assert_eq!(metric(&server, "cortex_federation_frontend_cluster_sharding_rewrites_attempted_total"), 1.0);
    assert_eq!(metric(&server, "cortex_federation_frontend_cluster_sharding_rewrites_succeeded_total"), 1.0);
    let missing = metric(&server, "cortex_federation_frontend_partial_results{quantile=\"0.5\"}");
    assert!((missing - 2.0 / 3.0).abs() < 1e-9, "{missing}");
}

fn text_of(text: &str) -> serde_json::Value {
    text.into()
}
