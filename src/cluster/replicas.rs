//! The samples of replicas as one series.
//!
//! Replicas scrape the same targets at times of their own, and each misses some scrapes. Their samples cannot be mixed: a
//! window would see twice as many, and values of two moments in the wrong order. So one replica is followed for as long as
//! it has samples, and another only where that one has a gap:
//!
//! * The first replica is followed wherever it has samples, whatever part of time is asked for. Some time around that has to
//!   be read as well, for the first and the last samples to be whose they would be in the middle; see [`AROUND`].
//! * A gap is where the next sample is later than one and a half intervals of the replica that is followed; its interval is
//!   the median distance of its samples.
//! * Who steps in does so no sooner than a tenth of an interval behind the last sample, so that clocks that differ by less
//!   cannot make a counter go backwards.
//! * A staleness marker stands only where all replicas say that the series has ended: a scrape that failed for one is no end.

use crate::model::{CounterResetHint, Value};
use crate::storage::TimedValue;

/// So much before and behind what is asked for has to be read, milliseconds.
pub(super) const AROUND: i64 = 180_000;
/// The interval of a series with too few samples to tell.
const INTERVAL: i64 = 60_000;
/// How far queries look back, milliseconds.
const LOOKBACK: i64 = 300_000;
/// So many samples tell the interval of their replica; of fewer most may be missing.
const TELLING: usize = 8;

/// Merges the samples of one series, each replica's ascending by time, in order of preference. All that came until `until`
/// is there, milliseconds: who has no sample for an interval before that has a gap.
pub(super) fn merge(mut replicas: Vec<Vec<TimedValue>>, until: i64) -> Vec<TimedValue> {
    replicas.retain(|samples| !samples.is_empty());
    if replicas.len() < 2 {
        return replicas.pop().unwrap_or_default();
    }
    let mut sources: Vec<Replica> = replicas.into_iter().map(Replica::new).collect();
    let known = sources.iter().map(|replica| replica.interval).filter(|ms| *ms > 0).min().unwrap_or(INTERVAL);
    for source in &mut sources {
        if source.live.len() < TELLING {
            source.interval = known;
        }
    }
    let mut out: Vec<TimedValue> = Vec::with_capacity(sources.iter().map(|r| r.live.len()).max().unwrap_or(0));
    let mut last: Option<Last> = None;
    while let Some((replica, at)) = next(&mut sources, last, until) {
        let t = sources[replica].live[at].t.0;
        if let Some(last) = last
            && t > last.gap_from()
            && let Some(marker) = end_between(&sources, last, t)
        {
            out.push(marker);
        }
        let mut sample = sources[replica].live[at].clone();
        if last.is_some_and(|last| last.replica != replica) {
            forget_reset(&mut sample.value);
        }
        out.push(sample);
        last = Some(Last { replica, t, interval: sources[replica].interval });
    }
    match last {
        Some(last) => out.extend(end_between(&sources, last, i64::MAX)),
        // Nothing but markers.
        None => out.extend(sources.into_iter().next().map(|source| source.markers).unwrap_or_default()),
    }
    out
}

/// The last sample that was taken.
#[derive(Clone, Copy)]
struct Last {
    replica: usize,
    t: i64,
    interval: i64,
}

impl Last {
    /// The last instant at which its replica's next sample does not leave a gap.
    fn gap_from(&self) -> i64 {
        self.t.saturating_add(self.interval.saturating_mul(3) / 2)
    }
}

struct Replica {
    live: Vec<TimedValue>,
    markers: Vec<TimedValue>,
    /// The first of `live` that may still be taken.
    at: usize,
    /// Milliseconds; 0 if there are too few samples to tell.
    interval: i64,
}

impl Replica {
    fn new(samples: Vec<TimedValue>) -> Replica {
        let (markers, live): (Vec<_>, Vec<_>) = samples.into_iter().partition(|sample| sample.value.is_stale());
        let mut distances: Vec<i64> = live.windows(2).map(|pair| pair[1].t.0.saturating_sub(pair[0].t.0)).collect();
        let middle = distances.len() / 2;
        let interval = match distances.is_empty() {
            true => 0,
            false => *distances.select_nth_unstable(middle).1,
        };
        Replica { live, markers, at: 0, interval: interval.max(0) }
    }

    /// Its first sample at `t` or later.
    fn from(&mut self, t: i64) -> Option<(i64, usize)> {
        while self.live.get(self.at).is_some_and(|sample| sample.t.0 < t) {
            self.at += 1;
        }
        self.live.get(self.at).map(|sample| (sample.t.0, self.at))
    }
}

/// Which replica's sample comes next: that of the first replica that leaves no gap, or else the earliest. Until then the
/// replica that is followed is, so that nothing that it has is left out on the way.
fn next(sources: &mut [Replica], last: Option<Last>, until: i64) -> Option<(usize, usize)> {
    let Some(last) = last else {
        let firsts =
            sources.iter_mut().enumerate().filter_map(|(number, source)| Some((source.from(i64::MIN)?, number)));
        return firsts.min_by_key(|((t, _), number)| (*t, *number)).map(|((_, at), number)| (number, at));
    };
    let own = sources[last.replica].from(last.t.saturating_add(1));
    if own.is_none() && until <= last.gap_from() {
        // Its next sample may still come.
        return None;
    }
    let soonest = last.t.saturating_add((last.interval / 10).max(1));
    let mut earliest = own.map(|(t, at)| (t, last.replica, at));
    for (number, source) in sources.iter_mut().enumerate().filter(|(number, _)| *number != last.replica) {
        let Some((t, at)) = source.from(soonest) else { continue };
        let is_preferred = number < last.replica && t <= last.gap_from();
        let fills = earliest.is_none_or(|(first, _, _)| first > last.gap_from() && t < first);
        if fills || is_preferred && earliest.is_none_or(|(first, _, _)| t <= first) {
            earliest = Some((t, number, at));
        }
    }
    earliest.map(|(_, number, at)| (number, at))
}

/// The staleness marker behind the last sample, before `t`, if there is one. The series has ended when the last of its
/// replicas says so; one that has a sample to look back to, and has not said so, would still show that.
fn end_between(sources: &[Replica], last: Last, t: i64) -> Option<TimedValue> {
    let mut end: Option<&TimedValue> = None;
    for source in sources {
        let Some(newest) = source.live.partition_point(|sample| sample.t.0 <= last.t).checked_sub(1) else { continue };
        let newest = source.live[newest].t.0;
        if newest < last.t.saturating_sub(LOOKBACK) {
            continue;
        }
        let marker = source.markers.get(source.markers.partition_point(|marker| marker.t.0 <= newest));
        let marker = marker.filter(|marker| marker.t.0 < t)?;
        if end.is_none_or(|end| end.t < marker.t) {
            end = Some(marker);
        }
    }
    // What one has said before the other's last sample came is no end.
    end.filter(|end| end.t.0 > last.t).cloned()
}

/// What a histogram says about a reset before it is about its own replica's sample before it.
fn forget_reset(value: &mut Value) {
    let hint = match value {
        Value::Float(_) => return,
        Value::Histogram(h) => &mut h.counter_reset_hint,
        Value::FloatHistogram(h) => &mut h.counter_reset_hint,
    };
    if *hint != CounterResetHint::Gauge {
        *hint = CounterResetHint::Unknown;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{STALE_NAN, TimestampMs};

    fn sample(t: i64, v: f64) -> TimedValue {
        TimedValue { t: TimestampMs(t), start: TimestampMs(0), value: Value::Float(v) }
    }

    /// Of a process that counts up one every second and begins anew at 1000 s.
    fn counts(times: impl IntoIterator<Item = i64>) -> Vec<TimedValue> {
        let value = |s: i64| if s < 1000 { s } else { s - 1000 };
        times.into_iter().map(|s| sample(s * 1000, value(s) as f64)).collect()
    }

    fn seconds(samples: &[TimedValue]) -> Vec<i64> {
        samples.iter().map(|s| if s.value.is_stale() { -s.t.0 / 1000 } else { s.t.0 / 1000 }).collect()
    }

    fn merged(replicas: &[Vec<TimedValue>]) -> Vec<i64> {
        let newest = replicas.iter().flatten().map(|sample| sample.t.0).max();
        seconds(&merge(replicas.to_vec(), newest.unwrap_or(0)))
    }

    #[test]
    fn one_replica_is_followed_while_it_has_samples() {
        let (a, b) = (counts((0..20).map(|n| n * 15)), counts((0..20).map(|n| n * 15 + 7)));
        assert_eq!(merged(&[a.clone(), b.clone()]), seconds(&a));
        assert_eq!(merged(&[b.clone(), a])[1..], seconds(&b));
        assert_eq!(merged(&[Vec::new(), b.clone()]), seconds(&b));
        assert!(merged(&[]).is_empty());
    }

    #[test]
    fn a_gap_is_filled_and_left_again() {
        let a = counts([0, 15, 30, 45, 120, 135, 150]);
        let b = counts([7, 22, 37, 52, 67, 82, 97, 112, 127, 142]);
        // 112 is the second's, 120 again the first's.
        assert_eq!(merged(&[a, b]), [0, 15, 30, 45, 52, 67, 82, 97, 112, 120, 135, 150]);
    }

    #[test]
    fn one_missed_scrape_is_a_gap() {
        let (a, b) = (counts([0, 15, 30, 60, 75]), counts([10, 25, 40, 55, 70]));
        assert_eq!(merged(&[a, b]), [0, 15, 30, 40, 55, 60, 75]);
    }

    #[test]
    fn who_has_earlier_and_later_samples_begins_and_ends() {
        let (a, b) = (counts([100, 115, 130, 145]), counts([50, 65, 80, 95, 110, 125, 140, 155, 170]));
        assert_eq!(merged(&[a, b]), [50, 65, 80, 95, 100, 115, 130, 145, 155, 170]);
    }

    #[test]
    fn a_failed_scrape_of_one_is_no_end_of_the_series() {
        let stale = |t: i64| sample(t * 1000, STALE_NAN);
        let (mut a, mut b) = (counts([0, 15, 30]), counts([7, 22, 37, 52, 67]));
        a.push(stale(45));
        a.extend(counts([60, 75]));
        b.push(stale(82));
        assert_eq!(merged(&[a.clone(), b.clone()]), [0, 15, 30, 37, 52, 60, 75]);
        // The end of both is an end.
        let mut c = counts([0, 15, 30]);
        c.push(stale(45));
        let mut d = counts([7, 22, 37]);
        d.push(stale(52));
        d.extend(counts([500, 515]));
        assert_eq!(merged(&[c, d]), [0, 15, 30, 37, -52, 500, 515]);
    }

    #[test]
    fn windows_that_overlap_say_the_same() {
        let a = counts((0..200).filter(|n| n % 17 > 3).map(|n| n * 15));
        let b = counts((0..200).filter(|n| n % 23 > 5).map(|n| n * 15 + 4));
        let all = merged(&[a.clone(), b.clone()]);
        for from in [300, 700, 1111] {
            let cut = |samples: &[TimedValue]| -> Vec<TimedValue> {
                samples.iter().filter(|s| s.t.0 >= from * 1000).cloned().collect()
            };
            let part = merged(&[cut(&a), cut(&b)]);
            // The first few may differ, since what came before is not seen.
            let settled = part[3];
            let of_all: Vec<i64> = all.iter().copied().filter(|t| *t >= settled).collect();
            assert_eq!(part[3..], of_all[..]);
        }
    }

    #[test]
    fn a_counter_goes_backwards_only_where_it_did_and_no_gap_remains_that_one_could_fill() {
        // A fixed sequence of numbers instead of chance.
        let mut seed = 7_u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        for _ in 0..300 {
            let offset = random(15) as i64;
            let mut times = |offset: i64| -> Vec<i64> {
                let mut out = Vec::new();
                let mut n = 0;
                while n < 130 {
                    if random(9) == 0 {
                        n += random(12) as i64;
                    }
                    out.push(n * 15 + offset);
                    n += 1;
                }
                out
            };
            let (a, b) = (counts(times(0)), counts(times(offset)));
            let out = merge(vec![a.clone(), b.clone()], i64::MAX);
            assert!(out.windows(2).all(|w| w[0].t < w[1].t));
            assert!(out.iter().all(|s| a.iter().chain(&b).any(|known| known.is_same(s))), "a value of nobody");
            let value = |s: &TimedValue| s.float().unwrap();
            let falls = out.windows(2).filter(|w| value(&w[1]) < value(&w[0]));
            assert!(falls.clone().all(|w| w[0].t.0 < 1_000_000 && w[1].t.0 >= 1_000_000), "{:?}", seconds(&out));
            for pair in out.windows(2) {
                let (from, to) = (pair[0].t.0 + 22_500, pair[1].t.0);
                let could = a.iter().chain(&b).any(|s| s.t.0 > from && s.t.0 < to);
                assert!(!could, "{from} {to} {:?}", seconds(&out));
            }
        }
    }
}
