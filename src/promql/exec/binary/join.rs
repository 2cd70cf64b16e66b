//! Operators between two vectors.

use super::column::{self, Compared};
use super::element::{self, Value};
use super::output::Output;
use super::remarks::Remarks;
use super::result::ResultLabels;
use super::right_first;
use super::table::{Group, Table};
use crate::promql::ast::{BinaryOp, Cardinality, Matching, Position};
use crate::promql::exec::{
    Cell, Context, Evaluator, Failure, Projection, Sink, StepSeries, StepSet, Steps, Unique, has_type,
};
use crate::promql::notes::Notes;
use crate::promql::plan::{Binary, Node};

/// Runs an operator that is no set operator.
pub(super) fn vector(
    eval: &Evaluator<'_>,
    position: Position,
    binary: &Binary,
    matching: &Matching,
    steps: Steps,
    sink: Sink<'_>,
) -> Result<(), Failure> {
    let sides = (&binary.left, &binary.right);
    let (many, one) = if is_swapped(matching) { (sides.1, sides.0) } else { sides };
    let mut join = Join::new(eval.context, binary, matching, many, steps.count);
    let mut hold = |series: StepSeries| {
        eval.context.charge(&series)?;
        join.table.add(series);
        Ok(())
    };
    let later = if is_swapped(matching) {
        eval.vector(one, steps, &mut hold)?;
        Notes::default()
    } else {
        right_first(eval, one, many, steps, &mut hold)?
    };
    if join.fills() {
        join.fails_at = join.table.duplicates().next();
    }
    eval.vector(many, steps, &mut |series| join.add(series, sink))?;
    eval.context.merge_notes(later);
    join.fill_many(sink)?;
    join.finish(position, sink)
}

/// The "many" side stands on the right.
fn is_swapped(matching: &Matching) -> bool {
    matching.cardinality == Cardinality::OneToMany
}

struct Join<'a, 'q> {
    context: &'a Context<'q>,
    matching: &'a Matching,
    pairing: Pairing,
    result: ResultLabels,
    returns_bool: bool,
    table: Table,
    output: Output<'a, 'q>,
    /// Whether results that must not be the same could be, so that it has to be watched.
    watches: bool,
    /// The steps at which the "many" side has a value; only kept if the "one" side has duplicates.
    many_present: StepSet,
    /// The first step at which a result is there twice.
    ambiguous: Option<usize>,
    /// It is certain that there will be no answer, because of this step or an earlier one.
    fails_at: Option<usize>,
    steps: usize,
}

/// Computes pairs of series.
struct Pairing {
    op: BinaryOp,
    is_swapped: bool,
    compared: Compared,
    remarks: Remarks,
}

impl<'a, 'q> Join<'a, 'q> {
    fn new(context: &'a Context<'q>, binary: &Binary, matching: &'a Matching, many: &Node, steps: usize) -> Self {
        let is_swapped = is_swapped(matching);
        let compared = match (binary.returns_bool, is_swapped) {
            (true, _) => Compared::Bool,
            // The left value stays, whichever side is called own.
            (false, true) => Compared::Other,
            (false, false) => Compared::Own,
        };
        let result = ResultLabels::new(binary.op, matching, binary.returns_bool && !context.delays_name_removal);
        let has_one_name = many.has_one_name();
        let is_distinct = match matching.cardinality {
            Cardinality::OneToOne => has_one_name && !matching.is_on && matching.labels.is_empty(),
            _ => matching.include.is_empty() && (has_one_name || result.keeps_all(matching)),
        };
        let watches = !is_distinct || matching.fill_left.is_some();
        Join {
            context,
            matching,
            pairing: Pairing { op: binary.op, is_swapped, compared, remarks: Remarks::default() },
            result,
            returns_bool: binary.returns_bool,
            table: Table::new(Projection::matching(matching.is_on, &matching.labels), steps),
            output: Output::new(context, steps, !watches),
            watches,
            many_present: StepSet::none(steps),
            ambiguous: None,
            fails_at: None,
            steps,
        }
    }

    /// Takes a series of the "many" side.
    fn add(&mut self, series: StepSeries, sink: Sink<'_>) -> Result<(), Failure> {
        if self.table.has_duplicates() {
            let present = StepSet::of(&series);
            let duplicate = self.table.duplicates().find(|step| present.contains(*step));
            self.fail_at(duplicate);
            self.many_present.add(&present);
        }
        if !self.watches && has_type(&series.labels) {
            self.watches = true;
            self.output.hold();
        }
        let fill = self.matching.fill_right;
        let group = match fill {
            Some(_) => Some(self.table.group_or_new(&series.labels)),
            None => self.table.group(&series.labels),
        };
        let Some(group) = group else { return Ok(()) };
        // With one match at most, as nearly always, the series itself becomes the result.
        if let (None, [one]) = (fill, &self.table.groups[group].members[..]) {
            let one = One::Member(*one);
            return self.pair(series, one, group).map_or(Ok(()), |out| self.output.add(out, sink));
        }
        let mut results = Unique::default();
        let present = StepSet::of(&series);
        for index in 0..self.table.groups[group].members.len() {
            let one = self.table.groups[group].members[index];
            // Once the query is sure to fail, only earlier steps may change how.
            let end = self.fails_at.unwrap_or(self.steps);
            if self.table.members[one].present.meets_before(&present, end) {
                let out = self.pair(series.clone(), One::Member(one), group);
                out.map_or(Ok(()), |out| results.add(out))?;
            }
        }
        if let Some(fill) = fill {
            let out = self.pair(series, One::Fill(fill), group);
            out.map_or(Ok(()), |out| results.add(out))?;
        }
        results.into_iter().try_for_each(|out| self.output.add(out, sink))
    }

    /// Series of the "one" side that have found no match are matched with the number that stands for it.
    fn fill_many(&mut self, sink: Sink<'_>) -> Result<(), Failure> {
        let Some(fill) = self.matching.fill_left else { return Ok(()) };
        for one in 0..self.table.members.len() {
            let group = self.table.members[one].group;
            let mut missing = self.table.members[one].present.clone();
            missing.remove(&self.table.groups[group].matched);
            if missing.is_empty() {
                continue;
            }
            let mut series = StepSeries::absent(self.table.signature(group).clone(), self.steps);
            missing.iter().for_each(|step| series.floats[step] = fill);
            if let Some(out) = self.pair(series, One::Unmatched(one), group) {
                self.output.add(out, sink)?;
            }
        }
        Ok(())
    }

    /// Computes a series of the "many" side with what it has matched; nothing if there will be no answer anyway.
    fn pair(&mut self, mut own: StepSeries, one: One, group: usize) -> Option<StepSeries> {
        let filled;
        let other = match one {
            One::Member(index) | One::Unmatched(index) => &self.table.members[index].series,
            One::Fill(fill) => {
                let mut all = StepSeries::absent(self.table.signature(group).clone(), self.steps);
                let present = &self.table.groups[group].present;
                (0..self.steps).filter(|step| !present.contains(*step)).for_each(|step| all.floats[step] = fill);
                filled = all;
                &filled
            }
        };
        let watches = self.watches && !matches!(one, One::Unmatched(_));
        let matched = self.pairing.compute(&mut own, other, watches);
        own.labels = self.result.of(&own.labels, &other.labels);
        own.drop_name = self.returns_bool;
        if let Some(matched) = matched {
            self.watch(&own, matched, group);
        }
        self.fails_at.is_none().then_some(own)
    }

    /// Finds out whether a result is there twice.
    fn watch(&mut self, own: &StepSeries, matched: StepSet, group: usize) {
        let Group { matched: all, matched_by_labels, .. } = &mut self.table.groups[group];
        let twice = if self.matching.cardinality == Cardinality::OneToOne {
            all.common(&matched)
        } else {
            let by_labels = matched_by_labels.entry(own.labels.clone()).or_insert_with(|| StepSet::none(self.steps));
            let twice = by_labels.common(&matched);
            by_labels.add(&matched);
            twice
        };
        all.add(&matched);
        if let Some(step) = twice.iter().next() {
            self.ambiguous = Some(self.ambiguous.map_or(step, |earlier| earlier.min(step)));
            self.fail_at(self.ambiguous);
        }
    }

    fn fail_at(&mut self, step: Option<usize>) {
        self.fails_at = [self.fails_at, step].into_iter().flatten().min();
    }

    fn finish(self, position: Position, sink: Sink<'_>) -> Result<(), Failure> {
        let duplicate = self.table.duplicates().find(|step| self.fills() || self.many_present.contains(*step));
        match (duplicate, self.ambiguous) {
            // The reference looks at the "one" side first.
            (Some(step), ambiguous) if ambiguous.is_none_or(|at| step <= at) => {
                let side = if self.pairing.is_swapped { "left" } else { "right" };
                return Err(self.table.duplicate(step, side));
            }
            (_, Some(_)) => return Err(self.several_matches()),
            _ => {}
        }
        self.table.release(self.context);
        self.pairing.remarks.note(self.context, self.pairing.op, position);
        self.output.finish(sink)
    }

    /// Whether missing series are filled; then all steps count, else only those at which both sides have something.
    fn fills(&self) -> bool {
        self.matching.fill_left.is_some() || self.matching.fill_right.is_some()
    }

    fn several_matches(&self) -> Failure {
        let what = match self.matching.cardinality {
            Cardinality::OneToOne => "many-to-one matching must be explicit (group_left/group_right)",
            _ => "grouping labels must ensure unique matches",
        };
        Failure::Execution(format!("multiple matches for labels: {what}"))
    }
}

/// What a series of the "many" side is computed with.
#[derive(Clone, Copy)]
enum One {
    /// A series of the "one" side.
    Member(usize),
    /// The same, where it has found no match.
    Unmatched(usize),
    /// The number that stands for a missing one.
    Fill(f64),
}

impl Pairing {
    /// Computes `own` with `other`. If it is asked for, tells at which steps the operator had a meaning, whether or not a
    /// comparison held.
    fn compute(&mut self, own: &mut StepSeries, other: &StepSeries, watches: bool) -> Option<StepSet> {
        let is_trim = matches!(self.op, BinaryOp::TrimLower | BinaryOp::TrimUpper);
        if own.histograms.is_some() || other.histograms.is_some() || is_trim {
            return Some(self.compute_cells(own, other)).filter(|_| watches);
        }
        let matched = watches.then(|| StepSet::of(own).common(&StepSet::of(other)));
        column::apply(self.op, &mut own.floats, &other.floats, self.is_swapped, self.compared);
        matched
    }

    fn compute_cells(&mut self, own: &mut StepSeries, other: &StepSeries) -> StepSet {
        let steps = own.floats.len();
        let mut matched = StepSet::none(steps);
        let before = std::mem::replace(own, StepSeries::absent(own.labels.clone(), steps));
        for step in 0..steps {
            let cells = (before.cell(step), other.cell(step));
            let (left, right) = if self.is_swapped { (cells.1, cells.0) } else { cells };
            if matches!(left, Cell::Absent) || matches!(right, Cell::Absent) {
                continue;
            }
            match element::apply(self.op, left, right) {
                Err(remark) => self.remarks.set(step, remark),
                Ok(outcome) => {
                    matched.insert(step);
                    if outcome.bounds_reconciled {
                        self.remarks.set(step, element::Remark::BoundsReconciled);
                    }
                    let value = match (self.compared, outcome.value) {
                        (Compared::Bool, _) => Value::Float(f64::from(u8::from(outcome.holds))),
                        (_, _) if !outcome.holds => continue,
                        (_, value) => value,
                    };
                    set(own, step, value);
                }
            }
        }
        matched
    }
}

fn set(series: &mut StepSeries, step: usize, value: Value) {
    match value {
        Value::Float(v) => series.floats[step] = v,
        Value::Histogram(h) => series.set_histogram(step, h),
    }
}
