//! Functions over windows, by example.

use super::*;
use crate::model::Labels;
use crate::promql::exec::Steps;

/// Windows over samples, one per step, with the samples so long before and after them.
pub(super) fn windows_around(samples: &Samples, steps: Steps, range: i64, before: i64, after: i64) -> Vec<Window> {
    let upto = |times: &[i64], t: i64| times.partition_point(|time| *time <= t);
    let around = |times: &[i64], end: i64| upto(times, end - range - before)..upto(times, end + after);
    let window =
        |end| Window { end, floats: around(&samples.times, end), histograms: around(&samples.histogram_times, end) };
    steps.iter().map(window).collect()
}

/// Floats at intervals of 15 s, evaluated every 30 s over a minute, from the first whole window on.
fn run(name: &str, floats: &[f64], args: &[f64]) -> Vec<f64> {
    let samples = Samples {
        times: (1..=floats.len() as i64).map(|i| i * 15_000).collect(),
        floats: floats.to_vec(),
        ..Samples::default()
    };
    let steps = Steps::between(60_000, floats.len() as i64 * 15_000, 30_000);
    let windows = windows_around(&samples, steps, 60_000, 0, 0);
    let call = RangeCall {
        labels: &Labels::default(),
        samples: &samples,
        windows: &windows,
        range: 60_000,
        extension: Extension::None,
        args: &args.iter().map(|v| vec![*v; steps.count]).collect::<Vec<_>>(),
        steps,
        uses_starts: false,
        has_type_labels: false,
        position: Position::default(),
    };
    let mut out = StepSeries::absent(Labels::default(), steps.count);
    range_function(name).unwrap()(&call, &mut out, &mut Notes::default()).unwrap();
    out.floats
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
