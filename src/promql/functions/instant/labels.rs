//! `label_replace` and `label_join`.

use super::{is_label_name, text_of};
use crate::model::regex::Regex;
use crate::model::{Labels, LabelsBuilder, METRIC_NAME, Shortened};
use crate::promql::exec::{Evaluator, Failure, Sink, StepSeries, Steps, Unique};
use crate::promql::plan::Call;

/// `label_replace(v, target, replacement, source, regex)`
pub(super) fn replace(eval: &Evaluator<'_>, call: &Call, steps: Steps, sink: Sink<'_>) -> Result<(), Failure> {
    let [target, replacement, source, pattern] = [1, 2, 3, 4].map(|index| text_of(&call.args[index]));
    let regex = Regex::with_groups(pattern).map_err(|_| {
        Failure::Execution(format!("invalid regular expression in label_replace(): {}", Shortened(pattern)))
    })?;
    if !is_label_name(&call.args[1]) {
        return Err(Failure::Execution(format!(
            "invalid destination label name in label_replace(): {}",
            Shortened(target)
        )));
    }
    let (mut builder, mut value) = (LabelsBuilder::new(), String::new());
    relabelled(eval, call, target, steps, sink, |labels| {
        value.clear();
        if !regex.expand(labels.get(source).unwrap_or_default(), replacement, &mut value) {
            return None;
        }
        builder.reset(labels);
        builder.set(target, &value);
        Some(builder.labels())
    })
}

/// `label_join(v, target, separator, source...)`
pub(super) fn join(eval: &Evaluator<'_>, call: &Call, steps: Steps, sink: Sink<'_>) -> Result<(), Failure> {
    let [target, separator] = [1, 2].map(|index| text_of(&call.args[index]));
    let sources: Vec<&str> = call.args[3..].iter().map(text_of).collect();
    if let Some(source) = call.args[3..].iter().find(|source| !is_label_name(source)) {
        let source = text_of(source);
        return Err(Failure::Execution(format!("invalid source label name in label_join(): {}", Shortened(source))));
    }
    if !is_label_name(&call.args[1]) {
        return Err(Failure::Execution(format!(
            "invalid destination label name in label_join(): {}",
            Shortened(target)
        )));
    }
    let mut builder = LabelsBuilder::new();
    relabelled(eval, call, target, steps, sink, |labels| {
        let values: Vec<&str> = sources.iter().map(|source| labels.get(source).unwrap_or_default()).collect();
        builder.reset(labels);
        builder.set(target, &values.join(separator));
        Some(builder.labels())
    })
}

/// Gives series other labels; who sets the name means to keep it.
fn relabelled(
    eval: &Evaluator<'_>,
    call: &Call,
    target: &str,
    steps: Steps,
    sink: Sink<'_>,
    mut change: impl FnMut(&Labels) -> Option<Labels>,
) -> Result<(), Failure> {
    let mut unique = Unique::default();
    eval.vector(&call.args[0], steps, &mut |series| {
        // A large expression takes its time for each series.
        eval.context.scope.check()?;
        let changed = match change(&series.labels) {
            Some(labels) => StepSeries { labels, drop_name: series.drop_name && target != METRIC_NAME, ..series },
            None => series,
        };
        unique.add(changed)
    })?;
    unique.into_iter().try_for_each(sink)
}
