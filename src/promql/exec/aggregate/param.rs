//! The number that an aggregation is given: `k` of `topk`, the quantile of `quantile`.

use crate::model::number::General;
use crate::promql::ast::Position;
use crate::promql::error::quote_bytes;
use crate::promql::exec::{Context, Evaluator, Failure, Steps};
use crate::promql::notes::Note;
use crate::promql::plan::{Aggregate, Op};

/// The reference keeps `k` in 64 bits; these are the first floats that do not fit.
const K_LIMITS: (f64, f64) = (-9_223_372_036_854_775_808.0, 9_223_372_036_854_774_784.0);

/// A number for each step.
pub(super) struct Param {
    pub values: Vec<f64>,
    position: Position,
    min: f64,
    max: f64,
    has_nan: bool,
}

impl Param {
    /// Evaluates it. Without one it is 0.
    pub fn of(eval: &Evaluator<'_>, aggregate: &Aggregate, steps: Steps) -> Result<Param, Failure> {
        let Some(node) = &aggregate.param else {
            let (values, position) = (vec![0.0; steps.count], Position::default());
            return Ok(Param { values, position, min: 0.0, max: 0.0, has_nan: false });
        };
        let values = eval.scalar(node, steps)?;
        // The bounds that the reference starts from show where all numbers are infinite.
        let bounds = match node.op {
            Op::Number(v) => (v, v),
            _ => (f64::MAX, -f64::MAX),
        };
        let has_nan = values.iter().any(|v| v.is_nan());
        // NaN is beyond all bounds but the infinite ones.
        let infinite = |v: f64| if values.contains(&v) { v } else { f64::NAN };
        let (min, max) = match has_nan {
            true => (infinite(f64::NEG_INFINITY), infinite(f64::INFINITY)),
            false => (values.iter().copied().fold(bounds.0, f64::min), values.iter().copied().fold(bounds.1, f64::max)),
        };
        Ok(Param { values, position: node.position, min, max, has_nan })
    }

    /// Whether there are results if the number is a `k`; fails if it cannot be one.
    pub fn check_k(&self) -> Result<bool, Failure> {
        if self.max < 1.0 {
            return Ok(false);
        }
        let fail = |text| Err(Failure::Execution(text));
        if self.has_nan {
            return fail("Parameter value is NaN".to_owned());
        }
        if self.min <= K_LIMITS.0 {
            return fail(format!("Scalar value {} underflows int64", General(self.min)));
        }
        if self.max >= K_LIMITS.1 {
            return fail(format!("Scalar value {} overflows int64", General(self.max)));
        }
        Ok(true)
    }

    /// Whether there are results if the number is a ratio; fails if it cannot be one.
    pub fn check_ratio(&self, context: &Context<'_>) -> Result<bool, Failure> {
        if self.max == 0.0 && self.min == 0.0 {
            return Ok(false);
        }
        if self.has_nan {
            return Err(Failure::Execution("Ratio value is NaN".to_owned()));
        }
        for (value, capped_to, is_beyond) in [(self.max, 1.0, self.max > 1.0), (self.min, -1.0, self.min < -1.0)] {
            if is_beyond {
                context.note(Note::InvalidRatio { value, capped_to }, self.position);
            }
        }
        Ok(true)
    }

    /// Remarks what is wrong if the number is a quantile.
    pub fn note_quantile(&self, context: &Context<'_>) {
        let wrong = [(f64::NAN, self.has_nan), (self.max, self.max > 1.0), (self.min, self.min < 0.0)];
        for (q, _) in wrong.into_iter().filter(|(_, is_wrong)| *is_wrong) {
            context.note(Note::InvalidQuantile(q), self.position);
        }
    }

    /// The `k` of each step, 0 where it is none.
    pub fn ks(&self) -> Vec<usize> {
        // Fractions are cut off; what is negative becomes 0.
        self.values.iter().map(|v| *v as usize).collect()
    }
}

/// The label of `count_values`.
pub(super) fn label(aggregate: &Aggregate) -> Result<&str, Failure> {
    let text = match aggregate.param.as_ref().map(|node| &node.op) {
        Some(Op::Text(text)) if text.is_label_name() => return Ok(&text.value),
        Some(Op::Text(text)) => text.bytes.as_deref().unwrap_or_default(),
        _ => &[],
    };
    Err(Failure::Execution(format!("invalid label name {}", quote_bytes(text))))
}
