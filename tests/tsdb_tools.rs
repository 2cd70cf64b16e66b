//! `watershed tsdb` prints what `promtool tsdb` prints of the same directory, and leaves the directory as it was.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod interop;
mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use interop::{kind_by_name, promtool_3_5, value};
use support::peers::Peers;
use support::process::Home;
use support::remote_write::histograms;
use support::{http, remote_write, wait_for};
use watershed::disk::RealDisk;
use watershed::model::{FloatHistogram, Histogram, Labels, STALE_NAN, TimestampMs, Value};
use watershed::storage::SeriesChunks;
use watershed::storage::chunk::ChunkBuilder;
use watershed::tsdb::block::{BlockMeta, BlockWriter, Ulid};

const START: i64 = 1_700_000_000_000;

fn promtool(peers: &Peers, args: &[&str]) -> Output {
    Command::new(peers.path("promtool")).arg("tsdb").args(args).output().unwrap()
}

fn watershed(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_watershed")).arg("tsdb").args(args).output().unwrap()
}

fn text(out: Output, what: &[&str]) -> String {
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{what:?}: {errors}");
    assert_eq!(errors, "", "{what:?}");
    String::from_utf8(out.stdout).unwrap()
}

fn first_difference(ours: &str, theirs: &str) -> String {
    let lines = ours.lines().zip(theirs.lines()).enumerate();
    match lines.filter(|(_, (a, b))| a != b).map(|(n, (a, b))| format!("line {}:\n{a}\n{b}", n + 1)).next() {
        Some(difference) => difference,
        None => format!("{} and {} lines", ours.lines().count(), theirs.lines().count()),
    }
}

fn assert_same(ours: &str, theirs: &str, what: &[&str]) {
    assert!(ours == theirs, "{what:?} differs from promtool's: {}", first_difference(ours, theirs));
}

/// Every file with its content and every directory, with the times of their last change.
fn everything(dir: &Path) -> BTreeMap<PathBuf, (SystemTime, Option<Vec<u8>>)> {
    let mut found = BTreeMap::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(path) = todo.pop() {
        let meta = std::fs::metadata(&path).unwrap();
        if meta.is_dir() {
            todo.extend(std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        }
        let content = meta.is_file().then(|| std::fs::read(&path).unwrap());
        found.insert(path, (meta.modified().unwrap(), content));
    }
    found
}

/// Lines in ascending order, for outputs in which equal numbers come in any order.
fn sorted(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// Prints a directory in every way by both tools.
fn compare_everything(peers: &Peers, dir: &Path) {
    // Their tool wants a log; if there is none, an empty directory does.
    std::fs::create_dir_all(dir.join("wal")).unwrap();
    let before = everything(dir);
    let path = dir.to_str().unwrap();
    let middle = (START + 3_600_000).to_string();
    let blocks: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.parse::<Ulid>().is_ok())
        .collect();
    let mut ours = Vec::new();
    let mut ways: Vec<Vec<&str>> = vec![
        vec!["list"],
        vec!["list", "-r"],
        vec!["dump"],
        vec!["dump-openmetrics"],
        vec!["dump", "--min-time", &middle],
        vec!["dump-openmetrics", "--max-time", &middle],
        vec!["dump", "--match={instance=~\"1|2\"}", "--match={__name__!~\"m.*\",instance!=\"2\"}", "--match=h_3"],
        vec!["dump", "--sandbox-dir-root=/tmp", "--match={nothing=\"x\"}"],
    ];
    ways.iter_mut().for_each(|way| way.push(path));
    for block in &blocks {
        ways.push(vec!["analyze", "--extended", "--limit=100000", path, block]);
        ways.push(vec!["analyze", "--match={instance=~\"1|2\",__name__!=\"m1\"}", "--limit=100000", path, block]);
    }
    if blocks.is_empty() {
        ways.retain(|way| way[0] != "analyze");
    } else {
        ways.push(vec!["analyze", "--limit=100000", path]);
    }
    for way in &ways {
        ours.push(text(watershed(way), way));
    }
    assert!(everything(dir) == before, "the directory has changed");
    for (way, ours) in ways.iter().zip(&ours) {
        let theirs = text(promtool(peers, way), way);
        match way[0] {
            "analyze" => assert_same(&sorted(ours), &sorted(&theirs), way),
            // Series of a log alone come in the order of its references.
            _ if blocks.is_empty() => assert_same(&sorted(ours), &sorted(&theirs), way),
            "dump" if *ours != theirs => {
                let lossy = promtool_3_5(ours.lines(), kind_by_name);
                assert_same(&(lossy.join("\n") + "\n"), &theirs, way);
            }
            _ => assert_same(ours, &theirs, way),
        }
    }
    assert!(ours[2].lines().count() > 1000, "only {} samples", ours[2].lines().count());
}

/// A text in OpenMetrics with series of many rhythms, values and lengths of labels over five hours.
fn openmetrics() -> String {
    let mut text = String::new();
    let mut random = 1u64;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        random >> 33
    };
    for i in 0..30usize {
        let step = [15_000, 30_000, 60_000, 7000, 100_000, 3333, 1700, 299_000][i % 8];
        let mut t = START + (next() % 1_000_000) as i64;
        writeln!(text, "# TYPE m{i} gauge\n# HELP m{i} Series {i}.").unwrap();
        while t < START + 5 * 3_600_000 {
            let v = match (i % 5, next() % 8) {
                (3, 0) => "NaN".to_owned(),
                (3, 1) => "+Inf".to_owned(),
                (3, 2) => "-0".to_owned(),
                (0, _) => format!("{}", t / 1000),
                (1, n) => format!("{}", n * 1_000_000),
                (_, n) => format!("{:e}", n as f64 / 7.0 * 10f64.powi(n as i32 * 9 - 30)),
            };
            let long = "ü".repeat(i);
            let labels = format!("instance=\"{}\",long=\"{long}\\n\\\"x\\\\\u{301}\u{a0}\"", i % 4);
            writeln!(text, "m{i}{{{labels}}} {v} {}.{:03}", t / 1000, t % 1000).unwrap();
            t += step * if i % 3 == 0 { (next() % 3) as i64 + 1 } else { 1 };
        }
    }
    text.push_str("no_labels 1 1700000000\n# EOF\n");
    text
}

#[test]
fn both_tools_make_the_same_blocks_of_an_openmetrics_text() {
    let Some(peers) = Peers::find(&["promtool"]) else { return };
    let home = tempfile::tempdir().unwrap();
    let (input, ours, theirs) = (home.path().join("in.om"), home.path().join("ours"), home.path().join("theirs"));
    std::fs::write(&input, openmetrics()).unwrap();
    let [input, ours_text, theirs_text] = [&input, &ours, &theirs].map(|p| p.to_str().unwrap());
    // Columns apart from name and size: their release still writes sections into the index that nobody reads.
    let columns = |text: &str| {
        let split = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        text.lines().skip(1).map(|line| split(line)[1..7].to_vec()).collect::<Vec<_>>()
    };
    for extra in [&[][..], &["--label=site=north", "--label=instance=9"], &["--max-block-duration=7h"]] {
        let args = |output| {
            let mut args = vec!["create-blocks-from", "openmetrics", input, output];
            args.extend(extra);
            args
        };
        let (way_ours, way_theirs) = (args(ours_text), args(theirs_text));
        let made = [text(watershed(&way_ours), &way_ours), text(promtool(&peers, &way_theirs), &way_theirs)];
        assert_eq!(columns(&made[0]), columns(&made[1]), "{extra:?}");
        assert!(columns(&made[0]).len() >= 2, "{}", made[0]);
        assert_eq!(made[0].lines().next(), made[1].lines().next());
        let list = ["list", ours_text];
        assert_same(&made[0].replace(' ', ""), &text(watershed(&list), &list).replace(' ', ""), &list);
        for dir in [&ours, &theirs] {
            std::fs::create_dir_all(dir.join("wal")).unwrap();
        }
        let dumps = [["dump", ours_text], ["dump", theirs_text]].map(|way| text(promtool(&peers, &way), &way));
        assert!(dumps[0].lines().count() > 50_000);
        assert_same(&dumps[0], &dumps[1], extra);
        compare_everything(&peers, &ours);
        compare_everything(&peers, &theirs);
        std::fs::remove_dir_all(&ours).unwrap();
        std::fs::remove_dir_all(&theirs).unwrap();
    }
    let quiet = ["create-blocks-from", "openmetrics", "-q", input, ours_text];
    assert_eq!(text(watershed(&quiet), &quiet), "");
}

/// A Prometheus with five hours of a counter and a gauge, and rules over them.
#[test]
fn both_tools_make_the_same_samples_of_recording_rules() {
    let Some(peers) = Peers::find(&["prometheus", "promtool"]) else { return };
    let home = Home::new();
    home.write_config("");
    let server = home.prometheus(&peers, &["--web.enable-remote-write-receiver"]);
    let end = support::now_ms() / 60_000 * 60_000 - 3_600_000;
    let start = end - 5 * 3_600_000;
    let series: Vec<remote_write::Series> = (0..4)
        .map(|i| remote_write::Series {
            labels: [("__name__", ["requests_total", "temperature"][i % 2].to_owned()), ("host", i.to_string())]
                .map(|(n, v)| (n.to_owned(), v))
                .to_vec(),
            samples: (0..=1200)
                .map(|n| (start + n * 15_000, remote_write::Value::Float((n * (i as i64 + 1) % 977) as f64)))
                .collect(),
        })
        .collect();
    remote_write::send(&server.url, &series).unwrap();
    let rules = home.path().join("rules.yml");
    std::fs::write(
        &rules,
        "groups:\n- name: a\n  interval: 30s\n  rules:\n  - record: job:requests:rate5m\n    expr: sum(rate(requests_total[5m]))\n\
         \x20   labels: {team: x}\n  - alert: Hot\n    expr: temperature > 900\n- name: b\n  rules:\n  - record: host:temperature\n\
         \x20   expr: temperature * 2 > 100\n  - {record: nothing, expr: absent(temperature)}\n",
    )
    .unwrap();
    let (from, until) = ((start / 1000 + 7).to_string(), (end / 1000 - 600).to_string());
    let dumps = ["ours", "theirs"].map(|name| {
        let (dir, rules) = (home.path().join(name), rules.display().to_string());
        let output = format!("--output-dir={}", dir.display());
        let url = format!("--url={}", server.url);
        let (from, until) = (format!("--start={from}"), format!("--end={until}"));
        let args = ["create-blocks-from", "rules", &url, &from, &until, &output, "--eval-interval=1m", &rules];
        let out = if name == "ours" { watershed(&args) } else { promtool(&peers, &args) };
        assert!(out.status.success(), "{name}: {}", String::from_utf8_lossy(&out.stderr));
        std::fs::create_dir_all(dir.join("wal")).unwrap();
        text_of_dump(&peers, &dir)
    });
    assert!(dumps[1].lines().count() > 1000, "{} lines", dumps[1].lines().count());
    assert!(dumps[0].contains("job:requests:rate5m"));
    assert_same(&dumps[0], &dumps[1], &["create-blocks-from rules"]);
}

/// The samples, without those of the alerting rule: the reference's help says that it leaves it out, and it does not.
fn text_of_dump(peers: &Peers, dir: &Path) -> String {
    let all = String::from_utf8(promtool(peers, &["dump", &dir.display().to_string()]).stdout).unwrap();
    sorted(&all.lines().filter(|line| !line.contains("\"Hot\"")).map(|line| format!("{line}\n")).collect::<String>())
}

#[test]
fn rules_that_cannot_be_imported_are_refused_with_their_place() {
    let home = Home::new();
    let rules = home.path().join("rules.yml");
    std::fs::write(&rules, "groups:\n- name: a\n  rules:\n  - {record: r, expr: 'sum('}\n").unwrap();
    let (dir, file) = (format!("--output-dir={}", home.data_path().display()), rules.display().to_string());
    let refused = |args: &[&str]| {
        let out = watershed(&[&["create-blocks-from", "rules", &dir], args].concat());
        assert!(!out.status.success());
        String::from_utf8(out.stderr).unwrap()
    };
    let error = refused(&["--start=0", "--end=100", &file]);
    assert!(error.contains("rules.yml:4:23: groups[0].rules[0].expr: could not parse expression: "), "{error}");
    std::fs::write(&rules, "groups:\n- name: a\n  rules:\n  - {record: r, expr: x}\n").unwrap();
    let error = refused(&["--start=0", "--end=100", "--url=http://127.0.0.1:1", &file]);
    assert!(error.starts_with("group \"a\", rule \"r\": query error: "), "{error}");
    assert!(refused(&["--start=100", "--end=100", &file]).contains("the start is not before the end"));
}

#[test]
fn what_one_tool_refuses_to_make_blocks_of_the_other_does_too() {
    let Some(peers) = Peers::find(&["promtool"]) else { return };
    let home = tempfile::tempdir().unwrap();
    let (input, output) = (home.path().join("in.om"), home.path().join("out"));
    for (content, told) in [
        ("a 1 1\nb 1\n# EOF\n", "line 2: expected a timestamp for the series b"),
        ("a 1 1\n", "does not end with # EOF"),
        ("a 1 1\n# EOF\na 2 2\n", "unexpected data after # EOF"),
        ("# TYPE a bad\na 1 1\n# EOF\n", "line 1, byte"),
        ("a{x=\"y\"\n# EOF\n", "line 1, byte"),
        ("a{b=\"1\",b=\"2\"} 1 1\n# EOF\n", "line 1: the label \"b\" stands twice"),
    ] {
        std::fs::write(&input, content).unwrap();
        let args = ["create-blocks-from", "openmetrics", input.to_str().unwrap(), output.to_str().unwrap()];
        let (ours, theirs) = (watershed(&args), promtool(&peers, &args));
        assert_eq!((ours.status.code(), theirs.status.code()), (Some(1), Some(1)), "{content:?}");
        let error = String::from_utf8(ours.stderr).unwrap();
        assert!(error.contains("in.om: ") && error.contains(told), "{content:?}: {error}");
    }
    let missing = ["create-blocks-from", "openmetrics", "/nowhere/in.om"];
    let error = String::from_utf8(watershed(&missing).stderr).unwrap();
    assert!(error.contains("/nowhere/in.om: No such file"), "{error}");
}

/// 400 samples of a series, behind the first so many.
fn histogram_series(kind: usize, skipped: usize) -> SeriesChunks {
    let mut builder = ChunkBuilder::new();
    let mut push = |t: i64, value: &Value| builder.push(TimestampMs(t), TimestampMs(0), value).unwrap();
    for (step, h) in (0..).zip(histograms(kind, 600)).skip(skipped).take(400) {
        let t = START + step * 15_000;
        match (step % 97, value(&h)) {
            (50, Value::Histogram(h)) => push(t, &Value::Histogram(Box::new(Histogram { sum: STALE_NAN, ..*h }))),
            (50, Value::FloatHistogram(h)) => {
                push(t, &Value::FloatHistogram(Box::new(FloatHistogram { sum: STALE_NAN, ..*h })));
            }
            // Floats among histograms.
            (51..60, _) if kind.is_multiple_of(3) => push(t, &Value::Float(step as f64 * -0.25)),
            (_, value) => push(t, &value),
        }
    }
    let (name, number) = (format!("h_{kind}"), (kind % 4).to_string());
    let labels = Labels::from_pairs([("__name__", name.as_str()), ("instance", &number), ("ins tance", "ä")]);
    SeriesChunks { labels, chunks: builder.finish() }
}

#[test]
fn blocks_with_native_histograms_are_printed_as_promtool_prints_them() {
    let Some(peers) = Peers::find(&["promtool"]) else { return };
    let home = tempfile::tempdir().unwrap();
    for part in 0..2 {
        // The second block overlaps the first and repeats some of its samples.
        let (from, shift) = (START + part * 3_000_000, part as usize * 5);
        let mut series: Vec<_> = (shift..shift + 30).map(|kind| histogram_series(kind, shift * 40)).collect();
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        let meta = BlockMeta::new(Ulid::generate(TimestampMs(START + part)), from, from + 7_200_000);
        let mut writer = BlockWriter::create(Arc::new(RealDisk), home.path(), meta).unwrap();
        series.iter().for_each(|s| writer.push(s).unwrap());
        writer.finish().unwrap().unwrap();
    }
    compare_everything(&peers, home.path());
}

#[test]
fn a_directory_that_a_prometheus_has_open_is_read_without_its_lock() {
    let Some(peers) = Peers::find(&["promtool", "prometheus"]) else { return };
    let home = Home::new();
    let target = home.address();
    home.write_config(&format!(
        "scrape_configs: [{{job_name: self, scrape_interval: 1s, static_configs: [{{targets: ['{target}']}}]}}]\n"
    ));
    let prometheus = home.prometheus(&peers, &["--enable-feature=exemplar-storage"]);
    let scraped = |n: f64| {
        wait_for("scrapes", Duration::from_secs(60), || {
            let url = http::url(&prometheus.url, "/api/v1/query", &[("query", "count_over_time(up[1m])")]);
            let data = http::get_api(&url).map_err(|e| e.to_string())?;
            let found = data["result"][0]["value"][1].as_str().unwrap_or("0").parse::<f64>().unwrap();
            if found >= n { Ok(()) } else { Err(format!("{found} scrapes")) }
        });
    };
    scraped(3.0);
    let data = home.data_path();
    let way = ["dump", "--match=up", data.to_str().unwrap()];
    let live = text(watershed(&way), &way);
    assert!(live.lines().count() >= 3 && live.contains("__name__=\"up\""), "{live}");
    scraped(6.0);
    prometheus.kill();
    std::fs::remove_file(data.join("lock")).unwrap();
    compare_everything(&peers, &data);
}

#[test]
fn strangers_are_told_what_is_wrong_with_a_directory() {
    let home = tempfile::tempdir().unwrap();
    let (file, empty) = (home.path().join("file"), home.path().join("empty"));
    std::fs::write(&file, "x").unwrap();
    std::fs::create_dir(&empty).unwrap();
    let told = |args: &[&str], code: i32| {
        let out = watershed(args);
        assert_eq!(out.status.code(), Some(code), "{args:?}");
        let both = [out.stdout, out.stderr].concat();
        String::from_utf8(both).unwrap()
    };
    let empty = empty.to_str().unwrap();
    for command in ["list", "dump", "dump-openmetrics", "analyze"] {
        let error = told(&[command, "/nowhere"], 1);
        assert_eq!(error, "opening the data directory /nowhere: No such file or directory (os error 2)\n");
        let error = told(&[command, file.to_str().unwrap()], 1);
        assert!(error.starts_with("opening the data directory") && error.contains("Not a directory"), "{error}");
    }
    assert_eq!(told(&["list", empty], 0).lines().count(), 1);
    assert_eq!(told(&["dump", empty], 0), "");
    assert_eq!(told(&["dump-openmetrics", empty], 0), "# EOF\n");
    assert_eq!(told(&["analyze", empty], 1), "no blocks found\n");
    let error = told(&["analyze", empty, "01ARZ3NDEKTSV4RRFFQ69G5FAV"], 1);
    assert_eq!(error, "there is no block 01ARZ3NDEKTSV4RRFFQ69G5FAV\n");
    let error = told(&["dump", "--match={a=", empty], 2);
    assert!(error.contains("parse error"), "{error}");
    assert_eq!(std::fs::read_dir(empty).unwrap().count(), 0);

    let block = Path::new(empty).join("01ARZ3NDEKTSV4RRFFQ69G5FAV");
    std::fs::create_dir(&block).unwrap();
    std::fs::write(block.join("meta.json"), "{").unwrap();
    for command in ["list", "dump", "analyze"] {
        let error = told(&[command, empty], 1);
        assert!(error.contains("01ARZ3NDEKTSV4RRFFQ69G5FAV") && error.contains("meta.json"), "{error}");
    }
    assert!(block.exists());
}
