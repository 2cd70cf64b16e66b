//! Two servers with the same data and the same targets.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::support::peers::Peers;
use super::support::process::{Home, Server};
use super::support::remote_write::{self, Series, Value, histograms};
use super::support::target::{OPEN_METRICS, Request, TEXT, Target, reply};
use super::support::{http, now_ms, wait_for};

pub const LIMIT: Duration = Duration::from_secs(60);
const STEP: i64 = 15_000;
const STEPS: i64 = 240;
/// Samples of a block that is older than everything else by so much.
const BLOCK_AGE: i64 = 26 * 3_600_000;

/// Awkward names and labels, all special values, types that are told and types that are not.
const FIRST: &str = r#"# HELP requests_total All requests.
# TYPE requests_total counter
requests_total{code="200",path="/"} 1027
requests_total{code="500",path="/a\"b\\c\nd"} 3
# TYPE temperature gauge
temperature{room="küche"} -0.5
temperature{room=""} 21
# HELP latency_seconds Latency.
# TYPE latency_seconds histogram
latency_seconds_bucket{le="0.1"} 5
latency_seconds_bucket{le="+Inf"} 9
latency_seconds_sum 1.25e-7
latency_seconds_count 9
untold 1
extreme{of="nan"} NaN
extreme{of="inf"} +Inf
extreme{of="-inf"} -Inf
extreme{of="big"} 1.7976931348623157e+308
extreme{of="million"} 1e+06
extreme{of="million and a bit"} 1234567.5
own_site{site="native"} 1
no_instance{instance=""} 1
"#;

const SECOND: &str = r#"# HELP temperature Another help.
# TYPE temperature gauge
temperature{room="bad",floor="1"} 19.5
{"dotted.name",region="eu",site="home2"} 1
{"with space","my.label"="x","é"="y"} 2
UPPER_case 3
_underscore:colon 4
"#;

/// Both servers of one set of flags, and the homes that they live in.
pub struct Both {
    pub ours: Server,
    pub theirs: Server,
    /// The peer's version, such as `3.5.3`.
    pub peer_version: String,
    /// Times that the requests of the table name, in seconds: `$START` and `$END` of the stored data, `$OLD` in the block.
    pub times: [(&'static str, String); 3],
    our_home: Home,
    their_home: Home,
}

fn floats(labels: &[(&str, &str)], start: i64, value: impl Fn(i64) -> f64) -> Series {
    let samples = (0..STEPS).map(|i| (start + i * STEP, Value::Float(value(i)))).collect();
    Series { labels: labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(), samples }
}

fn stored(start: i64) -> Vec<Series> {
    let mut all = Vec::new();
    for instance in ["a:1", "b:1", "c<>&\u{e9}\"\\"] {
        for code in ["200", "404", "500"] {
            let labels = [("__name__", "http_requests_total"), ("code", code), ("instance", instance)];
            all.push(floats(&labels, start, |i| i as f64 * 0.1));
        }
        for le in ["0.1", "0.5", "+Inf"] {
            all.push(floats(&[("__name__", "latency_bucket"), ("instance", instance), ("le", le)], start, |i| {
                i as f64
            }));
        }
    }
    let special = [0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, 1e-7, f64::MAX, 1e6, 1_234_567.5, -0.5];
    for (n, v) in special.into_iter().enumerate() {
        all.push(floats(&[("__name__", "special"), ("kind", &n.to_string())], start, move |_| v));
    }
    // What the text format escapes, names that only need not be quoted, and a label that external labels have, too.
    for (name, label, value) in [
        ("lines", "path", "/a\"b\\c\nd"),
        ("stored_site", "site", "native"),
        ("UPPER_stored", "a", "b"),
        ("_underscore:stored", "a", "b"),
    ] {
        all.push(floats(&[("__name__", name), (label, value)], start, |i| i as f64));
    }
    all.push(floats(&[("__name__", "my.metric"), ("label.with dots", "x"), ("\u{e9}", "y")], start, |i| i as f64));
    for kind in 0..3 {
        let values = histograms(kind, STEPS as usize);
        let samples = values.into_iter().enumerate();
        let samples = samples.map(|(i, h)| (start + i as i64 * STEP, Value::Histogram(h))).collect();
        let labels = vec![("__name__".to_owned(), format!("h_{kind}"))];
        all.push(Series { labels, samples });
    }
    all
}

/// Exemplars with times of their own, so that both servers store the same ones however often they scrape.
fn exemplars(end: i64) -> String {
    let t = (end - 1_000_000) as f64 / 1000.0;
    format!(
        "# TYPE traced counter\ntraced_total{{path=\"/\"}} 5 # {{trace_id=\"abc<>\"}} 0.5 {t}\n\
         traced_total{{path=\"/x\"}} 7 # {{trace_id=\"d\",span=\"e\"}} 1e-9 {}\n# EOF\n",
        t + 1.5
    )
}

fn start_target(content_type: &'static str, body: String) -> Target {
    Target::start(move |_: &Request, stream| reply(stream, 200, content_type, body.as_bytes()))
}

fn config(targets: &[Target; 3]) -> String {
    let [first, second, third] = targets.each_ref().map(Target::address);
    format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, external_labels: {{site: home, zone: z}}}}\nscrape_configs:\n\
         - job_name: first\n  static_configs: [{{targets: ['{first}']}}]\n\
         - job_name: traced\n  static_configs: [{{targets: ['{third}']}}]\n\
         - job_name: second\n  metrics_path: /m\n  params: {{q: [a b]}}\n  static_configs:\n\
         \x20 - targets: ['{second}', 'dropped.example:1', '127.0.0.1:9']\n    labels: {{rack: 'r<1>&'}}\n\
         \x20 relabel_configs:\n\
         \x20 - {{source_labels: [__address__, rack], regex: 'dropped.*', action: drop}}\n\
         \x20 - {{source_labels: [__address__], regex: '(.*):(.*)', target_label: port, replacement: '${{2}}'}}\n\
         \x20 - {{source_labels: [__address__], modulus: 4, target_label: __tmp_shard, action: hashmod}}\n\
         \x20 - {{regex: 'nothing_.*', action: labeldrop}}\n\
         \x20 - {{source_labels: [rack], target_label: rack_upper, action: uppercase}}\n"
    )
}

/// A data directory with an hour of samples in the log and a block of an earlier hour; gives the time of the last sample.
fn fill(home: &Home, peers: &Peers) -> i64 {
    home.write_config("global: {scrape_interval: 1h}\n");
    let end = now_ms() / STEP * STEP - 60_000;
    let receives = ["--web.enable-remote-write-receiver", "--enable-feature=native-histograms"];
    let mut writer = home.prometheus(peers, &receives);
    remote_write::send(&writer.url, &stored(end - (STEPS - 1) * STEP)).unwrap();
    writer.signal(Signal::TERM);
    writer.wait_exit(LIMIT);
    let old = (end - BLOCK_AGE) / 1000;
    let text: String = (0..60).map(|i| format!("old_metric{{job=\"past\"}} {i} {}\n", old + i * 15)).collect();
    let file = home.path().join("old.om");
    std::fs::write(&file, format!("{text}# EOF\n")).unwrap();
    let made = Command::new(env!("CARGO_BIN_EXE_watershed"))
        .args(["tsdb", "create-blocks-from", "openmetrics"])
        .args([&file, &home.data_path()])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    end
}

pub fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let copy = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_dir(&path, &copy);
        } else {
            std::fs::copy(&path, &copy).unwrap();
        }
    }
}

impl Both {
    /// Both with the same flags, each having scraped every target.
    pub fn start(peers: &Peers, flags: &[&str], prefix: &str) -> Both {
        let (our_home, their_home) = (Home::new(), Home::new());
        let end = fill(&their_home, peers);
        copy_dir(&their_home.data_path(), &our_home.data_path());
        let targets = [
            start_target(TEXT, FIRST.to_owned()),
            start_target(TEXT, SECOND.to_owned()),
            start_target(OPEN_METRICS, exemplars(end)),
        ];
        for home in [&our_home, &their_home] {
            home.write_config(&config(&targets));
        }
        let ready = format!("{prefix}/-/ready");
        let theirs = their_home.command(&peers.path("prometheus"), flags);
        let theirs = Server::spawn("prometheus", theirs, their_home.port, &their_home.path().join("prometheus.log"));
        let ours = our_home.watershed_unready(flags).wait_ready(&ready);
        let theirs = theirs.wait_ready(&ready);
        for server in [&ours, &theirs] {
            wait_for_scrapes(server, prefix);
        }
        let build = http::get_api(&format!("{}{prefix}/api/v1/status/buildinfo", theirs.url)).unwrap();
        let peer_version = build["version"].as_str().unwrap().to_owned();
        let seconds = |ms: i64| format!("{}", ms as f64 / 1000.0);
        let start = end - (STEPS - 1) * STEP;
        let times = [("$START", seconds(start)), ("$END", seconds(end)), ("$OLD", seconds(end - BLOCK_AGE + 600_000))];
        Both { ours, theirs, peer_version, times, our_home, their_home }
    }

    /// What differs between the two places that the servers live in.
    pub fn places(&self) -> [[String; 3]; 2] {
        [(&self.our_home, &self.ours), (&self.their_home, &self.theirs)]
            .map(|(home, server)| [home.path().display().to_string(), server.address.clone(), home.port.to_string()])
    }
}

/// Waits until every target was scraped a few times, the dead one in vain.
fn wait_for_scrapes(server: &Server, prefix: &str) {
    let query = [("query", "min(count_over_time(up[5m])) > 2 and count(up) == 4")];
    let url = http::url(&server.url, &format!("{prefix}/api/v1/query"), &query);
    wait_for("all targets to be scraped", LIMIT, || match http::get_api(&url) {
        Ok(data) if data["result"].as_array().is_some_and(|r| !r.is_empty()) => Ok(()),
        Ok(data) => Err(data.to_string()),
        Err(error) => Err(error.to_string()),
    });
}
