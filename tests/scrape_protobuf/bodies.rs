//! What the scripted target says.

use super::message::{COUNTER, GAUGE, GAUGE_HISTOGRAM, HISTOGRAM, Message, SUMMARY, UNTYPED, family};

/// Numbers, summaries, and exemplars of counters.
fn numbers(body: &mut Vec<u8>, now: i64, step: i64) {
    family(body, "requests_total", COUNTER, "Requests so far,\nin two lines.", |m| {
        for (code, exemplar) in [("200", Some(now - 3000)), ("404", None)] {
            m.message(4, |m| {
                m.label("code", code).label("zone", "a \"b\" \\c").message(3, |m| {
                    m.double(1, 41.5 + step as f64).exemplar(2, code, 0.5, exemplar).timestamp(3, now - 60_000);
                });
            });
        }
    });
    family(body, "temperature_celsius", GAUGE, "", |m| {
        for (room, v) in [("cellar", -3.25), ("nan", f64::NAN), ("inf", f64::INFINITY), ("zero", -0.0)] {
            m.message(4, |m| drop(m.label("room", room).message(2, |m| drop(m.double(1, v)))));
        }
        m.message(4, |_| {});
        // Prometheus 3.5 takes only a unit that ends the name.
        m.text(5, "celsius");
    });
    family(body, "said.in.utf8 ü", UNTYPED, "Names are free.", |m| {
        m.message(4, |m| drop(m.label("läbel", "wert").label("empty", "").message(5, |m| drop(m.double(1, 1e-300)))));
    });
    family(body, "old", GAUGE, "With a timestamp of its own.", |m| {
        m.message(4, |m| drop(m.message(2, |m| drop(m.double(1, 7.0))).int(6, now - 20_000)));
    });
    family(body, "nothing", GAUGE, "Without metrics.", |_| {});
    family(body, "latency", SUMMARY, "Quantiles.", |m| {
        m.message(4, |m| {
            m.label("path", "/").message(4, |m| {
                m.int(1, 10 + step).double(2, 12.5);
                for (quantile, v) in [(0.0, 0.5), (0.5, 1.0), (0.999, f64::NAN), (1.0, 4.0), (1e-7, 1.0)] {
                    m.message(3, |m| drop(m.double(1, quantile).double(2, v)));
                }
                m.timestamp(4, now - 50_000);
            });
        });
        m.message(4, |m| drop(m.label("path", "/none").message(4, |m| drop(m.int(1, 0)))));
    });
}

/// Histograms without a native part.
fn classic(body: &mut Vec<u8>, now: i64, step: i64) {
    family(body, "classic_seconds", HISTOGRAM, "Classic.", |m| {
        for path in ["/a", "/b"] {
            m.message(4, |m| {
                m.label("path", path).message(7, |m| {
                    m.int(1, 20 + step).double(2, 33.25).timestamp(15, now - 40_000);
                    m.bucket(0.005, 3).bucket(0.1, 3).bucket(1.0, 8).message(3, |m| {
                        m.int(1, 12 + step).double(2, 2.5).exemplar(3, "classic", 2.25, Some(now - 2000));
                    });
                    m.bucket(10.0, 12 + step)
                        .bucket(100_000.0, 12 + step)
                        .bucket(1e7, 12 + step)
                        .bucket(1e21, 20 + step);
                });
            });
        }
        m.message(4, |m| {
            m.label("path", "/inf").message(7, |m| {
                m.int(1, 9).double(2, -1.0).bucket(-1.0, 4).bucket(f64::INFINITY, 9);
            });
        });
        m.message(4, |m| drop(m.label("path", "/empty").message(7, |m| drop(m.int(1, 5).double(2, 1.0)))));
    });
}

fn native_part(m: &mut Message, now: i64, step: i64) {
    m.int(1, 34 + step).double(2, 100.125).zigzag(5, 3).double(6, 1e-128).int(7, 2 + step).timestamp(15, now - 30_000);
    m.spans(9, &[(-2, 2)]).packed_zigzag(10, &[1, 2]);
    m.spans(12, &[(-10, 3), (4, 2), (0, 1)]).packed_zigzag(13, &[4, -4, 6, 3, -3, -3]);
    m.exemplar(16, "second", 7.5, Some(now - 1000)).exemplar(16, "none", 1.0, None);
    m.exemplar(16, "first", 8.5, Some(now - 1500)).exemplar(16, "twin", 8.5, Some(now - 1500));
}

fn native(body: &mut Vec<u8>, now: i64, step: i64) {
    family(body, "native_seconds", HISTOGRAM, "Native only.", |m| {
        m.message(4, |m| drop(m.label("path", "/n").message(7, |m| native_part(m, now, step))));
        m.message(4, |m| {
            // Nothing has been observed, which an empty span tells.
            m.label("path", "/idle").message(7, |m| drop(m.zigzag(5, 2).double(6, 0.001).spans(12, &[(0, 0)])));
        });
    });
    family(body, "both_seconds", HISTOGRAM, "Native and classic.", |m| {
        m.message(4, |m| {
            m.label("path", "/x").message(7, |m| {
                native_part(m, now, step);
                m.bucket(0.5, 20).bucket(1.0, 25 + step);
            });
        });
    });
    family(body, "exemplars_of_buckets", HISTOGRAM, "", |m| {
        m.message(4, |m| {
            m.message(7, |m| {
                m.int(1, 3).double(2, 3.0).zigzag(5, 0).spans(12, &[(1, 1)]).packed_zigzag(13, &[3]);
                for (le, at) in [(1.0, Some(now - 900)), (2.0, None), (3.0, Some(now - 800))] {
                    m.message(3, |m| {
                        drop(m.int(1, 3).double(2, le).exemplar(
                            3,
                            if at.is_some() { "bucket" } else { "untimed" },
                            le,
                            at,
                        ))
                    });
                }
            });
        });
    });
    family(body, "float_seconds", HISTOGRAM, "Float counts.", |m| {
        m.message(4, |m| {
            m.message(7, |m| {
                m.double(4, 4.75 + step as f64)
                    .double(2, 9.5)
                    .zigzag(5, -1)
                    .double(6, 0.5)
                    .double(8, 0.25 + step as f64);
                m.spans(12, &[(0, 2), (1, 2)]).packed_doubles(14, &[1.5, 0.0, 2.0, 1.0]);
                m.timestamp(15, now - 30_000);
            });
        });
    });
    family(body, "level", GAUGE_HISTOGRAM, "A gauge histogram.", |m| {
        m.message(4, |m| {
            m.message(7, |m| {
                m.int(1, 6 - step).double(2, 5.5).zigzag(5, 0).spans(12, &[(1, 2)]).packed_zigzag(13, &[3, -step]);
            });
        });
    });
}

/// Everything, as it is at `step`.
pub fn everything(now: i64, step: i64) -> Vec<u8> {
    let mut body = Vec::new();
    numbers(&mut body, now, step);
    classic(&mut body, now, step);
    native(&mut body, now, step);
    body
}

/// What no histogram with native parts is in.
pub fn without_native(now: i64, step: i64) -> Vec<u8> {
    let mut body = Vec::new();
    numbers(&mut body, now, step);
    classic(&mut body, now, step);
    body
}

/// Half of what [`everything`] holds.
pub fn shorter(now: i64) -> Vec<u8> {
    let mut body = Vec::new();
    numbers(&mut body, now, 1);
    body
}

/// One histogram whose buckets are too far apart to be merged into few.
pub fn wide() -> Vec<u8> {
    let mut body = Vec::new();
    family(&mut body, "wide", HISTOGRAM, "", |m| {
        m.message(4, |m| {
            m.message(7, |m| {
                m.int(1, 3).zigzag(5, -4).spans(12, &[(-30, 1), (20, 1), (20, 1)]).packed_zigzag(13, &[1, 0, 0]);
            });
        });
    });
    body
}

/// One histogram that contradicts itself.
pub fn contradiction() -> Vec<u8> {
    let mut body = shorter(1_000_000);
    family(&mut body, "odd", HISTOGRAM, "", |m| {
        m.message(4, |m| {
            m.message(7, |m| drop(m.int(1, 3).zigzag(5, 0).spans(12, &[(1, 1)]).packed_zigzag(13, &[4])));
        });
    });
    body
}

/// OpenMetrics with classic histograms, exemplars and `_created` lines.
pub fn open_metrics(now: i64, step: i64) -> Vec<u8> {
    let seconds = |ms: i64| format!("{}.{:03}", ms / 1000, ms % 1000);
    let (created, seen) = (seconds(now - 30_000), seconds(now - 1000));
    let n = 10 + step;
    format!(
        "# TYPE om_requests counter\n# HELP om_requests Requests.\n\
         om_requests_total{{code=\"200\"}} {n} # {{trace_id=\"om\"}} 0.5 {seen}\nom_requests_created{{code=\"200\"}} {created}\n\
         om_requests_total{{code=\"404\"}} 1\n\
         # TYPE om_seconds histogram\n# UNIT om_seconds seconds\n\
         om_seconds_bucket{{path=\"/a\",le=\"0.5\"}} 4\n\
         om_seconds_bucket{{path=\"/a\",le=\"1.0\"}} 7 # {{trace_id=\"a1\"}} 0.75 {seen}\n\
         om_seconds_bucket{{path=\"/a\",le=\"+Inf\"}} {n} # {{trace_id=\"untimed\"}} 3\n\
         om_seconds_count{{path=\"/a\"}} {n}\nom_seconds_sum{{path=\"/a\"}} 12.5\nom_seconds_created{{path=\"/a\"}} {created}\n\
         om_seconds_bucket{{path=\"/b\",le=\"0.5\"}} 1\nom_seconds_bucket{{path=\"/b\",le=\"+Inf\"}} 2\n\
         om_seconds_count{{path=\"/b\"}} 2\nom_seconds_sum{{path=\"/b\"}} 1.5\nom_seconds_created{{path=\"/b\"}} {created}\n\
         # TYPE om_fraction histogram\n\
         om_fraction_bucket{{le=\"1\"}} 1.5\nom_fraction_bucket{{le=\"2\"}} 1.5\nom_fraction_bucket{{le=\"+Inf\"}} 4.5\n\
         om_fraction_count 4.5\nom_fraction_sum 3\n\
         # TYPE om_odd histogram\nom_odd_bucket{{le=\"1\"}} 5\nom_odd_bucket{{le=\"2\"}} 4\nom_odd_bucket{{le=\"+Inf\"}} 9\n\
         om_odd_count 9\nom_odd_sum 3\n\
         # TYPE om_latency summary\nom_latency{{quantile=\"0.5\"}} 1\nom_latency_count 4\nom_latency_sum 2\nom_latency_created {created}\n\
         # TYPE om_level gaugehistogram\nom_level_bucket{{le=\"1\"}} 1\nom_level_bucket{{le=\"+Inf\"}} 2\nom_level_gcount 2\nom_level_gsum 2\n\
         # TYPE om_gauge gauge\nom_gauge 1\nom_gauge_created 5\n# EOF\n"
    )
    .into_bytes()
}

/// The same without `_created` lines.
pub fn bare_open_metrics(now: i64, step: i64) -> Vec<u8> {
    let text = String::from_utf8(open_metrics(now, step)).expect("text");
    let kept = text.lines().filter(|line| line.starts_with('#') || !line.contains("_created"));
    kept.flat_map(|line| [line, "\n"]).collect::<String>().into_bytes()
}

/// The classic text format with histograms in several shapes.
pub fn text(_now: i64, step: i64) -> Vec<u8> {
    let n = 10 + step;
    format!(
        "# HELP t_seconds Seconds.\n# TYPE t_seconds histogram\n\
         t_seconds_bucket{{path=\"/a\",le=\"0.5\"}} 4\nt_seconds_bucket{{path=\"/a\",le=\"1\"}} 7\n\
         t_seconds_bucket{{path=\"/a\",le=\"+Inf\"}} {n}\nt_seconds_sum{{path=\"/a\"}} 12.5\nt_seconds_count{{path=\"/a\"}} {n}\n\
         t_seconds_bucket{{le=\"0.5\",path=\"/b\"}} 0\nt_seconds_bucket{{path=\"/b\",le=\"+Inf\"}} 3\n\
         t_seconds_sum{{path=\"/b\"}} 12.5\nt_seconds_count{{path=\"/b\"}} 3\n\
         # HELP t_other Other.\n# TYPE t_other counter\nt_other 5\n\
         # TYPE t_unordered histogram\n\
         t_unordered_bucket{{le=\"2\"}} 6\nt_unordered_bucket{{le=\"1\"}} 5\nt_unordered_count 8\nt_unordered_sum 4\n\
         # TYPE t_countless histogram\nt_countless_bucket{{le=\"1\"}} 5\nt_countless_bucket{{le=\"2\"}} 6\n\
         # TYPE t_long histogram\n\
         t_long_bucket{{le=\"1\"}} 1\nt_long_bucket{{le=\"2\"}} 1\nt_long_bucket{{le=\"3\"}} 1\nt_long_bucket{{le=\"4\"}} 1\n\
         t_long_bucket{{le=\"5\"}} 1\nt_long_bucket{{le=\"6\"}} 2\nt_long_bucket{{le=\"+Inf\"}} 2\nt_long_count 2\nt_long_sum 7\n\
         # TYPE t_summary summary\nt_summary{{quantile=\"0.5\"}} 1\nt_summary_sum 1\nt_summary_count 1\n\
         # TYPE t_lonely histogram\nt_lonely 3\nt_lonely_created 4\nt_lonely_bucket 3\nt_lonely_bucket{{le=\"x\"}} 3\n\
         t_untyped_bucket{{le=\"1\"}} 3\nt_untyped_count 3\n"
    )
    .into_bytes()
}
