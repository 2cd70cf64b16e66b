//! Functions over windows, by example and by law.

use super::*;
use crate::model::{BucketLayout, Labels, Span};
use crate::promql::ast::ValueType;
use crate::promql::exec::{Cell, Steps};
use crate::promql::functions::signatures::FUNCTIONS;

/// Windows over samples, one per step, with the samples so long before and after them.
pub(super) fn windows_around(samples: &Samples, steps: Steps, range: i64, before: i64, after: i64) -> Vec<Window> {
    let upto = |times: &[i64], t: i64| times.partition_point(|time| *time <= t);
    let around = |times: &[i64], end: i64| upto(times, end - range - before)..upto(times, end + after);
    let window =
        |end| Window { end, floats: around(&samples.times, end), histograms: around(&samples.histogram_times, end) };
    steps.iter().map(window).collect()
}

/// What a function makes of some of the steps.
fn call(
    name: &str,
    samples: &Samples,
    (steps, range): (Steps, i64),
    extension: Extension,
    windows: &[Window],
    args: &[Vec<f64>],
) -> StepSeries {
    let call = RangeCall {
        labels: &Labels::default(),
        samples,
        windows,
        range,
        extension,
        args,
        steps,
        uses_starts: true,
        has_type_labels: false,
        position: Position::default(),
    };
    let mut out = StepSeries::absent(Labels::default(), steps.count);
    range_function(name).unwrap()(&call, &mut out, &mut Notes::default()).unwrap();
    out
}

/// Floats at intervals of 15 s, evaluated every 30 s over a minute, from the first whole window on.
fn run(name: &str, floats: &[f64], args: &[f64]) -> Vec<f64> {
    let times = (1..=floats.len() as i64).map(|i| i * 15_000).collect();
    let samples = Samples { times, floats: floats.to_vec(), ..Samples::default() };
    let steps = Steps::between(60_000, floats.len() as i64 * 15_000, 30_000);
    let windows = windows_around(&samples, steps, 60_000, 0, 0);
    let args: Vec<_> = args.iter().map(|v| vec![*v; steps.count]).collect();
    call(name, &samples, (steps, 60_000), Extension::None, &windows, &args).floats
}

#[test]
fn every_function_with_a_range_vector_is_here() {
    for function in &FUNCTIONS {
        let takes_windows = function.args.contains(&ValueType::Matrix);
        assert_eq!(range_function(function.name).is_some(), takes_windows, "{}", function.name);
    }
}

#[test]
fn a_counter_that_falls_has_started_again_at_zero() {
    assert_eq!(run("increase", &[10.0, 20.0, 5.0, 15.0], &[]), [(5.0 + 20.0) * (60.0 / 45.0)]);
    assert_eq!(run("resets", &[10.0, 20.0, 5.0, 15.0, 1.0, 0.0], &[]), [1.0, 2.0]);
    assert_eq!(run("delta", &[10.0, 20.0, 5.0, 15.0], &[]), [5.0 * (60.0 / 45.0)]);
}

#[test]
fn windows_slide() {
    let floats = [1.0, 3.0, 2.0, f64::NAN, 0.0, 7.0, 7.0, 4.0];
    assert_eq!(run("max_over_time", &floats, &[]), [3.0, 7.0, 7.0]);
    assert_eq!(run("min_over_time", &floats, &[]), [1.0, 0.0, 0.0]);
    assert_eq!(run("ts_of_max_over_time", &floats, &[]), [30.0, 90.0, 105.0]);
    assert_eq!(run("quantile_over_time", &[1.0, 3.0, 2.0, 5.0, 0.0, 7.0], &[0.5]), [2.5, 3.5]);
    assert_eq!(run("changes", &floats, &[])[2], 2.0);
}

/// Numbers that look random, the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn float(&mut self, kind: u64, before: f64) -> f64 {
        let special = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN, 0.1, 1e-300];
        match kind {
            0 if !self.one_in(20) => before + self.below(50) as f64,
            1 if !self.one_in(20) => before + self.below(1000) as f64 / 7.0,
            2 => self.below(1000) as f64 / 10.0,
            3 if self.one_in(10) => special[self.below(7) as usize],
            _ => self.below(6) as f64,
        }
    }

    /// A counter in two buckets.
    fn histogram(&mut self, before: &FloatHistogram) -> FloatHistogram {
        let mut h = before.clone();
        if h.positive_buckets.is_empty() || self.one_in(15) {
            let spans = vec![Span { offset: self.below(3) as i32, length: 2 }];
            let layout =
                BucketLayout { schema: self.below(2) as i32, positive_spans: spans, ..BucketLayout::default() };
            h = FloatHistogram { layout, positive_buckets: vec![0.0; 2], ..FloatHistogram::default() };
        }
        h.positive_buckets.iter_mut().for_each(|count| *count += self.below(9) as f64);
        h.count = h.positive_buckets.iter().sum();
        h.sum = h.count / 3.0;
        h
    }

    fn samples(&mut self) -> Samples {
        let (kind, histograms, jitter) = (self.below(5), self.below(3), 1 + self.below(2) * 900);
        let (mut samples, mut v, mut h) = (Samples::default(), 0.0, FloatHistogram::default());
        for i in 0..120 {
            let time = i * 15_000 + self.below(jitter) as i64;
            let start = time - [0, 7_000, 40_000][self.below(3) as usize];
            if self.one_in(20) {
                continue;
            }
            if histograms == 1 || histograms == 2 && self.one_in(8) {
                h = self.histogram(&h);
                samples.histogram_times.push(time);
                samples.histogram_starts.push(start);
                samples.histograms.push(Arc::new(h.clone()));
            } else {
                v = self.float(kind, v);
                samples.times.push(time);
                samples.starts.push(start);
                samples.floats.push(v);
            }
        }
        if self.one_in(2) {
            (samples.starts, samples.histogram_starts) = (Vec::new(), Vec::new());
        }
        samples
    }
}

fn text(cell: Cell<'_>) -> String {
    format!("{cell:?}")
}

/// Calls a function for all windows at once, and for each by itself.
fn compare(seed: u64, name: &str, extension: Extension, samples: &Samples, (steps, range): (Steps, i64)) {
    let lookback = 40_000;
    let (before, after) = match extension {
        Extension::None => (0, 0),
        Extension::Anchored => (lookback, 0),
        Extension::Smoothed => (lookback, lookback),
    };
    let windows = windows_around(samples, steps, range, before, after);
    let args: Vec<Vec<f64>> = vec![(0..steps.count).map(|step| (step % 7 + 1) as f64 / 9.0).collect(); 2];
    let all = call(name, samples, (steps, range), extension, &windows, &args);
    for (step, window) in windows.iter().enumerate() {
        let args: Vec<_> = args.iter().map(|column| vec![column[step]]).collect();
        let step_alone = (Steps::single(steps.at(step)), range);
        let alone = call(name, samples, step_alone, extension, std::slice::from_ref(window), &args);
        assert_eq!(
            text(all.cell(step)),
            text(alone.cell(0)),
            "seed {seed}: {name} {extension:?} over {range}: {window:?}"
        );
    }
}

#[test]
fn a_window_gives_the_same_alone_as_among_others() {
    for seed in 1..=30u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let samples = random.samples();
        let range = [1_000, 15_000, 60_000, 61_500, 300_000, 900_000][random.below(6) as usize];
        let interval = [15_000, 30_000, 1_000, 7_777, 100_000][random.below(5) as usize];
        let start = random.below(500_000) as i64 - 20_000;
        let times = (Steps::between(start, start + 60 * interval, interval), range);
        for function in FUNCTIONS.iter().filter(|function| function.args.contains(&ValueType::Matrix)) {
            for extension in [Extension::None, Extension::Anchored, Extension::Smoothed] {
                let is_allowed = match extension {
                    Extension::None => true,
                    Extension::Anchored => ANCHORED_FUNCTIONS.contains(&function.name),
                    Extension::Smoothed => SMOOTHED_FUNCTIONS.contains(&function.name),
                };
                if is_allowed {
                    compare(seed, function.name, extension, &samples, times);
                }
            }
        }
    }
}
