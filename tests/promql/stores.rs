//! Filling a store with what a script loads.

use std::path::Path;
use std::sync::Arc;

use watershed::disk::MemDisk;
use watershed::model::{DurationMs, FloatHistogram, Labels, TimestampMs};
use watershed::runtime::Clock;
use watershed::storage::memory::MemoryStore;
use watershed::storage::{Appendable, Appender, FloatSample, HistogramRef, HistogramSample, Queryable};
use watershed::telemetry::Registry;
use watershed::tsdb::{Deps, Options, Tsdb};

use super::histograms::Classic;
use super::notation::Item;
use super::script::{Load, Loaded};

/// A store that a script is run on.
pub trait Store: Appendable + Queryable {}

impl<S: Appendable + Queryable> Store for S {}

/// Makes empty stores.
pub type Open = dyn Fn() -> Box<dyn Store> + Sync;

/// Makes the store that is obviously right.
pub fn memory() -> Box<dyn Store> {
    Box::new(MemoryStore::new())
}

/// Makes the store that a server has; what it writes stays in memory.
pub fn on_disk() -> Box<dyn Store> {
    // Scripts add older samples later: all of them must be within what can still be appended.
    let options = Options { chunk_range: DurationMs::from_secs(100 * 24 * 3600), ..Options::default() };
    let clock = Clock::manual(TimestampMs(0));
    let deps = Deps { disk: Arc::new(MemDisk::default()), clock, registry: Registry::new() };
    Box::new(Tsdb::open(Path::new("/data"), options, deps).expect("the store opens").0)
}

/// Adds what is loaded.
pub fn fill(store: &dyn Store, load: &Load) {
    let mut appender = store.appender();
    for (labels, samples) in &load.series {
        append(&mut *appender, labels, samples);
    }
    if load.with_custom_buckets {
        let mut classic = Classic::default();
        for (labels, samples) in &load.series {
            let floats = samples.iter().filter_map(|s| match s.value {
                Item::Float(v) => Some((s.t, v)),
                _ => None,
            });
            classic.add(labels, floats);
        }
        for (labels, histograms) in classic.native() {
            let native = |(t, h): (i64, FloatHistogram)| {
                let value = Item::Histogram { value: Box::new(h), has_hint: false };
                Loaded { t, start: 0, value }
            };
            append(&mut *appender, &labels, &histograms.into_iter().map(native).collect::<Vec<_>>());
        }
    }
    let report = appender.commit().expect("the store takes samples");
    assert_eq!(report.refused.total(), 0, "a script's samples are refused: {report:?}");
}

fn append(appender: &mut dyn Appender, labels: &Labels, samples: &[Loaded]) {
    let series = appender.series(labels).expect("the store takes series");
    for Loaded { t, start, value } in samples {
        let (t, start) = (TimestampMs(*t), TimestampMs(*start));
        let unknown = match value {
            Item::Gap => continue,
            Item::Float(v) => appender.append_with_starts(&[FloatSample { series, t, v: *v }], &[start]),
            Item::Histogram { value, .. } => {
                appender.append_histograms(&[HistogramSample { series, t, start, value: HistogramRef::Float(value) }])
            }
        };
        assert!(unknown.expect("the store takes samples").0.is_empty());
    }
}
