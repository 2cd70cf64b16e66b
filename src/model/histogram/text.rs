//! The text form of native histograms.
//!
//! It is Prometheus's: `{count:3, sum:5.5, [-0.001,0.001]:1, (0.5,1]:2}`, from the lowest bucket to the highest, without
//! those that are empty. Square brackets stand at bounds that belong to the bucket.

use std::fmt;

use super::super::number::General;
use super::buckets::zero_bucket;
use super::{Bucket, FloatHistogram, Histogram};

impl<C: fmt::Display> fmt::Display for Bucket<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = if self.lower_inclusive { '[' } else { '(' };
        let close = if self.upper_inclusive { ']' } else { ')' };
        write!(f, "{open}{},{}{close}:{}", General(self.lower), General(self.upper), self.count)
    }
}

impl fmt::Display for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{count:{}, sum:{}", self.count, General(self.sum))?;
        let below: Vec<_> = self.negative_buckets().filter(|b| b.count != 0).collect();
        below.iter().rev().try_for_each(|b| write!(f, ", {b}"))?;
        if self.zero_count != 0 {
            write!(f, ", {}", zero_bucket(self.layout.zero_threshold, self.zero_count))?;
        }
        self.positive_buckets().filter(|b| b.count != 0).try_for_each(|b| write!(f, ", {b}"))?;
        f.write_str("}")
    }
}

impl fmt::Display for FloatHistogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |b: Bucket<f64>| Bucket {
            lower: b.lower,
            upper: b.upper,
            lower_inclusive: b.lower_inclusive,
            upper_inclusive: b.upper_inclusive,
            count: General(b.count),
        };
        write!(f, "{{count:{}, sum:{}", General(self.count), General(self.sum))?;
        self.negative_buckets_up().filter(|b| b.count != 0.0).map(shown).try_for_each(|b| write!(f, ", {b}"))?;
        if self.zero_count != 0.0 {
            write!(f, ", {}", shown(zero_bucket(self.layout.zero_threshold, self.zero_count)))?;
        }
        self.positive_buckets().filter(|b| b.count != 0.0).map(shown).try_for_each(|b| write!(f, ", {b}"))?;
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::bounds::CUSTOM_SCHEMA;
    use super::super::{BucketLayout, Span};
    use super::*;

    fn span(offset: i32, length: u32) -> Span {
        Span { offset, length }
    }

    #[test]
    fn a_histogram_is_written_from_the_lowest_bucket_to_the_highest_without_empty_ones() {
        let layout = BucketLayout {
            schema: 0,
            zero_threshold: 0.001,
            positive_spans: vec![span(0, 2), span(1, 2)],
            negative_spans: vec![span(-1, 1), span(0, 1)],
            custom_values: Vec::new(),
        };
        let h = Histogram {
            layout: layout.clone(),
            count: 12,
            sum: -0.0,
            zero_count: 2,
            positive_buckets: vec![1, -1, 3, 0],
            negative_buckets: vec![2, -1],
            ..Histogram::default()
        };
        let text = "{count:12, sum:-0, [-1,-0.5):1, [-0.5,-0.25):2, [-0.001,0.001]:2, (0.5,1]:1, (4,8]:3, (8,16]:3}";
        assert_eq!(h.to_string(), text);
        let f = FloatHistogram {
            layout,
            count: 1e6,
            sum: f64::NAN,
            zero_count: 0.5,
            positive_buckets: vec![0.0, 1.5, 0.0, 0.0],
            negative_buckets: vec![0.0, 0.25],
            ..FloatHistogram::default()
        };
        assert_eq!(f.to_string(), "{count:1e+06, sum:NaN, [-1,-0.5):0.25, [-0.001,0.001]:0.5, (1,2]:1.5}");
    }

    #[test]
    fn custom_bounds_are_open_at_both_ends_of_the_line() {
        let layout = BucketLayout {
            schema: CUSTOM_SCHEMA,
            positive_spans: vec![span(0, 3)],
            custom_values: vec![-1.5, 2.0],
            ..BucketLayout::default()
        };
        let h = Histogram { layout, count: 6, sum: 1.0, positive_buckets: vec![1, 1, 1], ..Histogram::default() };
        assert_eq!(h.to_string(), "{count:6, sum:1, [-Inf,-1.5]:1, (-1.5,2]:2, (2,+Inf]:3}");
    }

    #[test]
    fn layouts_that_promise_more_than_there_is_do_no_harm() {
        let layout = BucketLayout {
            positive_spans: vec![span(i32::MAX, u32::MAX), span(i32::MAX, u32::MAX)],
            negative_spans: vec![span(i32::MIN, 0), span(i32::MIN, 3)],
            schema: i32::MIN,
            ..BucketLayout::default()
        };
        let h = Histogram {
            layout,
            positive_buckets: vec![i64::MAX, i64::MAX],
            negative_buckets: vec![i64::MIN],
            ..Histogram::default()
        };
        assert!(h.to_string().starts_with("{count:0, sum:0"));
    }
}
