//! What the formats say of the same samples.

use std::io;

use super::answer::FLUSH_BYTES;
use super::*;
use crate::model::labels::push_pair;
use crate::model::{Annotations, EscapingScheme, Labels, Metadata, TimestampMs};
use crate::storage::{LatestBatch, LatestStream, QueryError, StreamEnd, StreamStep};

mod formats;
mod in_text;
mod round_trip;

/// Hands out rows in batches of a given size.
struct Rows {
    rows: Vec<(Labels, f64, i64)>,
    batch: usize,
    fail_at_end: bool,
}

impl LatestStream for Rows {
    fn next(&mut self, batch: &mut LatestBatch) -> Result<StreamStep, QueryError> {
        batch.clear();
        if self.rows.is_empty() {
            if self.fail_at_end {
                return Err(QueryError::NotReady("test".to_owned()));
            }
            let mut annotations = Annotations::none();
            annotations.warn("one member is missing");
            return Ok(StreamStep::End(StreamEnd { annotations, ..StreamEnd::default() }));
        }
        for (labels, v, t) in self.rows.drain(..self.batch.min(self.rows.len())) {
            let start = batch.arena.len();
            labels.iter().for_each(|(name, value)| push_pair(&mut batch.arena, name, value));
            batch.push_row(start, TimestampMs(t), v);
        }
        Ok(StreamStep::Batch)
    }
}

fn row(pairs: &[(&str, &str)], v: f64) -> (Labels, f64, i64) {
    (Labels::from_pairs(pairs.iter().copied()), v, 1_795_248_021_098)
}

fn text(rows: Vec<(Labels, f64, i64)>, external: &[(&str, &str)], escaping: EscapingScheme) -> String {
    let mut out = Vec::new();
    let mut stream = Rows { rows, batch: 3, fail_at_end: false };
    let external = Labels::from_pairs(external.iter().copied());
    let written = write(&mut stream, untyped(&external, escaping), &mut |buffer| {
        out.append(buffer);
        Ok(())
    })
    .unwrap();
    assert_eq!(written.bytes, out.len() as u64);
    assert!(!written.end.annotations.is_empty(), "warnings must come through");
    String::from_utf8(out).unwrap()
}

/// Text 0.0.4 where nothing is known of any family.
fn untyped(external: &Labels, escaping: EscapingScheme) -> Answer<'_> {
    fn nothing(_: &str) -> Option<Metadata> {
        None
    }
    let format = Format { body: BodyFormat::Text004, escaping };
    Answer { format, external, lookup: &nothing, exemplars: Vec::new() }
}

const EXTERNAL: &[(&str, &str)] = &[("site", "cabin"), ("zone", "q\"x"), ("dot.ted", "y")];

/// What a real server, version 3.5, served for these series and external labels.
fn served_by_the_reference() -> (Vec<(Labels, f64, i64)>, &'static str) {
    let own = |name: &'static str, more: &[(&str, &str)], v| {
        let common = [("__name__", name), ("instance", "h:1"), ("job", "t")];
        row(&[&common[..], more].concat(), v)
    };
    let rows = vec![
        own("0abc", &[], 3.0),
        own("A", &[("B", "x")], 1e20),
        own("a:b:c", &[("lab", "é")], 1e6),
        own("café", &[("☺", "z")], 4.0),
        own("m1", &[("exported_instance", "own"), ("x", "a\"b\\c\nd")], 1e20),
        own("m3", &[], -0.0),
        own("m4", &[], f64::NAN),
        own("m5", &[], f64::INFINITY),
        own("m7", &[], 123_456_789.123),
        own("my.metric", &[("0num", "v")], 2.0),
        own("my.metric", &[("l.x", "v"), ("ok", "1")], 2.0),
        own("zz", &[("Z", "1"), ("a", "2")], 1.0),
        own("zz", &[("a", "1")], 1e21),
    ];
    let text = r#"# TYPE _abc untyped
_abc{instance="h:1",job="t",dot_ted="y",site="cabin",zone="q\"x"} 3 1795248021098
# TYPE A untyped
A{B="x",instance="h:1",job="t",dot_ted="y",site="cabin",zone="q\"x"} 1e+20 1795248021098
# TYPE a:b:c untyped
a:b:c{instance="h:1",job="t",lab="é",dot_ted="y",site="cabin",zone="q\"x"} 1e+06 1795248021098
# TYPE caf_ untyped
caf_{instance="h:1",job="t",_="z",dot_ted="y",site="cabin",zone="q\"x"} 4 1795248021098
# TYPE m1 untyped
m1{exported_instance="own",instance="h:1",job="t",x="a\"b\\c\nd",dot_ted="y",site="cabin",zone="q\"x"} 1e+20 1795248021098
# TYPE m3 untyped
m3{instance="h:1",job="t",dot_ted="y",site="cabin",zone="q\"x"} 0 1795248021098
# TYPE m4 untyped
m4{instance="h:1",job="t",dot_ted="y",site="cabin",zone="q\"x"} NaN 1795248021098
# TYPE m5 untyped
m5{instance="h:1",job="t",dot_ted="y",site="cabin",zone="q\"x"} +Inf 1795248021098
# TYPE m7 untyped
m7{instance="h:1",job="t",dot_ted="y",site="cabin",zone="q\"x"} 1.23456789123e+08 1795248021098
# TYPE my_metric untyped
my_metric{_num="v",instance="h:1",job="t",dot_ted="y",site="cabin",zone="q\"x"} 2 1795248021098
my_metric{instance="h:1",job="t",l_x="v",ok="1",dot_ted="y",site="cabin",zone="q\"x"} 2 1795248021098
# TYPE zz untyped
zz{Z="1",a="2",instance="h:1",job="t",dot_ted="y",site="cabin",zone="q\"x"} 1 1795248021098
zz{a="1",instance="h:1",job="t",dot_ted="y",site="cabin",zone="q\"x"} 1e+21 1795248021098
"#;
    (rows, text)
}

#[test]
fn the_bytes_are_those_of_the_reference() {
    let (rows, expected) = served_by_the_reference();
    assert_eq!(text(rows, EXTERNAL, EscapingScheme::Underscores), expected);
}

#[test]
fn special_names_are_written_as_the_client_asked() {
    let my = || vec![row(&[("__name__", "my.metric"), ("instance", "i"), ("0num", "v"), ("a:b", "c")], 2.0)];
    for (escaping, expected) in [
        (
            EscapingScheme::AllowUtf8,
            "# TYPE \"my.metric\" untyped\n{\"my.metric\",\"0num\"=\"v\",\"a:b\"=\"c\",instance=\"i\",\"dot.ted\"=\"y\"} 2 1795248021098\n",
        ),
        (
            EscapingScheme::Values,
            "# TYPE U__my_2e_metric untyped\nU__my_2e_metric{U___30_num=\"v\",\"a:b\"=\"c\",instance=\"i\",U__dot_2e_ted=\"y\"} 2 1795248021098\n",
        ),
        (
            EscapingScheme::Dots,
            "# TYPE my_dot_metric untyped\nmy_dot_metric{__num=\"v\",\"a:b\"=\"c\",instance=\"i\",dot_dot_ted=\"y\"} 2 1795248021098\n",
        ),
    ] {
        assert_eq!(text(my(), &[("dot.ted", "y")], escaping), expected);
    }
    let odd = vec![row(&[("__name__", "a\"\\\nb")], 1.0)];
    let expected = "# TYPE \"a\\\"\\\\\\nb\" untyped\n{\"a\\\"\\\\\\nb\",instance=\"\"} 1 1795248021098\n";
    assert_eq!(text(odd, &[], EscapingScheme::AllowUtf8), expected);
}

#[test]
fn own_labels_win_and_absent_ones_are_added_in_order() {
    let lines = |pairs: &[(&str, &str)], external: &[(&str, &str)]| {
        let text = text(vec![row(pairs, 1.0)], external, EscapingScheme::Underscores);
        text.lines().nth(1).unwrap().trim_end_matches(" 1 1795248021098").to_owned()
    };
    let up = ("__name__", "up");
    assert_eq!(lines(&[up], &[]), r#"up{instance=""}"#);
    assert_eq!(lines(&[up], &[("z", "1"), ("a", "2")]), r#"up{a="2",instance="",z="1"}"#);
    assert_eq!(
        lines(&[up, ("z", "own"), ("Z", "x")], &[("z", "1"), ("a", "2")]),
        r#"up{Z="x",z="own",a="2",instance=""}"#
    );
    assert_eq!(lines(&[up, ("b", "own")], &[("instance", "me"), ("b", "1")]), r#"up{b="own",instance="me"}"#);
    assert_eq!(lines(&[up, ("instance", "i")], &[("a", "1"), ("zz", "2")]), r#"up{instance="i",a="1",zz="2"}"#);
}

#[test]
fn series_without_a_name_are_left_out_and_counted() {
    let rows = vec![row(&[("a", "1")], 1.0), row(&[("__name__", "up")], 1.0)];
    let mut stream = Rows { rows, batch: 10, fail_at_end: false };
    let mut out = Vec::new();
    let written = write(&mut stream, untyped(&Labels::empty(), EscapingScheme::Underscores), &mut |buffer| {
        out.extend_from_slice(buffer);
        Ok(())
    })
    .unwrap();
    assert_eq!((written.series, written.nameless), (1, 1));
    assert_eq!(out, b"# TYPE up untyped\nup{instance=\"\"} 1 1795248021098\n");
}

#[test]
fn the_answer_is_handed_on_in_bounded_pieces() {
    let long = "x".repeat(1000);
    let rows = (0..1000).map(|i| row(&[("__name__", "m"), ("i", &format!("{i:04}")), ("long", &long)], 1.0)).collect();
    let mut stream = Rows { rows, batch: 100, fail_at_end: false };
    let mut pieces = Vec::new();
    let written = write(&mut stream, untyped(&Labels::empty(), EscapingScheme::Underscores), &mut |buffer| {
        pieces.push(buffer.len());
        Ok(())
    })
    .unwrap();
    assert!(written.bytes > 6 * FLUSH_BYTES as u64, "long enough to tell");
    assert!(pieces.iter().all(|len| *len < FLUSH_BYTES + 2000), "{pieces:?}");
}

#[test]
fn failures_of_either_side_end_the_answer() {
    let mut stream = Rows { rows: vec![row(&[("__name__", "up")], 1.0)], batch: 1, fail_at_end: true };
    let mut called = false;
    let result = write(&mut stream, untyped(&Labels::empty(), EscapingScheme::Underscores), &mut |_| {
        called = true;
        Ok(())
    });
    assert!(matches!(result, Err(FederateError::Query(_))) && !called, "an early failure hands nothing on");
    let mut stream = Rows { rows: vec![row(&[("__name__", "up")], 1.0)], batch: 1, fail_at_end: false };
    let gone = &mut |_: &mut Vec<u8>| Err(io::Error::from(io::ErrorKind::BrokenPipe));
    assert!(matches!(
        write(&mut stream, untyped(&Labels::empty(), EscapingScheme::Underscores), gone),
        Err(FederateError::Sink(_))
    ));
}
