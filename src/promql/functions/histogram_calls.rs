//! Functions over histograms: native ones, one by one, and classic ones, whose buckets are series of their own.

use hashbrown::HashMap;

use super::histogram;
use super::quantile::{
    ClassicBucket, NanObservations, bucket_fraction, bucket_quantile, histogram_fraction, histogram_quantile,
};
use crate::model::number::General;
use crate::model::{FloatHistogram, Labels, LabelsBuilder, METRIC_NAME, TimestampMs};
use crate::promql::ast::Position;
use crate::promql::exec::{ABSENT, Evaluator, Failure, Sink, StepSeries, Steps, Unique, is_absent};
use crate::promql::notes::{Note, Notes};
use crate::promql::plan::{Call, Node, Op};

/// The label that holds a classic bucket's upper bound.
const BUCKET: &str = "le";

/// Runs a function over histograms.
pub(super) fn vector(eval: &Evaluator<'_>, call: &Call, steps: Steps, sink: Sink<'_>) -> Result<(), Failure> {
    let args = &call.args[..];
    match call.function.name {
        "histogram_count" => each(eval, &args[0], steps, sink, |h| h.count),
        "histogram_sum" => each(eval, &args[0], steps, sink, |h| h.sum),
        "histogram_avg" => each(eval, &args[0], steps, sink, histogram::mean),
        "histogram_stdvar" => each(eval, &args[0], steps, sink, histogram::variance),
        "histogram_stddev" => each(eval, &args[0], steps, sink, |h| histogram::variance(h).sqrt()),
        "histogram_quantile" => {
            let q = eval.scalar(&args[0], steps)?;
            let wanted = [Wanted::Quantile { q, position: args[0].position, label: None }];
            both_kinds(eval, &args[1], &wanted, steps, sink)
        }
        "histogram_quantiles" => {
            let label = match &args[1].op {
                Op::Text(text) => text.value.as_str(),
                _ => "",
            };
            let mut wanted = Vec::new();
            for arg in &args[2..] {
                let q = eval.scalar(arg, steps)?;
                wanted.push(Wanted::Quantile { q, position: arg.position, label: Some(label) });
            }
            both_kinds(eval, &args[0], &wanted, steps, sink)
        }
        "histogram_fraction" => {
            let (lower, upper) = (eval.scalar(&args[0], steps)?, eval.scalar(&args[1], steps)?);
            both_kinds(eval, &args[2], &[Wanted::Fraction { lower, upper }], steps, sink)
        }
        name => Err(Failure::Execution(format!("unknown function {name}"))),
    }
}

/// A number of each native histogram; floats go.
fn each(
    eval: &Evaluator<'_>,
    node: &Node,
    steps: Steps,
    sink: Sink<'_>,
    function: impl Fn(&FloatHistogram) -> f64,
) -> Result<(), Failure> {
    eval.merging(node.has_one_name(), sink, |sink| {
        eval.vector(node, steps, &mut |mut series| {
            let Some(histograms) = series.histograms.take() else { return Ok(()) };
            let number = |h: &Option<_>| h.as_ref().map_or(ABSENT, |h: &std::sync::Arc<FloatHistogram>| function(h));
            series.floats = histograms.iter().map(number).collect();
            eval.context.drop_name(&mut series.labels, &mut series.drop_name);
            sink(series)
        })
    })
}

fn check_quantiles(eval: &Evaluator<'_>, all: &[f64], position: Position) {
    let mut last = 0.0f64;
    for q in all {
        if !(0.0..=1.0).contains(q) && q.to_bits() != last.to_bits() {
            eval.context.note(Note::InvalidQuantile(*q), position);
            last = *q;
        }
    }
}

/// What is asked of histograms, a value for each step.
enum Wanted<'a> {
    Quantile { q: Vec<f64>, position: Position, label: Option<&'a str> },
    Fraction { lower: Vec<f64>, upper: Vec<f64> },
}

/// A classic histogram: the series of its buckets.
struct Classic {
    /// Without the bound.
    labels: Labels,
    /// Bound and index of the series, ascending.
    buckets: Vec<(f64, usize)>,
}

/// Series by what kind of histogram they belong to; one may hold both at different steps.
struct Kinds {
    classic: Vec<Classic>,
    by_labels: HashMap<Labels, usize>,
    native: Vec<usize>,
}

fn both_kinds(
    eval: &Evaluator<'_>,
    node: &Node,
    wanted: &[Wanted<'_>],
    steps: Steps,
    sink: Sink<'_>,
) -> Result<(), Failure> {
    let all = eval.collect(node, steps)?;
    // Only now: of two remarks with the same text, the outer expression's is the later one.
    for wanted in wanted {
        if let Wanted::Quantile { q, position, .. } = wanted {
            check_quantiles(eval, q, *position);
        }
    }
    let mut asking = Asking { eval, position: node.position, steps, all: &all, notes: Notes::default() };
    let kinds = asking.kinds();
    let mut unique = Unique::default();
    for wanted in wanted {
        for classic in &kinds.classic {
            asking.ask_classic(classic, &kinds, wanted, &mut unique)?;
        }
        for native in &kinds.native {
            asking.ask_native(*native, &kinds, wanted, &mut unique)?;
        }
    }
    eval.context.merge_notes(asking.notes);
    eval.release(&all);
    unique.into_iter().try_for_each(sink)
}

struct Asking<'a> {
    eval: &'a Evaluator<'a>,
    /// Of the argument that has the histograms.
    position: Position,
    steps: Steps,
    all: &'a [StepSeries],
    notes: Notes,
}

impl Asking<'_> {
    fn kinds(&mut self) -> Kinds {
        let mut kinds = Kinds { classic: Vec::new(), by_labels: HashMap::new(), native: Vec::new() };
        let mut builder = LabelsBuilder::new();
        for (index, series) in self.all.iter().enumerate() {
            if series.histograms.is_some() {
                kinds.native.push(index);
            }
            if series.floats.iter().all(|v| is_absent(*v)) {
                continue;
            }
            let label = series.labels.get(BUCKET).unwrap_or_default();
            let Ok(bound) = label.parse::<f64>() else {
                let metric = self.metric(&series.labels);
                self.notes.add(Note::BadBucketLabel { metric, label }, self.position);
                continue;
            };
            builder.reset(&series.labels);
            builder.del(BUCKET);
            let labels = builder.labels();
            let next = kinds.classic.len();
            let place = *kinds.by_labels.entry(labels.clone()).or_insert(next);
            if place == next {
                kinds.classic.push(Classic { labels, buckets: Vec::new() });
            }
            kinds.classic[place].buckets.push((bound, index));
        }
        for classic in &mut kinds.classic {
            classic.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        kinds
    }

    /// The name, which is told only where it is still there in the end.
    fn metric<'l>(&self, labels: &'l Labels) -> &'l str {
        match self.eval.context.delays_name_removal {
            true => labels.get(METRIC_NAME).unwrap_or_default(),
            false => "",
        }
    }

    fn ask_classic(
        &mut self,
        classic: &Classic,
        kinds: &Kinds,
        wanted: &Wanted<'_>,
        unique: &mut Unique,
    ) -> Result<(), Failure> {
        let same = kinds.native.iter().find(|native| self.all[**native].labels == classic.labels);
        let metric = self.metric(&classic.labels);
        let mut answer = vec![ABSENT; self.steps.count];
        let mut buckets = Vec::with_capacity(classic.buckets.len());
        for (step, answer) in answer.iter_mut().enumerate() {
            buckets.clear();
            for (upper, series) in &classic.buckets {
                let count = self.all[*series].floats[step];
                if !is_absent(count) {
                    buckets.push(ClassicBucket { upper: *upper, count });
                }
            }
            if buckets.is_empty() {
                continue;
            }
            if same.is_some_and(|native| self.all[*native].histogram(step).is_some()) {
                self.notes.add(Note::MixedClassicNativeHistograms { metric }, self.position);
                continue;
            }
            *answer = match wanted {
                Wanted::Fraction { lower, upper } => bucket_fraction(lower[step], upper[step], &mut buckets),
                Wanted::Quantile { q, .. } => {
                    let (quantile, forced) = bucket_quantile(q[step], &mut buckets);
                    if let Some(forced) = forced {
                        let note = Note::ForcedMonotonicity {
                            metric,
                            t: TimestampMs(self.steps.at(step)),
                            min_bucket: forced.min_bucket,
                            max_bucket: forced.max_bucket,
                            max_diff: forced.max_diff,
                        };
                        self.notes.add(note, self.position);
                    }
                    quantile
                }
            };
        }
        self.yield_to(unique, &classic.labels, wanted, answer)
    }

    fn ask_native(
        &mut self,
        native: usize,
        kinds: &Kinds,
        wanted: &Wanted<'_>,
        unique: &mut Unique,
    ) -> Result<(), Failure> {
        let series = &self.all[native];
        let classic = kinds.by_labels.get(&series.labels).map(|place| &kinds.classic[*place]);
        // The reference has dropped the name by then, if it drops it at once.
        let metric = self.metric(&series.labels);
        let mut answer = vec![ABSENT; self.steps.count];
        for (step, answer) in answer.iter_mut().enumerate() {
            let Some(h) = series.histogram(step) else { continue };
            let is_there = |(_, series): &(f64, usize)| !is_absent(self.all[*series].floats[step]);
            if classic.is_some_and(|classic| classic.buckets.iter().any(is_there)) {
                continue;
            }
            *answer = match wanted {
                Wanted::Fraction { lower, upper } => {
                    let (fraction, leaves_nan_out) = histogram_fraction(lower[step], upper[step], h);
                    if leaves_nan_out {
                        self.notes.add(Note::FractionWithoutNan { metric }, self.position);
                    }
                    fraction
                }
                Wanted::Quantile { q, .. } => {
                    let (quantile, nan) = histogram_quantile(q[step], h);
                    match nan {
                        NanObservations::Harmless => {}
                        NanObservations::AreTheResult => self.notes.add(Note::QuantileIsNan { metric }, self.position),
                        NanObservations::SkewTheResult => {
                            self.notes.add(Note::QuantileIsSkewed { metric }, self.position)
                        }
                    }
                    quantile
                }
            };
        }
        self.yield_to(unique, &series.labels, wanted, answer)
    }

    /// Yields an answer. A quantile that is told in a label may differ from step to step.
    fn yield_to(
        &self,
        unique: &mut Unique,
        labels: &Labels,
        wanted: &Wanted<'_>,
        answer: Vec<f64>,
    ) -> Result<(), Failure> {
        let mut series = StepSeries { floats: answer, ..StepSeries::absent(labels.clone(), 0) };
        if series.is_empty() {
            return Ok(());
        }
        self.eval.context.drop_name(&mut series.labels, &mut series.drop_name);
        let Wanted::Quantile { q, label: Some(label), .. } = wanted else { return unique.add(series) };
        let mut distinct: Vec<f64> = Vec::new();
        for q in q {
            if !distinct.iter().any(|other| other.to_bits() == q.to_bits()) {
                distinct.push(*q);
            }
        }
        let mut builder = LabelsBuilder::new();
        for value in distinct {
            builder.reset(&series.labels);
            builder.set(label, &quantile_label(value));
            let of_value = |(v, q): (&f64, &f64)| if q.to_bits() == value.to_bits() { *v } else { ABSENT };
            let floats = series.floats.iter().zip(q).map(of_value).collect();
            let part = StepSeries { labels: builder.labels(), floats, histograms: None, ..series };
            if !part.is_empty() {
                unique.add(part)?;
            }
        }
        Ok(())
    }
}

/// A number as OpenMetrics writes it: always with a point or an exponent.
fn quantile_label(q: f64) -> String {
    let text = General(q).to_string();
    if q.is_finite() && !text.contains(['.', 'e']) { text + ".0" } else { text }
}
