//! Functions of order. They matter to instant queries alone: series of a range query come by their labels.

use std::cmp::Ordering;

use super::text_of;
use crate::promql::ast::Position;
use crate::promql::exec::{Evaluator, Failure, Sink, StepSeries, Steps};
use crate::promql::notes::Note;
use crate::promql::plan::Call;

/// `sort`, `sort_desc`: what is not a number comes last, histograms are left out.
pub(super) fn by_value(
    eval: &Evaluator<'_>,
    position: Position,
    call: &Call,
    steps: Steps,
    sink: Sink<'_>,
) -> Result<(), Failure> {
    let mut all = series(eval, position, call, steps)?;
    for series in &mut all {
        series.drop_histograms();
    }
    all.retain(|series| !series.is_empty());
    let is_descending = call.function.name == "sort_desc";
    if !steps.is_range {
        all.sort_by(|a, b| {
            let (a, b) = (a.floats[0], b.floats[0]);
            let by_value = if is_descending { b.partial_cmp(&a) } else { a.partial_cmp(&b) };
            by_value.unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
        });
    }
    all.into_iter().try_for_each(sink)
}

/// `sort_by_label`, `sort_by_label_desc`: numbers in labels count as numbers.
pub(super) fn by_label(
    eval: &Evaluator<'_>,
    position: Position,
    call: &Call,
    steps: Steps,
    sink: Sink<'_>,
) -> Result<(), Failure> {
    let mut all = series(eval, position, call, steps)?;
    let names: Vec<&str> = call.args[1..].iter().map(text_of).collect();
    let is_descending = call.function.name == "sort_by_label_desc";
    all.sort_by(|a, b| {
        let value = |series: &StepSeries, name: &str| series.labels.get(name).unwrap_or_default().to_owned();
        let by_names = names.iter().map(|name| natural(&value(a, name), &value(b, name)));
        let order = by_names.fold(Ordering::Equal, Ordering::then).then_with(|| a.labels.cmp(&b.labels));
        if is_descending { order.reverse() } else { order }
    });
    all.into_iter().try_for_each(sink)
}

fn series(eval: &Evaluator<'_>, position: Position, call: &Call, steps: Steps) -> Result<Vec<StepSeries>, Failure> {
    let all = eval.collect(&call.args[0], steps)?;
    eval.release(&all);
    if steps.is_range {
        eval.context.note(Note::SortInRangeQuery, position);
    }
    Ok(all)
}

/// Texts by their runs of digits and of other characters, digits as numbers as far as 64 bits go.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let ((x, rest_a), (y, rest_b)) = (run(a), run(b));
        let order = match (x.parse::<i64>(), y.parse::<i64>()) {
            (Ok(x), Ok(y)) => x.cmp(&y),
            _ => x.cmp(y),
        };
        if order != Ordering::Equal || (rest_a.is_empty() && rest_b.is_empty()) {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
}

fn run(text: &str) -> (&str, &str) {
    let is_number = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text.find(|c: char| c.is_ascii_digit() != is_number).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_texts_count_as_numbers() {
        let mut texts = ["a10", "a9", "b1", "a", "9", "10", "a9.10", "a9.9"];
        texts.sort_by(|a, b| natural(a, b));
        assert_eq!(texts, ["9", "10", "a", "a9", "a9.9", "a9.10", "a10", "b1"]);
    }
}
