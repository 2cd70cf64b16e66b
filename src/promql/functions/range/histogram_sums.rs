//! `sum_over_time` and `avg_over_time` of native histograms.

use std::sync::Arc;

use super::RangeCall;
use super::seen::{Remark, Seen};
use crate::model::{Accumulated, FloatHistogram, HistogramMean, HistogramSum, IncompatibleBounds};
use crate::promql::exec::StepSeries;

/// Writes sums into the windows that have histograms only.
pub(super) fn sums(call: &RangeCall<'_>, out: &mut StepSeries, seen: &mut Seen) {
    each(call, out, seen, |all| {
        let mut sum = HistogramSum::new(&all[0]);
        all[1..].iter().try_for_each(|h| sum.add(h))?;
        Ok(sum.finish())
    });
}

/// Writes means into the windows that have histograms only.
pub(super) fn means(call: &RangeCall<'_>, out: &mut StepSeries, seen: &mut Seen) {
    each(call, out, seen, |all| {
        let mut mean = HistogramMean::new(&all[0]);
        all[1..].iter().try_for_each(|h| mean.add(h))?;
        Ok(mean.finish())
    });
}

fn each(
    call: &RangeCall<'_>,
    out: &mut StepSeries,
    seen: &mut Seen,
    total: impl Fn(&[Arc<FloatHistogram>]) -> Result<Accumulated, IncompatibleBounds>,
) {
    if call.samples.histograms.is_empty() {
        return;
    }
    for (step, window) in call.windows.iter().enumerate() {
        if window.histograms.is_empty() || seen.is_mixed(window) {
            continue;
        }
        match total(&call.samples.histograms[window.histograms.clone()]) {
            Ok(total) => {
                seen.add_if(total.resets_conflict, Remark::ResetsConflict);
                seen.add_if(total.bounds_reconciled, Remark::ReconciledBySumming);
                out.set_histogram(step, Arc::new(total.histogram));
            }
            Err(_) => seen.add(Remark::IncompatibleBounds),
        }
    }
}
