//! Scrapes of protobuf, and of what becomes native histograms.

use super::*;
use crate::model::Value;
use crate::net::protobuf::{Writer, zigzag};

const PROTOBUF: &str = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

/// A family behind its length: one metric for each label value, written by `metric` into the field of its kind.
fn family(name: &str, kind: u64, field: u32, values: &[&str], metric: impl Fn(&mut Writer<'_>)) -> Vec<u8> {
    let mut message = Vec::new();
    Writer::new(&mut message).message(1, |w| {
        w.bytes(1, name.as_bytes());
        w.varint(3, kind);
        for value in values {
            w.message(4, |w| {
                w.message(1, |w| {
                    w.bytes(1, b"l");
                    w.bytes(2, value.as_bytes());
                });
                w.message(field, &metric);
            });
        }
    });
    message.split_off(1)
}

fn counter(n: f64, start_s: i64, values: &[&str]) -> Vec<u8> {
    family("c_total", 0, 3, values, |w| {
        w.double(1, n);
        w.message(3, |w| w.int(1, start_s));
    })
}

/// Native, of one bucket for each of `buckets`, and classic.
fn histogram(buckets: u64) -> Vec<u8> {
    family("h", 4, 7, &["x"], |w| {
        w.varint(1, buckets);
        w.double(2, 2.0);
        w.message(3, |w| {
            w.varint(1, buckets);
            w.double(2, 0.5);
        });
        w.zigzag(5, 1);
        w.message(12, |w| {
            w.zigzag(1, 1);
            w.varint(2, buckets);
        });
        w.packed(13, (0..buckets).map(|i| zigzag(i64::from(i == 0))));
    })
}

fn messages(families: &[Vec<u8>]) -> Answer {
    Answer::Bytes(PROTOBUF, families.concat())
}

fn native() -> JobConfig {
    JobConfig { native_histograms: true, ..job("j") }
}

/// All samples, `name{l}` with what it holds.
fn shown(world: &World) -> BTreeMap<String, Vec<String>> {
    let dump = world.store.dump();
    let wanted = dump.iter().filter(|(labels, _)| !labels.metric_name().unwrap_or("").starts_with("scrape_"));
    wanted
        .map(|(labels, samples)| {
            let le = labels.get("le").map(|le| format!(",{le}")).unwrap_or_default();
            let name = format!("{}{{{}{le}}}", labels.metric_name().unwrap_or(""), labels.get("l").unwrap_or(""));
            let show = |value: &Value| match value {
                v if v.is_stale() => "stale".to_owned(),
                Value::Float(v) => v.to_string(),
                Value::Histogram(h) => format!("{}/{}b s{}", h.count, h.positive_buckets.len(), h.layout.schema),
                Value::FloatHistogram(h) => format!("float {}", h.count),
            };
            (name, samples.iter().map(|s| show(&s.value)).collect())
        })
        .collect()
}

async fn scraped(config: JobConfig, answers: Vec<Answer>, seconds: u64) -> World {
    let world = World::new(answers);
    world.manager.apply(vec![config]).expect("valid");
    world.manager.sync("j", group(&["h:1"]));
    world.pass(seconds).await;
    world
}

#[tokio::test(start_paused = true)]
async fn known_metrics_go_on_and_gone_ones_end_histograms_as_well() {
    let both = |n: f64| messages(&[counter(n, 0, &["a", "b"]), histogram(3)]);
    let answers = vec![both(1.0), both(2.0), messages(&[counter(3.0, 0, &["b"])]), both(4.0)];
    let world = scraped(native(), answers, 40).await;
    let shown = shown(&world);
    assert_eq!(shown["c_total{a}"], ["1", "2", "stale", "4"]);
    assert_eq!(shown["c_total{b}"], ["1", "2", "3", "4"]);
    assert_eq!(shown["h{x}"], ["3/3b s1", "3/3b s1", "stale", "3/3b s1"]);
    assert_eq!(world.value("scrape_samples_scraped"), "3 3 1 3");
    assert_eq!(world.value("scrape_series_added"), "3 0 0 2");
}

#[tokio::test(start_paused = true)]
async fn metrics_that_the_store_forgot_are_named_again() {
    let body = messages(&[counter(1.0, 0, &["a"]), histogram(2)]);
    let config = JobConfig { keep_classic_histograms: true, ..native() };
    let world = scraped(config, vec![body], 11).await;
    let before = shown(&world);
    world.store.drop_before(TimestampMs::MAX);
    assert!(shown(&world).is_empty());
    world.pass(10).await;
    let keys = |shown: &BTreeMap<String, Vec<String>>| shown.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&shown(&world)), keys(&before));
    assert!(before.contains_key("h_bucket{x,0.5}") && before.contains_key("h_bucket{x,+Inf}"), "{before:?}");
}

#[tokio::test(start_paused = true)]
async fn each_wish_makes_its_own_series_of_one_message() {
    let classic = ["h_bucket{x,+Inf}", "h_bucket{x,0.5}", "h_count{x}", "h_sum{x}"];
    let wish = |native_histograms, keep_classic_histograms, convert_classic_histograms| JobConfig {
        native_histograms,
        keep_classic_histograms,
        convert_classic_histograms,
        ..job("j")
    };
    for (config, is_native, is_classic, schema) in [
        (wish(false, false, false), false, true, ""),
        (wish(true, false, false), true, false, "s1"),
        (wish(true, true, false), true, true, "s1"),
        (wish(true, false, true), true, false, "s1"),
        (wish(false, false, true), true, false, "s-53"),
        (wish(false, true, true), true, true, "s-53"),
    ] {
        let told = format!("{:?}", (config.native_histograms, config.keep_classic_histograms));
        let shown = shown(&scraped(config, vec![messages(&[histogram(2)]), Answer::Hang], 11).await);
        assert_eq!(classic.iter().all(|name| shown.contains_key(*name)), is_classic, "{told} {shown:?}");
        assert_eq!(shown.get("h{x}").map(|h| h[0].ends_with(schema)), is_native.then_some(true), "{told} {shown:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn limits_count_histograms_and_their_buckets() {
    let with = |limit, factor| JobConfig {
        native_histogram_bucket_limit: limit,
        native_histogram_min_bucket_factor: factor,
        ..native()
    };
    let one = |config| async move { shown(&scraped(config, vec![messages(&[histogram(8)]), Answer::Hang], 11).await) };
    assert_eq!(one(with(None, 0.0)).await["h{x}"], ["8/8b s1"]);
    assert_eq!(one(with(Some(4), 0.0)).await["h{x}"], ["8/4b s0"]);
    assert_eq!(one(with(None, 3.0)).await["h{x}"], ["8/2b s-1"]);
    assert_eq!(one(with(Some(1), 0.0)).await["h{x}"], ["8/1b s-2"]);
    let classic =
        "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"2\"} 2\nh_bucket{le=\"+Inf\"} 3\nh_count 3\n";
    let converting = JobConfig { convert_classic_histograms: true, ..with(Some(2), 0.0) };
    let world = scraped(converting, vec![text(&format!("a 1\n{classic}b 1\n")), Answer::Hang], 11).await;
    assert_eq!(world.status().last_error, "histogram bucket limit exceeded");
    assert_eq!((world.value("up{").as_str(), world.value("scrape_samples_scraped").as_str()), ("0", "3"));
    let world = scraped(
        JobConfig { sample_limit: Some(2), ..native() },
        vec![messages(&[counter(1.0, 0, &["a", "b"]), histogram(1)])],
        9,
    )
    .await;
    assert_eq!(world.status().last_error, "sample limit exceeded");
}

#[tokio::test(start_paused = true)]
async fn a_contradicting_histogram_fails_the_scrape() {
    let odd = family("h", 4, 7, &["x"], |w| {
        w.varint(1, 3);
        w.message(12, |w| w.varint(2, 1));
        w.packed(13, [zigzag(4)].into_iter());
    });
    let world = scraped(native(), vec![messages(&[counter(1.0, 0, &["a"]), odd]), Answer::Hang], 11).await;
    assert_eq!(world.status().last_error, "invalid histogram: the buckets hold 4 observations, the count is 3");
    assert!(!shown(&world).contains_key("c_total{a}"));
}

#[tokio::test(start_paused = true)]
async fn classic_lines_become_histograms_scrape_by_scrape() {
    let body = |n: u32| {
        text(&format!(
            "# TYPE h histogram\nh_bucket{{l=\"x\",le=\"1\"}} {n}\nh_bucket{{l=\"x\",le=\"+Inf\"}} 9\nh_count{{l=\"x\"}} 9\n\
             h_bucket{{l=\"y\",le=\"1\"}} 1\nh_count{{l=\"y\"}} 2.5\n# TYPE g gauge\ng{{l=\"\"}} {n}\n"
        ))
    };
    let config = JobConfig { convert_classic_histograms: true, ..job("j") };
    let world = scraped(config, vec![body(1), body(2), text("# TYPE g gauge\ng 3\n")], 30).await;
    let shown = shown(&world);
    assert_eq!(shown["h{x}"], ["9/2b s-53", "9/2b s-53", "stale"]);
    assert_eq!(shown["h{y}"], ["float 2.5", "float 2.5", "stale"]);
    assert_eq!(shown["g{}"], ["1", "2", "3"]);
    assert!(shown.keys().all(|name| !name.starts_with("h_")), "{shown:?}");
    assert_eq!(world.value("scrape_samples_scraped"), "3 3 1");
}

#[tokio::test(start_paused = true)]
async fn starts_are_handed_over_and_zeros_are_put_once() {
    let start = START / 1000 - 100;
    let body = |n: f64| messages(&[counter(n, start, &["a"])]);
    let read = |start_timestamps| JobConfig { start_timestamps, ..native() };
    for (policy, values, starts) in [
        (StartTimestamps::Ignore, vec!["1", "2"], vec![0, 0]),
        (StartTimestamps::Read, vec!["1", "2"], vec![start * 1000; 2]),
        (StartTimestamps::ZeroSamples, vec!["0", "1", "2"], vec![0, start * 1000, start * 1000]),
    ] {
        let world = scraped(read(policy), vec![body(1.0), body(2.0)], 20).await;
        assert_eq!(shown(&world)["c_total{a}"], values, "{policy:?}");
        let dump = world.store.dump();
        let (_, samples) = dump.iter().find(|(labels, _)| labels.metric_name() == Some("c_total")).expect("there");
        let found: Vec<i64> = samples.iter().map(|s| s.start.0).collect();
        assert_eq!(found, starts, "{policy:?}");
    }
    let created = format!("# TYPE c counter\nc_total{{l=\"a\"}} 5\nc_created{{l=\"a\"}} {start}\n# EOF\n");
    let lines = Answer::Body(OPENMETRICS, created);
    let kept = shown(&scraped(read(StartTimestamps::Ignore), vec![lines.clone(), Answer::Hang], 11).await);
    assert!(kept.contains_key("c_created{a}"));
    let read_lines = shown(&scraped(read(StartTimestamps::ZeroSamples), vec![lines, Answer::Hang], 11).await);
    assert_eq!(read_lines["c_total{a}"], ["0", "5"]);
    assert!(!read_lines.contains_key("c_created{a}"));
}

/// Lines of other families are foreseen also where histograms are converted and starts are read.
#[tokio::test(start_paused = true)]
async fn what_a_line_means_follows_its_family_though_the_line_is_that_of_the_scrape_before() {
    let start = START / 1000 - 100;
    let body = |n: u32, kind: &str| {
        let lines = format!(
            "# TYPE a gauge\na{{l=\"x\"}} {n}\n\
             # TYPE h histogram\nh_bucket{{l=\"x\",le=\"+Inf\"}} {n}\nh_count{{l=\"x\"}} {n}\nh_sum{{l=\"x\"}} 1\nh_created{{l=\"x\"}} {start}\n\
             # TYPE b gauge\nb{{l=\"x\"}} {n}\n\
             # TYPE c counter\nc_total{{l=\"x\"}} {n}\nc_created{{l=\"x\"}} {start}\n\
             # TYPE d gauge\nd{{l=\"x\"}} {n}\n\
             # TYPE k {kind}\nk_bucket{{l=\"x\",le=\"+Inf\"}} {n}\nk_count{{l=\"x\"}} {n}\nk_sum{{l=\"x\"}} 1\n# EOF\n"
        );
        Answer::Body(OPENMETRICS, lines)
    };
    let config = JobConfig { convert_classic_histograms: true, start_timestamps: StartTimestamps::Read, ..job("j") };
    let answers = vec![body(1, "unknown"), body(2, "unknown"), body(3, "histogram"), body(4, "unknown"), Answer::Hang];
    let world = scraped(config, answers, 40).await;
    let shown = shown(&world);
    for name in ["a{x}", "b{x}", "c_total{x}", "d{x}"] {
        assert_eq!(shown[name], ["1", "2", "3", "4"], "{name}");
    }
    assert_eq!(shown["h{x}"], ["1/1b s-53", "2/1b s-53", "3/1b s-53", "4/1b s-53"]);
    for name in ["k_bucket{x,+Inf}", "k_count{x}"] {
        assert_eq!(shown[name], ["1", "2", "stale", "4"], "{name}");
    }
    assert_eq!(shown["k{x}"], ["3/1b s-53", "stale"]);
    assert!(shown.keys().all(|name| !name.contains("created") && !name.starts_with("h_")), "{shown:?}");
    let dump = world.store.dump();
    for (labels, samples) in dump.iter().filter(|(labels, _)| labels.get("l").is_some()) {
        let is_counted = matches!(labels.metric_name(), Some("c_total" | "h"));
        let expected = if is_counted { start * 1000 } else { 0 };
        let last = samples.last().expect("a sample");
        assert!(last.value.is_stale() || last.start.0 == expected, "{labels} {}", last.start.0);
    }
}

#[tokio::test(start_paused = true)]
async fn labels_of_a_target_override_what_its_job_wishes() {
    let world = World::new(vec![messages(&[histogram(2)]), Answer::Hang]);
    world.manager.apply(vec![native()]).expect("valid");
    let target = Labels::from_pairs([("__address__", "h:1"), ("__scrape_native_histograms__", "false")]);
    world
        .manager
        .sync("j", vec![TargetGroup { source: "0".to_owned(), targets: vec![target], labels: Labels::empty() }]);
    world.pass(11).await;
    assert!(shown(&world).contains_key("h_count{x}"));
    assert!(!shown(&world).contains_key("h{x}"));
}

#[tokio::test(start_paused = true)]
async fn long_labels_are_not_multiplied_by_buckets_without_end() {
    let long = "x".repeat(1 << 16);
    let many = family("h", 4, 7, &[&long], |w| {
        w.varint(1, 0);
        for le in 0..2000 {
            w.message(3, |w| w.double(2, f64::from(le)));
        }
    });
    let world = scraped(job("j"), vec![messages(&[many]), Answer::Hang], 11).await;
    let told = world.status().last_error;
    assert!(told.ends_with("the labels are too long for so many series"), "{told}");
}
