//! Where an operator's results go.

use crate::promql::exec::{Context, Failure, Sink, StepSeries, Unique};

/// Hands series on: at once if no two can have the same labels, else when all of them are there.
pub(super) struct Output<'a, 'q> {
    context: &'a Context<'q>,
    /// Whether series of the same labels may be handed on.
    is_lax: bool,
    held: Option<Unique>,
    samples: u64,
    bytes: u64,
}

impl<'a, 'q> Output<'a, 'q> {
    /// `is_distinct` says that no two series will have the same labels. With delayed removal of names an instant query
    /// looks for those only when the answer is complete.
    pub fn new(context: &'a Context<'q>, steps: usize, is_distinct: bool) -> Output<'a, 'q> {
        let is_lax = context.delays_name_removal && steps == 1;
        let mut output = Output { context, is_lax, held: None, samples: 0, bytes: 0 };
        if !is_distinct {
            output.hold();
        }
        output
    }

    /// From now on series may have the same labels.
    pub fn hold(&mut self) {
        if !self.is_lax {
            self.held.get_or_insert_default();
        }
    }

    /// Takes a series, unless it has no value.
    pub fn add(&mut self, series: StepSeries, sink: Sink<'_>) -> Result<(), Failure> {
        if series.is_empty() {
            return Ok(());
        }
        let Some(held) = &mut self.held else { return sink(series) };
        self.context.charge(&series)?;
        self.samples += series.floats.len() as u64;
        self.bytes += series.bytes();
        held.add(series)
    }

    /// Hands on what is held.
    pub fn finish(self, sink: Sink<'_>) -> Result<(), Failure> {
        self.held.into_iter().flatten().try_for_each(sink)?;
        self.context.scope.release(self.samples, self.bytes);
        Ok(())
    }
}
