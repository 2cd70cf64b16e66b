//! Counters, gauges and histograms, and their exposition.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// A count that only grows.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }
    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A value that goes up and down.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    /// Replaces the value.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }
    /// Adds `delta`, which may be negative.
    pub fn add(&self, delta: f64) {
        // The closure always returns a value, so the update cannot fail.
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bits| Some((f64::from_bits(bits) + delta).to_bits()));
    }
    /// The current value.
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

/// Counts observations in buckets with fixed upper bounds.
#[derive(Clone, Debug)]
pub struct HistogramMetric(Arc<HistogramInner>);

#[derive(Debug)]
struct HistogramInner {
    bounds: &'static [f64],
    buckets: Vec<AtomicU64>,
    sum: Gauge,
}

impl HistogramMetric {
    fn new(bounds: &'static [f64]) -> HistogramMetric {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        HistogramMetric(Arc::new(HistogramInner { bounds, buckets, sum: Gauge::default() }))
    }

    /// Counts one observation.
    pub fn observe(&self, value: f64) {
        let bucket = self.0.bounds.partition_point(|bound| *bound < value);
        self.0.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.0.sum.add(value);
    }
}

#[derive(Clone)]
enum Instrument {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(HistogramMetric),
    Computed(&'static str, Arc<dyn Fn() -> f64 + Send + Sync>),
}

impl Instrument {
    fn type_name(&self) -> &'static str {
        match self {
            Instrument::Counter(_) => "counter",
            Instrument::Gauge(_) => "gauge",
            Instrument::Histogram(_) => "histogram",
            Instrument::Computed(kind, _) => kind,
        }
    }
}

struct Family {
    help: &'static str,
    series: BTreeMap<String, Instrument>,
}

/// Everything that the process counts. Cloning gives another handle to the same registry.
#[derive(Clone, Default)]
pub struct Registry(Arc<Mutex<BTreeMap<&'static str, Family>>>);

impl Registry {
    /// An empty registry.
    pub fn new() -> Registry {
        Registry::default()
    }

    /// The counter of that name and labels, created at first use.
    pub fn counter(&self, name: &'static str, help: &'static str, labels: &[(&str, &str)]) -> Counter {
        match self.instrument(name, help, labels, || Instrument::Counter(Counter::default())) {
            Instrument::Counter(counter) => counter,
            _ => Counter::default(),
        }
    }

    /// The gauge of that name and labels, created at first use.
    pub fn gauge(&self, name: &'static str, help: &'static str, labels: &[(&str, &str)]) -> Gauge {
        match self.instrument(name, help, labels, || Instrument::Gauge(Gauge::default())) {
            Instrument::Gauge(gauge) => gauge,
            _ => Gauge::default(),
        }
    }

    /// The histogram of that name and labels, created at first use with ascending upper `bounds`.
    pub fn histogram(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&str, &str)],
        bounds: &'static [f64],
    ) -> HistogramMetric {
        match self.instrument(name, help, labels, || Instrument::Histogram(HistogramMetric::new(bounds))) {
            Instrument::Histogram(histogram) => histogram,
            _ => HistogramMetric::new(bounds),
        }
    }

    /// A gauge whose value is computed when asked for; replaces an earlier one of that name and labels.
    pub fn gauge_fn(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&str, &str)],
        value: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        self.put(name, help, labels, Instrument::Computed("gauge", Arc::new(value)));
    }

    /// A counter whose value is computed when asked for; replaces an earlier one of that name and labels.
    pub fn counter_fn(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&str, &str)],
        value: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        self.put(name, help, labels, Instrument::Computed("counter", Arc::new(value)));
    }

    /// Forgets one series, for example of a job that is gone.
    pub fn remove(&self, name: &'static str, labels: &[(&str, &str)]) {
        if let Some(family) = self.0.lock().get_mut(name) {
            family.series.remove(&render_labels(labels));
        }
    }

    /// Writes everything in text format 0.0.4.
    pub fn write_text(&self, out: &mut String) {
        // Computed values may take locks of their own, so they are read after ours is released.
        let families: Vec<_> = {
            let map = self.0.lock();
            map.iter().map(|(name, f)| (*name, f.help, f.series.clone())).collect()
        };
        for (name, help, series) in families {
            let Some(first) = series.values().next() else { continue };
            // Writing to a String cannot fail.
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {}", first.type_name());
            for (labels, instrument) in &series {
                write_series(out, name, labels, instrument);
            }
        }
    }

    fn instrument(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&str, &str)],
        create: impl FnOnce() -> Instrument,
    ) -> Instrument {
        let mut map = self.0.lock();
        let family = map.entry(name).or_insert_with(|| Family { help, series: BTreeMap::new() });
        let instrument = family.series.entry(render_labels(labels)).or_insert_with(create).clone();
        debug_assert!(
            family.series.values().all(|i| i.type_name() == instrument.type_name()),
            "{name} was registered with two types"
        );
        instrument
    }

    fn put(&self, name: &'static str, help: &'static str, labels: &[(&str, &str)], instrument: Instrument) {
        let mut map = self.0.lock();
        let family = map.entry(name).or_insert_with(|| Family { help, series: BTreeMap::new() });
        family.series.insert(render_labels(labels), instrument);
    }
}

fn render_labels(labels: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (name, value) in labels {
        let separator = if out.is_empty() { "" } else { "," };
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(out, "{separator}{name}=\"{escaped}\"");
    }
    out
}

fn write_series(out: &mut String, name: &str, labels: &str, instrument: &Instrument) {
    let braced = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
    let _ = match instrument {
        Instrument::Counter(c) => writeln!(out, "{name}{braced} {}", c.get()),
        Instrument::Gauge(g) => writeln!(out, "{name}{braced} {}", g.get()),
        Instrument::Computed(_, value) => writeln!(out, "{name}{braced} {}", value()),
        Instrument::Histogram(h) => {
            let separator = if labels.is_empty() { "" } else { "," };
            let mut count = 0;
            for (i, bucket) in h.0.buckets.iter().enumerate() {
                count += bucket.load(Ordering::Relaxed);
                let le = h.0.bounds.get(i).map_or("+Inf".to_owned(), f64::to_string);
                let _ = writeln!(out, "{name}_bucket{{{labels}{separator}le=\"{le}\"}} {count}");
            }
            writeln!(out, "{name}_sum{braced} {}\n{name}_count{braced} {count}", h.0.sum.get())
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exposition_has_help_type_and_every_series() {
        let r = Registry::new();
        r.counter("watershed_a_total", "A.", &[("job", "x\"y")]).add(3);
        r.gauge("watershed_b", "B.", &[]).set(-0.5);
        r.histogram("watershed_c_seconds", "C.", &[], &[0.1, 1.0]).observe(0.1);
        r.gauge_fn("watershed_d", "D.", &[], || 4.0);
        let mut text = String::new();
        r.write_text(&mut text);
        for line in [
            "# TYPE watershed_a_total counter",
            r#"watershed_a_total{job="x\"y"} 3"#,
            "watershed_b -0.5",
            r#"watershed_c_seconds_bucket{le="0.1"} 1"#,
            r#"watershed_c_seconds_bucket{le="+Inf"} 1"#,
            "watershed_c_seconds_count 1",
            "watershed_d 4",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
        }
    }
}
