//! Instant vector selectors: the newest sample of each series at each step.

use super::read::{Markers, Reading};
use super::series::StepSeries;
use super::steps::Steps;
use super::{Evaluator, Failure, Sink};
use crate::model::{TimestampMs, is_stale};
use crate::promql::functions::range::Samples;
use crate::promql::plan::Select;
use crate::storage::TimeRange;

/// What of a sample is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wanted {
    /// Its value.
    Value,
    /// Its time in seconds; of histograms too.
    Time,
    /// Of floats its time in seconds, of histograms its value.
    TimeOfFloat,
    /// Its start timestamp in seconds, 0 if it has none; of histograms too.
    Start,
}

/// The instants that a selector looks at: one per step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Instants {
    steps: Steps,
    offset: i64,
    at: Option<i64>,
}

impl Instants {
    pub fn new(steps: Steps, offset: i64, at: Option<i64>) -> Instants {
        Instants { steps, offset, at }
    }

    /// The one of a step.
    pub fn of(&self, step: usize) -> i64 {
        self.at.unwrap_or(self.steps.at(step)).saturating_sub(self.offset)
    }

    /// All of them; never descending.
    pub fn iter(&self) -> impl Iterator<Item = i64> + use<> {
        let Instants { steps, offset, at } = *self;
        steps.iter().map(move |t| at.unwrap_or(t).saturating_sub(offset))
    }

    /// From `before` milliseconds before the first, which does not belong to it, until `after` behind the last.
    pub fn range(&self, before: i64, after: i64) -> TimeRange {
        TimeRange {
            min: TimestampMs(self.of(0).saturating_sub(before).saturating_add(1)),
            max: TimestampMs(self.of(self.steps.count.saturating_sub(1)).saturating_add(after)),
        }
    }
}

impl Evaluator<'_> {
    /// Runs a selector.
    pub fn select(&self, select: &Select, wanted: Wanted, steps: Steps, sink: Sink<'_>) -> Result<(), Failure> {
        if steps.count == 0 {
            return Ok(());
        }
        let instants = Instants::new(steps, select.offset, select.at);
        let lookback = self.context.lookback;
        let range = instants.range(lookback, 0);
        let reading = Reading { select, range, markers: Markers::Kept };
        self.read(
            &reading,
            &|labels, scratch| {
                let mut series = StepSeries::absent(labels, steps.count);
                let found = fill(&scratch.samples, &instants, lookback, wanted, &mut series);
                self.context.count_samples(found);
                Ok((found > 0).then_some(series))
            },
            sink,
        )
    }
}

/// Writes what is wanted at each step; returns at how many steps there was something.
fn fill(samples: &Samples, instants: &Instants, lookback: i64, wanted: Wanted, series: &mut StepSeries) -> u64 {
    match samples.histograms.is_empty() {
        true if wanted == Wanted::Value => fill_floats(samples, instants, lookback, &mut series.floats),
        _ => fill_any(samples, instants, lookback, wanted, series),
    }
}

fn fill_floats(samples: &Samples, instants: &Instants, lookback: i64, floats: &mut [f64]) -> u64 {
    let (times, values) = (&samples.times[..], &samples.floats[..]);
    let (mut next, mut found) = (0, 0);
    for (place, t) in floats.iter_mut().zip(instants.iter()) {
        while times.get(next).is_some_and(|time| *time <= t) {
            next += 1;
        }
        if next > 0 && times[next - 1] > t.saturating_sub(lookback) {
            // A staleness marker and an absent value are the same bits.
            *place = values[next - 1];
            found += u64::from(!is_stale(*place));
        }
    }
    found
}

fn fill_any(samples: &Samples, instants: &Instants, lookback: i64, wanted: Wanted, series: &mut StepSeries) -> u64 {
    let (mut floats, mut histograms, mut found) = (0, 0, 0);
    for (step, t) in instants.iter().enumerate() {
        floats += samples.times[floats..].iter().take_while(|time| **time <= t).count();
        histograms += samples.histogram_times[histograms..].iter().take_while(|time| **time <= t).count();
        let newest = |times: &[i64], next: usize| {
            let newest = next.checked_sub(1)?;
            (times[newest] > t.saturating_sub(lookback)).then_some((times[newest], newest))
        };
        let float = newest(&samples.times, floats);
        let histogram = newest(&samples.histogram_times, histograms);
        let is_float = float.map(|(time, _)| time) >= histogram.map(|(time, _)| time);
        let start_of = |starts: &[i64], index: usize| starts.get(index).copied().unwrap_or(0);
        let seconds = |ms: i64| ms as f64 / 1000.0;
        match (float, histogram) {
            (Some((_, index)), _) if is_float && is_stale(samples.floats[index]) => continue,
            (Some((time, index)), _) if is_float => {
                series.floats[step] = match wanted {
                    Wanted::Value => samples.floats[index],
                    Wanted::Time | Wanted::TimeOfFloat => seconds(time),
                    Wanted::Start => seconds(start_of(&samples.starts, index)),
                };
            }
            (_, Some((time, index))) => match wanted {
                Wanted::Value | Wanted::TimeOfFloat => series.set_histogram(step, samples.histograms[index].clone()),
                Wanted::Time => series.floats[step] = seconds(time),
                Wanted::Start => series.floats[step] = seconds(start_of(&samples.histogram_starts, index)),
            },
            _ => continue,
        }
        found += 1;
    }
    found
}
