//! A store that hands out labels in text gets the same answer as one that does not.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::formats::{T, told};
use super::round_trip::any_series;
use crate::disk::MemDisk;
use crate::federate::{Answer, BodyFormat, Format, write};
use crate::model::{EscapingScheme, Labels, TimestampMs};
use crate::runtime::Clock;
use crate::storage::{
    Appendable as _, FloatSample, LatestBatch, LatestStream, PartOf, QueryError, Queryable as _, Scope, SelectRequest,
    StreamStep, TimeRange,
};
use crate::telemetry::Registry;
use crate::tsdb::{Deps, Options, Tsdb};

/// More series than have a pair before the store keeps it in text.
const COPIES: usize = 6;

/// Hides from a stream that rows are wanted in text, and counts those that come in it.
struct Watched<'a> {
    stream: Box<dyn LatestStream + 'a>,
    in_text: bool,
    texts: usize,
}

impl LatestStream for Watched<'_> {
    fn next(&mut self, batch: &mut LatestBatch) -> Result<StreamStep, QueryError> {
        if !self.in_text {
            *batch = LatestBatch::default();
        }
        let step = self.stream.next(batch)?;
        self.texts += batch.rows.iter().filter(|row| batch.text(row).is_some()).count();
        Ok(step)
    }

    fn by_family(&mut self, part_of: &mut PartOf<'_>) -> bool {
        self.stream.by_family(part_of)
    }
}

fn store(series: &[(Labels, f64)]) -> Tsdb {
    let clock = Clock::manual(TimestampMs(T));
    let deps = Deps { disk: Arc::new(MemDisk::new()), clock, registry: Registry::new() };
    let (store, _) = Tsdb::open(Path::new("/data"), Options::default(), deps).unwrap();
    let mut appender = store.appender();
    for (labels, v) in series {
        let series = appender.series(labels).unwrap();
        appender.append(&[FloatSample { series, t: TimestampMs(T), v: *v }]).unwrap();
    }
    appender.commit().unwrap();
    store
}

fn answer(store: &Tsdb, body: BodyFormat, external: &Labels, in_text: bool) -> (String, usize) {
    let request = SelectRequest { selectors: &[vec![]], range: TimeRange::ALL, sorted: true, limit: None };
    let stream = store.select_latest(&Scope::unbounded(), &request).unwrap();
    let mut stream = Watched { stream, in_text, texts: 0 };
    let format = Format { body, escaping: EscapingScheme::AllowUtf8 };
    let answer = Answer { format, external, lookup: &told, exemplars: Vec::new() };
    let mut out = Vec::new();
    let written = write(&mut stream, answer, &mut |buffer| {
        out.append(buffer);
        Ok(())
    });
    assert_eq!(written.unwrap().nameless, 0);
    (String::from_utf8_lossy(&out).into_owned(), stream.texts)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn the_bytes_are_the_same_whether_labels_come_encoded_or_in_text(
        series in prop::collection::vec(any_series(), 1..12),
        external in prop::collection::vec(("[a-z]{1,3}|le|instance|site", "[^\0]{1,5}"), 0..4),
    ) {
        let copies = |(labels, v): &(Labels, f64)| {
            let copy = |i: usize| {
                let i = i.to_string();
                (Labels::from_pairs(labels.iter().filter(|(name, _)| *name != "copy").chain([("copy", &*i)])), *v)
            };
            (0..COPIES).map(copy).collect::<Vec<_>>()
        };
        let mut series: Vec<(Labels, f64)> = series.iter().flat_map(copies).collect();
        series.sort_by(|a, b| a.0.cmp(&b.0));
        series.dedup_by(|a, b| a.0 == b.0);
        // One without any label that could be in the way, so that there is always text.
        series.push((Labels::from_pairs([("__name__", "plain"), ("instance", "i")]), 1.0));
        let store = store(&series);
        let external = Labels::from_pairs(external.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        for body in [BodyFormat::Text004, BodyFormat::OpenMetrics100, BodyFormat::Protobuf] {
            let (encoded, none) = answer(&store, body, &external, false);
            let (text, some) = answer(&store, body, &external, true);
            prop_assert_eq!(none, 0);
            prop_assert_eq!(some > 0, body != BodyFormat::Protobuf);
            prop_assert_eq!(encoded, text);
        }
    }
}
