//! `info`: labels of info series, such as `target_info`, on series of the same instance and job.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;

use crate::model::{Labels, LabelsBuilder, METRIC_NAME, MatchOp, Matcher};
use crate::promql::ast::Extension;
use crate::promql::exec::{ABSENT, Evaluator, Failure, Sink, StepSeries, Steps, Unique, Wanted, is_absent};
use crate::promql::plan::{Buckets, Call, Node, Op, Select};

/// What an info series and what it tells of must have in common.
const IDENTIFYING: [&str; 2] = ["instance", "job"];

/// Runs `info(v, {selector})`.
pub(super) fn vector(eval: &Evaluator<'_>, call: &Call, steps: Steps, sink: Sink<'_>) -> Result<(), Failure> {
    let wish = Wish::of(call.args.get(1))?;
    let base = eval.collect(&call.args[0], steps)?;
    let infos = fetch(eval, call, &wish, &base, steps)?;
    let by_name = by_name_and_identity(&infos);
    let mut unique = Unique::default();
    for series in &base {
        if wish.is_info(&series.labels) {
            unique.add(series.clone())?;
        } else {
            enrich(&wish, series, &infos, &by_name, &mut unique)?;
        }
    }
    eval.release(&base);
    eval.release(&infos);
    unique.into_iter().try_for_each(sink)
}

/// Which info series, and which of their labels.
struct Wish<'a> {
    /// Conditions on their names, never none.
    names: Vec<Matcher>,
    /// Conditions on labels; if there are any, only these labels are taken.
    labels: Vec<&'a Matcher>,
}

impl<'a> Wish<'a> {
    fn of(selector: Option<&'a Node>) -> Result<Wish<'a>, Failure> {
        let matchers = match selector.map(|node| &node.op) {
            Some(Op::Select(select)) => &select.selector[..],
            _ => &[],
        };
        let (names, labels): (Vec<&Matcher>, Vec<&Matcher>) = matchers.iter().partition(|m| &*m.name == METRIC_NAME);
        let mut names: Vec<Matcher> = names.into_iter().cloned().collect();
        if names.is_empty() {
            names.push(Matcher::equal(METRIC_NAME, "target_info"));
        } else if names.iter().all(|m| matches!(m.op, MatchOp::NotEqual | MatchOp::NotRegex)) {
            let any = Matcher::new(MatchOp::Regex, METRIC_NAME, ".+_info");
            names.push(any.map_err(|error| Failure::Execution(error.to_string()))?);
        }
        Ok(Wish { names, labels })
    }

    /// Whether a series is an info series itself.
    fn is_info(&self, labels: &Labels) -> bool {
        let name = labels.metric_name().unwrap_or_default();
        self.names.iter().all(|m| m.matches(name))
    }

    fn takes(&self, label: &str) -> bool {
        self.labels.is_empty() || self.labels.iter().any(|m| &*m.name == label)
    }

    /// Whether a series without info series stays.
    fn is_met_by_nothing(&self) -> bool {
        self.labels.iter().all(|m| m.matches(""))
    }
}

/// The info series that may belong to any series of `base`; their floats are the times of their samples.
fn fetch(
    eval: &Evaluator<'_>,
    call: &Call,
    wish: &Wish<'_>,
    base: &[StepSeries],
    steps: Steps,
) -> Result<Vec<StepSeries>, Failure> {
    let mut values: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for series in base.iter().filter(|series| !wish.is_info(&series.labels)) {
        for name in IDENTIFYING {
            if let Some(value) = series.labels.get(name) {
                values.entry(name).or_default().insert(value);
            }
        }
    }
    if values.is_empty() {
        return Ok(Vec::new());
    }
    let mut selector = wish.names.clone();
    selector.extend(wish.labels.iter().copied().cloned());
    for (name, values) in values {
        let pattern = values.into_iter().map(quoted).collect::<Vec<_>>().join("|");
        let matcher = Matcher::new(MatchOp::Regex, name, &pattern);
        selector.push(matcher.map_err(|error| Failure::Execution(error.to_string()))?);
    }
    let (at, offset) = reference_time(&call.args[0]).unwrap_or_default();
    let select = Select { selector, offset, at, extension: Extension::None, buckets: Buckets::Kept };
    let mut infos = Vec::new();
    eval.select(&select, Wanted::TimeOfFloat, steps, &mut |series| {
        eval.context.charge(&series)?;
        infos.push(series);
        Ok(())
    })?;
    Ok(infos)
}

/// The text as a regular expression that matches it alone.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if "\\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// When the first selector below a node looks, `@` and offset: info series are looked at then, too. The innermost `@` counts,
/// with the offsets up to it.
fn reference_time(node: &Node) -> Option<(Option<i64>, i64)> {
    match &node.op {
        Op::Select(select) => Some((select.at, select.offset)),
        Op::Range(range) => Some((range.select.at, range.select.offset)),
        Op::Subquery(subquery) => reference_time(&subquery.node).map(|(at, offset)| match at {
            Some(_) => (at, offset),
            None => (subquery.at, offset.saturating_add(subquery.offset)),
        }),
        Op::Invariant(inner) | Op::Negate(inner) => reference_time(inner),
        Op::Shared(shared) => reference_time(&shared.node),
        Op::Binary(binary) => reference_time(&binary.left).or_else(|| reference_time(&binary.right)),
        Op::Aggregate(aggregate) => {
            reference_time(&aggregate.node).or_else(|| reference_time(aggregate.param.as_ref()?))
        }
        Op::Call(call) => call.args.iter().find_map(reference_time),
        Op::Number(_) | Op::Text(_) | Op::Delegated(_) => None,
    }
}

type Identity<'a> = [Option<&'a str>; 2];

fn identity(labels: &Labels) -> Identity<'_> {
    IDENTIFYING.map(|name| labels.get(name))
}

/// Indexes of info series by their name and by what they identify.
type Infos<'a> = BTreeMap<&'a str, HashMap<Identity<'a>, Vec<usize>>>;

fn by_name_and_identity(infos: &[StepSeries]) -> Infos<'_> {
    let mut all = Infos::new();
    for (index, info) in infos.iter().enumerate() {
        let name = info.labels.metric_name().unwrap_or_default();
        all.entry(name).or_default().entry(identity(&info.labels)).or_default().push(index);
    }
    all
}

/// Adds a series with the labels that its info series give it; these may change from step to step.
fn enrich(
    wish: &Wish<'_>,
    series: &StepSeries,
    infos: &[StepSeries],
    by_name: &Infos<'_>,
    unique: &mut Unique,
) -> Result<(), Failure> {
    let own = identity(&series.labels);
    let candidates: Vec<&Vec<usize>> = by_name.values().filter_map(|of| of.get(&own)).collect();
    let mut made: Vec<(Vec<usize>, StepSeries)> = Vec::new();
    for step in (0..series.floats.len()).filter(|step| series.has(*step)) {
        let mut chosen = Vec::with_capacity(candidates.len());
        for of_one_name in &candidates {
            chosen.extend(newest(infos, of_one_name, step)?);
        }
        if chosen.is_empty() && !wish.is_met_by_nothing() {
            continue;
        }
        let place = match made.iter().position(|(of, _)| *of == chosen) {
            Some(place) => place,
            None => {
                let labels = with_labels_of(wish, &series.labels, infos, &chosen)?;
                let empty = StepSeries::absent(labels, series.floats.len());
                made.push((chosen, StepSeries { drop_name: series.drop_name, ..empty }));
                made.len() - 1
            }
        };
        match series.histogram(step) {
            Some(histogram) => made[place].1.set_histogram(step, histogram.clone()),
            None => made[place].1.floats[step] = series.floats[step],
        }
    }
    made.into_iter().try_for_each(|(_, series)| unique.add(series))
}

/// Of info series with one name and identity the one with the newest sample at a step.
fn newest(infos: &[StepSeries], of_one_name: &[usize], step: usize) -> Result<Option<usize>, Failure> {
    if of_one_name.iter().any(|index| infos[*index].histogram(step).is_some()) {
        return Err(Failure::Execution("info sample should be float".to_owned()));
    }
    let mut best: Option<usize> = None;
    let time = |index: usize| infos[index].floats.get(step).copied().unwrap_or(ABSENT);
    for index in of_one_name.iter().copied().filter(|index| !is_absent(time(*index))) {
        best = match best {
            Some(other) if time(other) == time(index) => {
                let (existing, new) = (&infos[other].labels, &infos[index].labels);
                let t = (time(index) * 1000.0).round();
                return Err(Failure::Execution(format!(
                    "found duplicate series for info metric: existing {existing} @ {t}, new {new} @ {t}"
                )));
            }
            Some(other) if time(other) > time(index) => Some(other),
            _ => Some(index),
        };
    }
    Ok(best)
}

fn with_labels_of(wish: &Wish<'_>, own: &Labels, infos: &[StepSeries], chosen: &[usize]) -> Result<Labels, Failure> {
    let mut builder = LabelsBuilder::new();
    builder.reset(own);
    let mut added: BTreeMap<&str, &str> = BTreeMap::new();
    for index in chosen {
        for (name, value) in infos[*index].labels.iter().filter(|(name, _)| *name != METRIC_NAME && wish.takes(name)) {
            if added.get(name).is_some_and(|other| *other != value) {
                return Err(Failure::Execution(format!("conflicting label: {name}")));
            }
            if own.get(name).is_none() {
                added.insert(name, value);
            }
        }
    }
    added.iter().for_each(|(name, value)| builder.set(name, value));
    Ok(builder.labels())
}
