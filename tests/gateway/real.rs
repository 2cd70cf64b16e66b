//! Real servers on both sides of the gateway: Prometheus writes and promtool reads, through it, to Prometheus and to
//! VictoriaMetrics, which are started anew midway.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::door::Door;
use crate::support::peers::Peers;
use crate::support::process::{Home, Server};
use crate::support::{http, now_ms, wait_for};

/// How long it goes on; longer with this variable, in seconds.
const SECONDS: &str = "WATERSHED_GATEWAY_SECONDS";
const SECONDS_DEFAULT: u64 = 24;
const END_LIMIT: Duration = Duration::from_secs(60);

fn prometheus_that_receives(peers: &Peers, home: &Home) -> Server {
    let external = format!("--web.external-url=http://{}/prometheus", home.address());
    let mut command = home.command(&peers.path("prometheus"), &[&external, "--web.enable-remote-write-receiver"]);
    command.env("GOMAXPROCS", "1");
    let server = Server::spawn("receiver", command, home.port, &home.path().join("receiver.log"));
    server.wait_ready("/prometheus/-/ready")
}

fn victoria_metrics(peers: &Peers, home: &Home) -> Server {
    let mut command = Command::new(peers.path("victoria-metrics"));
    command
        .arg(format!("-storageDataPath={}", home.data_path().display()))
        .arg(format!("-httpListenAddr={}", home.address()))
        .args(["-search.latencyOffset=0s", "-search.disableCache", "-retentionPeriod=1d"])
        .env("GOMAXPROCS", "1");
    let server = Server::spawn("victoria-metrics", command, home.port, &home.path().join("vm.log"));
    server.wait_ready("/health")
}

/// Ends a server as an operator does.
fn end(mut server: Server) {
    server.signal(Signal::TERM);
    server.wait_exit(END_LIMIT);
}

type Samples = BTreeMap<String, Vec<(i64, f64)>>;

/// Every sample of every series of the job, from one instant to another; milliseconds since 1970.
fn samples(base: &str, from: i64, to: i64) -> Result<Samples, String> {
    let window = format!(r#"{{job="self"}}[{}ms]"#, to - from);
    let time = format!("{}.{:03}", to / 1000, to % 1000);
    let url = http::url(base, "/api/v1/query", &[("query", &window), ("time", &time)]);
    let data = http::get_api(&url).map_err(|e| e.to_string())?;
    let mut all = Samples::new();
    for series in data["result"].as_array().ok_or("no result")? {
        let labels = series["metric"].as_object().ok_or("no labels")?;
        let name: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let values = series["values"].as_array().ok_or("no values")?;
        let mut points = Vec::new();
        for value in values {
            let t = (value[0].as_f64().ok_or("no time")? * 1000.0).round() as i64;
            points.push((t, value[1].as_str().ok_or("no value")?.parse().map_err(|e| format!("{e}"))?));
        }
        all.insert(name.join(","), points);
    }
    Ok(all)
}

fn count(samples: &Samples) -> usize {
    samples.values().map(Vec::len).sum()
}

/// How a server keeps numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Keeps {
    /// All of them, to the last bit.
    Exactly,
    /// Their first digits, and what is no number not at all.
    Digits,
}

impl Keeps {
    fn is_same(self, sent: f64, kept: f64) -> bool {
        let is_near = ((sent - kept) / sent).abs() < 1e-9;
        sent == kept || (sent.is_nan() && kept.is_nan()) || (self == Keeps::Digits && is_near)
    }
}

/// What the one has and the other has not.
fn missing(sent: &Samples, kept: &Samples, keeps: Keeps) -> Result<(), String> {
    for (series, points) in sent {
        let wanted = |(_, v): &&(i64, f64)| keeps == Keeps::Exactly || !v.is_nan();
        if !points.iter().any(|point| wanted(&point)) {
            continue;
        }
        let there = kept.get(series).ok_or_else(|| format!("{series} is not there at all"))?;
        let at = |t: i64| there.binary_search_by_key(&t, |(kept, _)| *kept).ok().map(|at| there[at].1);
        let is_there = |(t, v): &(i64, f64)| at(*t).is_some_and(|kept| keeps.is_same(*v, kept));
        if let Some(point) = points.iter().filter(wanted).find(|point| !is_there(point)) {
            return Err(format!("{series} lacks {point:?}: {} of {} samples", there.len(), points.len()));
        }
    }
    Ok(())
}

/// A real client of the query API.
fn promtool(peers: &Peers, base: &str) -> Result<String, String> {
    let output = Command::new(peers.path("promtool"))
        .args(["query", "instant", base, r#"count({job="self"})"#])
        .output()
        .map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match output.status.success() {
        true => Ok(text),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

fn gateway_to(server: &Server) -> Door {
    Door::with_file(&format!("target: gateway\ngateway: {{proxy: {{default: {{url: '{}'}}}}}}\n", server.url))
}

/// Scrapes itself five times a second, and sends to both gateways.
fn writer(peers: &Peers, home: &Home, doors: [&Door; 2]) -> Server {
    let [prometheus, victoria] = doors.map(|door| door.server.url.clone());
    home.write_config(&format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\n\
         scrape_configs: [{{job_name: self, static_configs: [{{targets: ['{}']}}]}}]\n\
         remote_write:\n\
         - {{url: '{prometheus}/prometheus/api/v1/write', queue_config: {{batch_send_deadline: 500ms}}}}\n\
         - {{url: '{victoria}/api/v1/push', queue_config: {{batch_send_deadline: 500ms}}}}\n",
        home.address()
    ));
    home.prometheus(peers, &[])
}

#[test]
fn nothing_that_prometheus_writes_is_lost_when_the_backends_are_started_anew() {
    let Some(peers) = Peers::find(&["prometheus", "promtool", "victoria-metrics"]) else { return };
    let seconds = std::env::var(SECONDS).ok().and_then(|text| text.parse().ok()).unwrap_or(SECONDS_DEFAULT);
    let homes = [Home::new(), Home::new(), Home::new()];
    let [receiver_home, victoria_home, writer_home] = &homes;
    receiver_home.write_config("global: {}\n");
    let mut receiver = prometheus_that_receives(&peers, receiver_home);
    let mut victoria = victoria_metrics(&peers, victoria_home);
    let doors = [gateway_to(&receiver), gateway_to(&victoria)];
    let writer = writer(&peers, writer_home, [&doors[0], &doors[1]]);
    let begin = now_ms();

    let run = |until: Duration, reads: &mut u64| {
        let start = Instant::now();
        while start.elapsed() < until {
            for door in &doors {
                promtool(&peers, &format!("{}/prometheus", door.server.url)).expect("an answer of the backend");
                *reads += 1;
            }
            std::thread::sleep(Duration::from_millis(300));
        }
    };
    let mut reads = 0;
    run(Duration::from_secs(seconds / 2), &mut reads);
    end(receiver);
    std::thread::sleep(Duration::from_secs(2));
    receiver = prometheus_that_receives(&peers, receiver_home);
    end(victoria);
    std::thread::sleep(Duration::from_secs(2));
    victoria = victoria_metrics(&peers, victoria_home);
    run(Duration::from_secs(seconds - seconds / 2), &mut reads);

    let to = now_ms();
    let sent = samples(&writer.url, begin, to).expect("what was scraped");
    let least = usize::try_from(seconds).expect("small") * 3;
    assert!(sent.values().any(|points| points.len() > least), "the writer has scraped all the time");
    for (door, (name, keeps)) in doors.iter().zip([("Prometheus", Keeps::Exactly), ("VictoriaMetrics", Keeps::Digits)])
    {
        let base = format!("{}/prometheus", door.server.url);
        wait_for(&format!("every sample at {name}"), END_LIMIT, || {
            missing(&sent, &samples(&base, begin - 1, to)?, keeps)
        });
        println!("{name}: all {} samples of {} series, {reads} reads by promtool", count(&sent), sent.len());
    }
    // The outage was one: the gateways have told the writer to come again.
    for (door, component) in doors.iter().zip(["query_frontend", "distributor"]) {
        let series = format!(r#"watershed_gateway_requests_total{{component="{component}",code="502"}}"#);
        println!("{component}: {} requests were answered 502 meanwhile", door.metric(&series));
        assert!(door.metric(&series) > 0.0, "{component}");
    }
    drop((writer, receiver, victoria));
    assert!(Path::new(&writer_home.data_path()).exists());
}
