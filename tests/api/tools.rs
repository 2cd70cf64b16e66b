//! The tools for servers: ours beside promtool, promtool against us (asking and pushing), and a client library that knows
//! nothing of us.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::support::peers::Peers;
use super::support::process::{Home, Server};
use super::support::{http, now_ms, wait_for};
use super::world::{Both, LIMIT};

const WATERSHED: &str = env!("CARGO_BIN_EXE_watershed");

/// Runs a program with a text on its standard input.
fn run(program: &Path, arguments: &[&str], input: &str, dir: &Path) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(dir).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A program that refuses its arguments does not read.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Metrics with everything that is unusual, and such without.
const METRICS: &[&str] = &[
    "# HELP good_total Fine.\n# TYPE good_total counter\ngood_total{a=\"b\"} 1\n",
    "# TYPE requests counter\nrequests 1\n",
    "# HELP x_total Not a counter.\n# TYPE x_total gauge\nx_total 1\n",
    "# HELP a:b Colons.\n# TYPE a:b gauge\na:b 1\n",
    "# HELP camelCase Hump.\n# TYPE camelCase gauge\ncamelCase{someLabel=\"x\",otherLabel=\"y\"} 1\n",
    "# HELP x_milliseconds_gauge Unit and type.\n# TYPE x_milliseconds_gauge gauge\nx_milliseconds_gauge 1\n",
    "# HELP up_minutes Unit.\n# TYPE up_minutes gauge\nup_minutes 1\n# HELP y_kb_b Short.\n# TYPE y_kb_b gauge\ny_kb_b 1\n",
    "# HELP x_bucket Reserved.\n# TYPE x_bucket gauge\nx_bucket{le=\"1\",quantile=\"2\"} 1\n",
    "# HELP x_sum Reserved.\n# TYPE x_sum counter\nx_sum 1\n# TYPE y_count untyped\ny_count 2\n",
    "# HELP h A histogram.\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n\
     # HELP s A summary.\n# TYPE s summary\ns{quantile=\"0.5\"} 1\ns_sum 2\ns_count 1\n",
    "# HELP twice_total Same.\n# TYPE twice_total counter\ntwice_total{a=\"b\"} 1\ntwice_total{a=\"b\"} 2\n\
     twice_total{a=\"c\"} 1\n",
    "untyped_without_help 1\nother{x=\"y\"} 2\nother{x=\"z\"} 2\nother{x=\"q\"} 2\n",
    "",
    "not a metric at all {\n",
    "# TYPE a nonsense\na 1\n",
];

#[test]
fn check_metrics_says_what_promtool_says() {
    let Some(peers) = Peers::find(&["promtool"]) else { return };
    let dir = tempfile::tempdir().unwrap();
    for input in METRICS {
        for options in [&[][..], &["--extended"], &["--lint=none"], &["--lint=none", "--extended"]] {
            let arguments = [&["check", "metrics"][..], options].concat();
            let ask = |program: &Path| run(program, &arguments, input, dir.path());
            let (ours, theirs) = (ask(Path::new(WATERSHED)), ask(&peers.path("promtool")));
            let what = format!("{options:?} {input:?}: {}", text(&theirs.stderr));
            // Releases before 3.10 know no --lint.
            if text(&theirs.stderr).contains("unknown long flag '--lint'") {
                continue;
            }
            // They also end with the first remarks.
            let ends_early = theirs.status.code() == Some(3) && theirs.stdout.is_empty();
            assert_eq!(ours.status.code(), theirs.status.code(), "{what}");
            // Of families with as many series any may come first there.
            let sorted = |output: &[u8]| {
                let text = text(output);
                let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
                lines.sort();
                lines
            };
            if !ends_early {
                assert_eq!(sorted(&ours.stdout), sorted(&theirs.stdout), "{what}");
            }
            if theirs.status.code() != Some(1) {
                assert_eq!(text(&ours.stderr), text(&theirs.stderr), "{what}");
            } else {
                assert!(!ours.stderr.is_empty(), "{what}");
            }
        }
    }
}

/// What both programs are asked of one server: the same ends, the same output.
fn compare(peers: &Peers, dir: &Path, server: &Server, arguments: &[&str]) {
    let arguments: Vec<String> = arguments.iter().map(|a| a.replace("$URL", &server.url)).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (ours, theirs) =
        (run(Path::new(WATERSHED), &arguments, "", dir), run(&peers.path("promtool"), &arguments, "", dir));
    assert_eq!(ours.status.code(), theirs.status.code(), "{arguments:?}: {}", text(&ours.stderr));
    assert_eq!(text(&ours.stdout), text(&theirs.stdout), "{arguments:?}");
    if theirs.status.success() {
        assert_eq!(text(&ours.stderr), text(&theirs.stderr), "{arguments:?}");
    }
}

#[test]
fn promtool_asks_us_as_it_asks_prometheus_and_we_ask_as_promtool() {
    let Some(peers) = Peers::find(&["prometheus", "promtool"]) else { return };
    let both = Both::start(&peers, &[], "");
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("http.yml");
    std::fs::write(&config, "basic_auth: {username: u, password: p}\n").unwrap();
    let config = format!("--http.config.file={}", config.display());
    for server in [&both.ours, &both.theirs] {
        for arguments in [
            &["check", "healthy", "--url=$URL"][..],
            &["check", "ready", "--url=$URL", &config],
            &["check", "healthy", "--url=$URL/nothing"],
            &["check", "ready", "--url=http://127.0.0.1:9"],
        ] {
            compare(&peers, dir.path(), server, arguments);
        }
    }
    let time = |name: &str| both.times.iter().find(|(n, _)| *n == name).unwrap().1.clone();
    let [at, start, end] =
        [format!("--time={}", time("$END")), format!("--start={}", time("$START")), format!("--end={}", time("$END"))];
    for arguments in [
        &["query", "instant", &at, "$URL", "http_requests_total"][..],
        &["query", "instant", &at, "$URL", "h_1"],
        &["query", "instant", &at, "-o", "json", "$URL", "special"],
        &["query", "instant", &at, "$URL", "up{"],
        &["query", "range", &start, &end, "--step=5m", "$URL", "rate(http_requests_total[5m])"],
        &["query", "range", &start, &end, "--step=5m", "-o", "json", "$URL", "{__name__=~\"special|h_1\"}"],
        &["query", "range", &start, &end, "--step=5m", "$URL", "up{"],
        &["query", "series", &start, &end, "--match=special", "$URL"],
        &["query", "series", &start, &end, "--match=special", "--match=up{", "$URL"],
        &["query", "analyze", &at, "--duration=1h", "--type=histogram", "--match=latency_bucket", "--server=$URL"],
        &["query", "labels", &start, &end, "$URL", "kind"],
        &["query", "labels", &start, &end, "--match=http_requests_total", "$URL", "code"],
        &["check", "healthy", "--url=$URL"],
        &["check", "ready", "--url=$URL/"],
    ] {
        let ask = |server: &Server| {
            let arguments: Vec<String> = arguments.iter().map(|a| a.replace("$URL", &server.url)).collect();
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let output = run(&peers.path("promtool"), &arguments, "", dir.path());
            let said = text(&output.stderr).replace("Watershed", "Prometheus Server");
            let mut lines: Vec<String> = text(&output.stdout).lines().map(str::to_owned).collect();
            // Series that were selected come in any order.
            lines.sort();
            (output.status.code(), lines, said)
        };
        assert_eq!(ask(&both.ours), ask(&both.theirs), "{arguments:?}");
    }
}

const PUSHED: &str = "# HELP pushed_total Some.\n# TYPE pushed_total counter\npushed_total{job=\"own\",x=\"\u{e9}\"} 5\n\
     # TYPE lat histogram\nlat_bucket{le=\"0.1\"} 1\nlat_bucket{le=\"1e6\"} 2\nlat_bucket{le=\"+Inf\"} 3\nlat_sum 0.5\nlat_count 3\n\
     # TYPE quant summary\nquant{quantile=\"0.99\"} 7\nquant_sum 8\nquant_count 9\nplain 1.5e-7\n";

/// Everything that was pushed under one job, without times.
fn pushed(server: &Server, job: &str) -> Vec<String> {
    let query = [("query", format!("{{job={job:?},__name__!=\"up\",__name__!~\"scrape_.*\"}}"))];
    let query = query.each_ref().map(|(n, v)| (*n, v.as_str()));
    let data = http::get_api(&http::url(&server.url, "/api/v1/query", &query)).unwrap();
    let mut series: Vec<String> = data["result"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            let mut metric = one["metric"].clone();
            metric["job"] = Value::Null;
            format!("{metric} {}", one["value"][1])
        })
        .collect();
    series.sort();
    series
}

#[test]
fn what_is_pushed_is_the_same_whoever_sends_it_and_whoever_receives_it() {
    let Some(peers) = Peers::find(&["prometheus", "promtool"]) else { return };
    let [our_home, their_home] = [Home::new(), Home::new()];
    for home in [&our_home, &their_home] {
        home.write_config("global: {scrape_interval: 1h}\n");
    }
    let receives = ["--web.enable-remote-write-receiver"];
    let ours = pushes(&peers, &our_home, &our_home.watershed(&receives));
    assert_eq!(ours, pushes(&peers, &their_home, &their_home.prometheus(&peers, &receives)));
}

/// Pushes with promtool and with ours to a server; what it stores, which is the same for each.
fn pushes(peers: &Peers, home: &Home, server: &Server) -> Vec<String> {
    let file = home.path().join("pushed.txt");
    std::fs::write(&file, PUSHED).unwrap();
    let file = file.display().to_string();
    // Newer ones add the path themselves.
    let help = run(&peers.path("promtool"), &["push", "metrics", "--help"], "", home.path());
    let path = if text(&help.stdout).contains("--remote-write.path") { "" } else { "/api/v1/write" };
    let url = format!("{}{path}", server.url);
    let v2 = "--protobuf_message=io.prometheus.write.v2.Request";
    for (program, arguments, job) in [
        (peers.path("promtool"), vec!["--label=job=theirs"], "theirs"),
        (PathBuf::from(WATERSHED), vec!["--label=job=ours", "--header=X-Some=thing"], "ours"),
        (PathBuf::from(WATERSHED), vec!["--label=job=second", v2], "second"),
    ] {
        let base = ["push", "metrics", &url, &file];
        let output = run(&program, &[&base[..], &arguments[..]].concat(), "", home.path());
        let said = format!("Parsing metrics file {file}\n  SUCCESS: metrics file {file} pushed to remote write.\n");
        assert_eq!((text(&output.stdout), output.status.code()), (said, Some(0)), "{}", text(&output.stderr));
        assert_eq!(pushed(server, job).len(), 10, "{job}: {:#?}", pushed(server, job));
    }
    assert_eq!(pushed(server, "ours"), pushed(server, "theirs"));
    assert_eq!(pushed(server, "second"), pushed(server, "theirs"));
    let from_stdin =
        run(Path::new(WATERSHED), &["push", "metrics", &server.url, "--label=job=stdin"], PUSHED, home.path());
    assert_eq!(text(&from_stdin.stdout), "Parsing standard input\n  SUCCESS: metrics pushed to remote write.\n");
    for (arguments, input) in [
        (vec!["push", "metrics", &server.url], "not { a metric\n"),
        (vec!["push", "metrics", "http://127.0.0.1:9"], PUSHED),
        (vec!["push", "metrics", &server.url, "/does/not/exist"], ""),
        (vec!["push", "metrics", &server.url, "--protobuf_message=x"], PUSHED),
        (vec!["push", "metrics", &server.url, "--remote-write.path=/nowhere"], PUSHED),
    ] {
        let output = run(Path::new(WATERSHED), &arguments, input, home.path());
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(text(&output.stderr).starts_with("  FAILED: "), "{arguments:?}: {}", text(&output.stderr));
    }
    // promtool says the same where the server refuses: a sample a second time, with another value.
    let at = now_ms();
    for (value, code) in [("1", Some(0)), ("2", Some(1))] {
        let sample = format!("refused {value} {at}\n");
        for program in [peers.path("promtool"), PathBuf::from(WATERSHED)] {
            let output = run(&program, &["push", "metrics", &url], &sample, home.path());
            assert_eq!(output.status.code(), code, "{}: {}", program.display(), text(&output.stderr));
        }
    }
    pushed(server, "theirs")
}

#[test]
fn the_debug_archive_has_what_the_server_says_of_itself() {
    let home = Home::new();
    home.write_config("global: {scrape_interval: 1h}\n");
    let server = home.watershed(&[]);
    for (what, files) in [("metrics", 1), ("all", 10)] {
        let output = run(Path::new(WATERSHED), &["debug", what, &server.url], "", home.path());
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(text(&output.stdout).ends_with("all files written in \"debug.tar.gz\".\n"));
        let archive = home.path().join("debug.tar.gz");
        let tar = |mode: &str, file: &[&str]| {
            let archive = archive.display().to_string();
            let output = run(Path::new("tar"), &[&[mode, archive.as_str()][..], file].concat(), "", home.path());
            assert!(output.status.success(), "{}", text(&output.stderr));
            text(&output.stdout)
        };
        assert_eq!(tar("-tzf", &[]).lines().count(), files, "{what}");
        assert!(tar("-xOzf", &["metrics.txt"]).contains("watershed_tsdb_head_series"));
    }
    let refused = run(Path::new(WATERSHED), &["debug", "metrics", "http://127.0.0.1:9"], "", home.path());
    assert_eq!(refused.status.code(), Some(1));
}

/// What the client library is asked to do, with what it understood as JSON.
const CLIENT: &str = r#"
import json, sys
from datetime import datetime, timezone
from prometheus_api_client import PrometheusConnect
url, start, end = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
at = lambda t: datetime.fromtimestamp(t, tz=timezone.utc)
p = PrometheusConnect(url=url, disable_ssl=True)
out = {}
out["all_metrics"] = sorted(p.all_metrics())
out["label_names"] = sorted(p.get_label_names())
out["label_values"] = sorted(p.get_label_values("code"))
out["instant"] = p.custom_query("sum by (code) (http_requests_total)", params={"time": end})
out["histogram"] = p.custom_query("histogram_quantile(0.9, sum by (le) (rate(latency_bucket[5m])))", params={"time": end})
out["range"] = p.custom_query_range("http_requests_total", at(start), at(end), "300")
data = p.get_metric_range_data("http_requests_total", label_config={"code": "200"}, start_time=at(start), end_time=at(end))
out["chunks"] = data
try:
    p.custom_query("up{")
except Exception as e:
    out["refused"] = [type(e).__name__, str(e)]
print(json.dumps(out, sort_keys=True))
"#;

/// A Python with the client library, or the reason why there is none. It is kept for the next run.
fn python() -> Result<PathBuf, String> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("prometheus-api-client");
    let python = dir.join("bin/python");
    let works = |python: &Path| {
        let tried = Command::new(python).args(["-c", "import prometheus_api_client"]).output();
        tried.is_ok_and(|output| output.status.success())
    };
    if works(&python) {
        return Ok(python);
    }
    let said = |output: std::io::Result<Output>| match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(text(&output.stderr)),
        Err(error) => Err(error.to_string()),
    };
    said(Command::new("python3").args(["-m", "venv"]).arg(&dir).output())?;
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "prometheus-api-client"];
    said(Command::new(&python).args(install).output())?;
    if works(&python) { Ok(python) } else { Err("the library does not load".to_owned()) }
}

#[test]
fn a_client_library_understands_us_as_it_understands_prometheus() {
    let Some(peers) = Peers::find(&["prometheus"]) else { return };
    let python = match python() {
        Ok(python) => python,
        // The only thing that comes from Python's package index, which not every place that has the peers can reach: that is no
        // fault of the server, so it fails nothing, with CI set neither.
        Err(reason) => {
            println!("skipped: the client library cannot be had: {reason}");
            return;
        }
    };
    let both = Both::start(&peers, &[], "");
    let time = |name: &str| both.times.iter().find(|(n, _)| *n == name).unwrap().1.clone();
    let ask = |server: &Server| -> Value {
        let output = Command::new(&python).args(["-c", CLIENT, &server.url, &time("$START"), &time("$END")]).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let (ours, theirs) = (ask(&both.ours), ask(&both.theirs));
    for (what, theirs) in theirs.as_object().unwrap() {
        assert_eq!(&ours[what], theirs, "{what}");
    }
    assert!(theirs["chunks"].as_array().is_some_and(|all| all.len() == 3));
}

/// Notifications follow what happens: a reload that failed is told to those who listen, and taken back once one succeeds.
#[test]
fn a_failed_reload_is_told_live_until_one_succeeds() {
    let home = Home::new();
    home.write_config("global: {scrape_interval: 1h}\n");
    let server = home.watershed(&["--web.enable-lifecycle", "--web.max-notifications-subscribers=1"]);
    let list = || http::get_api(&format!("{}/api/v1/notifications", server.url)).unwrap();
    assert_eq!(list(), serde_json::json!([]));
    let (url, before) = (format!("{}/api/v1/notifications/live", server.url), now_ms());
    let (told, events) = std::sync::mpsc::channel();
    let address = server.address.clone();
    std::thread::spawn(move || {
        use std::io::{BufRead as _, BufReader};
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        write!(stream, "GET /api/v1/notifications/live HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if told.send(line).is_err() {
                return;
            }
        }
    });
    assert_eq!(events.recv_timeout(LIMIT).unwrap(), "HTTP/1.1 200 OK");
    assert_eq!(http::get(&url).unwrap().status, 204, "one more than may follow");
    let next = || loop {
        let line = events.recv_timeout(LIMIT).expect("an event");
        if let Some(json) = line.strip_prefix("data: ") {
            return serde_json::from_str::<Value>(json).unwrap();
        }
    };
    home.write_config("nonsense: [\n");
    assert_eq!(http::post(&format!("{}/-/reload", server.url)).unwrap().status, 500);
    let event = next();
    assert_eq!((&event["text"], &event["active"]), (&"Configuration reload has failed.".into(), &true.into()));
    let date: jiff::Timestamp = event["date"].as_str().unwrap().parse().unwrap();
    assert!(date.as_millisecond() >= before);
    assert_eq!(list()[0], event);
    home.write_config("global: {scrape_interval: 2h}\n");
    assert_eq!(http::post(&format!("{}/-/reload", server.url)).unwrap().status, 200);
    assert_eq!(next()["active"], false);
    wait_for("nothing to be told any more", LIMIT, || match list().as_array().map(Vec::len) {
        Some(0) => Ok(()),
        other => Err(format!("{other:?}")),
    });
}
