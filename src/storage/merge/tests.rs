//! Merging and taking away against plain maps of samples.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::model::{AnnotationKind, Annotations, BucketLayout, FloatHistogram, Histogram, Labels, STALE_NAN, Span};
use crate::storage::{
    Cancelled, Limit, QueryError, Scope, SeriesBatch, SeriesChunks, SeriesStream, StreamEnd, StreamStats, StreamStep,
    TimeRange,
};

/// What a sample is, without what is said of resets: kind, count and the bits of value or sum.
type Plain = (u8, u64, u64);
type Model = BTreeMap<i64, Plain>;

fn plain(value: &Value) -> Plain {
    match value {
        Value::Float(v) => (0, 0, v.to_bits()),
        Value::Histogram(h) => (1, h.count, h.sum.to_bits()),
        Value::FloatHistogram(h) => (2, h.count.to_bits(), h.sum.to_bits()),
    }
}

fn value(kind: u8, n: u32) -> Value {
    let layout =
        BucketLayout { positive_spans: vec![Span { offset: (n % 3) as i32, length: 1 }], ..BucketLayout::default() };
    let (count, sum) = (u64::from(n), if n.is_multiple_of(17) { STALE_NAN } else { f64::from(n) });
    // A stale histogram has no count.
    let count = if n.is_multiple_of(17) { 0 } else { count };
    match kind {
        0 => Value::Float(sum),
        1 => {
            let positive_buckets = vec![count as i64];
            Value::Histogram(Box::new(Histogram { layout, count, sum, positive_buckets, ..Histogram::default() }))
        }
        _ => {
            let count = count as f64;
            let (positive_buckets, hint) = (vec![count], Default::default());
            Value::FloatHistogram(Box::new(FloatHistogram {
                counter_reset_hint: hint,
                layout,
                zero_count: 0.0,
                count,
                sum,
                positive_buckets,
                negative_buckets: Vec::new(),
            }))
        }
    }
}

/// Samples of one source: steps of time, kinds and values, and after how many samples a chunk is cut.
#[derive(Clone, Debug)]
struct Given {
    start: i64,
    samples: Vec<(i64, u8, u32)>,
    cut: usize,
}

impl Given {
    fn samples(&self) -> Vec<(i64, Value)> {
        let steps = self.samples.iter().scan(self.start, |t, (step, kind, n)| {
            *t += step;
            Some((*t, value(*kind, *n)))
        });
        steps.collect()
    }

    fn chunks(&self) -> Vec<Chunk> {
        self.samples().chunks(self.cut).flat_map(encode).collect()
    }
}

fn encode(samples: &[(i64, Value)]) -> Vec<Chunk> {
    let mut builder = ChunkBuilder::new();
    samples.iter().for_each(|(t, v)| builder.push(TimestampMs(*t), TimestampMs(0), v).unwrap());
    builder.finish()
}

fn floats(times: impl IntoIterator<Item = i64>, v: f64) -> Chunk {
    let samples: Vec<_> = times.into_iter().map(|t| (t, Value::Float(v))).collect();
    encode(&samples).remove(0)
}

prop_compose! {
    fn given(kinds: u8)(
        start in -50i64..50,
        samples in prop::collection::vec((1i64..9, 0..kinds, 0u32..1000), 0..300),
        cut in 1usize..130,
    ) -> Given {
        Given { start, samples, cut }
    }
}

fn decoded(chunks: &[Chunk]) -> Vec<(i64, Plain)> {
    let mut samples = Vec::new();
    chunks.iter().for_each(|c| decode_values(c, &mut samples).unwrap());
    samples.iter().map(|s| (s.t.0, plain(&s.value))).collect()
}

fn model(sources: &[Given]) -> Model {
    let mut model = Model::new();
    for (t, value) in sources.iter().rev().flat_map(Given::samples) {
        model.insert(t, plain(&value));
    }
    model
}

fn agrees(chunks: &[Chunk], model: &Model) -> Result<(), TestCaseError> {
    prop_assert!(chunks.is_sorted_by(|a, b| a.max < b.min));
    for chunk in chunks {
        let samples = decoded(std::slice::from_ref(chunk));
        prop_assert_eq!(samples.first().map(|s| s.0), Some(chunk.min.0));
        prop_assert_eq!(samples.last().map(|s| s.0), Some(chunk.max.0));
    }
    prop_assert_eq!(decoded(chunks), model.iter().map(|(t, v)| (*t, *v)).collect::<Vec<_>>());
    Ok(())
}

fn sources() -> impl Strategy<Value = Vec<Given>> {
    (1u8..4).prop_flat_map(|kinds| prop::collection::vec(given(kinds), 0..5))
}

proptest! {
    #[test]
    fn merged_chunks_hold_each_timestamp_once_and_the_first_source_wins(sources in sources()) {
        let all: Vec<Chunk> = sources.iter().flat_map(Given::chunks).collect();
        let merged = merge_chunks(all.clone()).unwrap();
        agrees(&merged, &model(&sources))?;
        // What overlaps nothing has not been touched.
        for chunk in &all {
            let overlaps = all.iter().filter(|other| other.min <= chunk.max && other.max >= chunk.min).count();
            let same = merged.iter().any(|m| m.data.as_ptr() == chunk.data.as_ptr());
            prop_assert!(same || overlaps > 1);
        }
        // Merging again finds nothing to do.
        let again = merge_chunks(merged.clone()).unwrap();
        prop_assert!(again.iter().zip(&merged).all(|(a, b)| a.data.as_ptr() == b.data.as_ptr()));
    }

    #[test]
    fn without_takes_away_the_intervals_and_nothing_else(
        given in (1u8..4).prop_flat_map(given),
        intervals in prop::collection::vec((-100i64..2000, 0i64..200), 0..5),
        low in -100i64..2000,
        length in -5i64..1000,
    ) {
        let range = |min, max| TimeRange { min: TimestampMs(min), max: TimestampMs(max) };
        let mut removed: Vec<_> = intervals.iter().map(|(min, len)| range(*min, min + len)).collect();
        removed.sort_by_key(|r| r.min);
        let mut expected = model(std::slice::from_ref(&given));
        expected.retain(|t, _| !removed.iter().any(|r| r.contains(TimestampMs(*t))));
        let left: Vec<_> = given.chunks().into_iter().flat_map(|c| without(c, &removed).unwrap()).collect();
        agrees(&left, &expected)?;

        let wanted = range(low, low + length);
        expected.retain(|t, _| wanted.contains(TimestampMs(*t)));
        let clipped: Vec<_> = left.into_iter().flat_map(|c| clip(c, wanted).unwrap()).collect();
        agrees(&clipped, &expected)?;
    }

    #[test]
    fn a_merged_stream_gives_what_the_sources_have_together(
        sources in prop::collection::vec(prop::collection::btree_map(0u32..700, given(1), 0..40), 0..5),
        limit in prop::option::of(0usize..60),
        many in any::<bool>(),
    ) {
        let mut expected: BTreeMap<Labels, Vec<Given>> = BTreeMap::new();
        let mut streams: Vec<Box<dyn SeriesStream>> = Vec::new();
        for source in &sources {
            let mut series: Vec<_> = source.iter().map(|(i, given)| (labels(*i), given.clone())).collect();
            if many {
                let given = Given { start: 3, samples: vec![(1, 0, 1); 3], cut: 2 };
                series.extend((1000..1400).map(|i| (labels(i), given.clone())));
            }
            series.retain(|(_, given)| !given.samples.is_empty());
            series.sort_by(|a, b| a.0.cmp(&b.0));
            series.iter().for_each(|(labels, given)| expected.entry(labels.clone()).or_default().push(given.clone()));
            streams.push(Box::new(Listed::new(series.iter().map(|(l, g)| (l.clone(), g.chunks())).collect())));
        }
        let (found, end) = read(&mut MergedStream::new(streams, &Scope::unbounded(), limit)).unwrap();
        let wanted = limit.unwrap_or(usize::MAX);
        let expected: Vec<_> = expected.into_iter().take(wanted).collect();
        prop_assert_eq!(found.len(), expected.len());
        for (series, (labels, givens)) in found.iter().zip(&expected) {
            prop_assert_eq!(&series.labels, labels);
            agrees(&series.chunks, &model(givens))?;
        }
        prop_assert_eq!(end.stats, StreamStats {
            series: found.len() as u64,
            chunks: found.iter().map(|s| s.chunks.len() as u64).sum(),
            bytes: found.iter().flat_map(|s| &s.chunks).map(|c| c.data.len() as u64).sum(),
        });
    }
}

fn labels(i: u32) -> Labels {
    Labels::from_pairs([("__name__", "m"), ("i", &*i.to_string())])
}

/// A source that has its series in a list, and a warning at its end.
struct Listed {
    series: std::vec::IntoIter<(Labels, Vec<Chunk>)>,
    calls: usize,
}

impl Listed {
    fn new(series: Vec<(Labels, Vec<Chunk>)>) -> Listed {
        Listed { series: series.into_iter(), calls: 0 }
    }
}

impl SeriesStream for Listed {
    fn next(&mut self, batch: &mut SeriesBatch) -> Result<StreamStep, QueryError> {
        batch.series.clear();
        self.calls += 1;
        let some = self.series.by_ref().take(1 + self.calls % 7);
        batch.series.extend(some.map(|(labels, chunks)| SeriesChunks { labels, chunks }));
        if batch.series.is_empty() {
            let mut annotations = Annotations::none();
            annotations.warn(format!("asked {} times", self.calls));
            return Ok(StreamStep::End(StreamEnd { annotations, stats: StreamStats::default() }));
        }
        Ok(StreamStep::Batch)
    }
}

fn read(stream: &mut MergedStream<'_>) -> Result<(Vec<SeriesChunks>, StreamEnd), QueryError> {
    let (mut batch, mut found) = (SeriesBatch::default(), Vec::new());
    loop {
        match stream.next(&mut batch)? {
            StreamStep::Batch => {
                assert!((1..=256).contains(&batch.series.len()));
                found.append(&mut batch.series);
            }
            StreamStep::End(end) => return Ok((found, end)),
        }
    }
}

fn merged(sources: Vec<Listed>, scope: &Scope, limit: Limit) -> Result<(Vec<SeriesChunks>, StreamEnd), QueryError> {
    let streams = sources.into_iter().map(|s| Box::new(s) as Box<dyn SeriesStream>).collect();
    read(&mut MergedStream::new(streams, scope, limit))
}

#[test]
fn chunks_that_overlap_nothing_are_not_decoded_and_equal_ones_collapse() {
    let undecodable = |min, max| Chunk {
        min: TimestampMs(min),
        max: TimestampMs(max),
        encoding: Encoding::Xor,
        data: bytes::Bytes::from_static(&[0, 9, 1]),
    };
    let chunks = vec![undecodable(50, 60), undecodable(10, 20), undecodable(30, 40), undecodable(10, 20)];
    let times = |chunks: &[Chunk]| chunks.iter().map(|c| (c.min.0, c.max.0)).collect::<Vec<_>>();
    assert_eq!(times(&merge_chunks(chunks.clone()).unwrap()), [(10, 20), (30, 40), (50, 60)]);
    assert!(matches!(merge_chunks(vec![undecodable(10, 20), undecodable(20, 30)]), Err(DecodeError::Truncated { .. })));
    let range = |min, max| TimeRange { min: TimestampMs(min), max: TimestampMs(max) };
    assert!(without(undecodable(10, 20), &[range(0, 3), range(10, 20)]).unwrap().is_empty());
    assert_eq!(times(&without(undecodable(10, 20), &[range(0, 9), range(21, 30)]).unwrap()), [(10, 20)]);
    assert!(without(undecodable(10, 20), &[range(12, 13)]).is_err());
    assert_eq!(times(&clip(undecodable(10, 20), TimeRange::ALL).unwrap()), [(10, 20)]);
}

#[test]
fn what_was_merged_is_cut_after_120_samples() {
    let (even, odd) = (floats((0..110).map(|i| 2 * i), 1.0), floats((0..110).map(|i| 2 * i + 1), 2.0));
    let merged = merge_chunks(vec![even, odd]).unwrap();
    let counts: Vec<_> = merged.iter().map(|c| decoded(std::slice::from_ref(c)).len()).collect();
    assert_eq!(counts, [120, 100]);
}

#[test]
fn starts_are_merged_with_their_samples_and_what_was_xor2_stays_it() {
    let source = |times: std::ops::Range<i64>, start: i64| {
        let mut builder = ChunkBuilder::new();
        times.for_each(|t| builder.push_float(TimestampMs(2 * t + start), TimestampMs(start * t), 1.0));
        builder.finish()
    };
    let keys = |chunks: &[Chunk]| {
        let mut samples = Vec::new();
        chunks.iter().for_each(|c| decode_values(c, &mut samples).unwrap());
        samples.iter().map(|s| (s.t.0, s.start.0)).collect::<Vec<_>>()
    };
    let encodings = |chunks: &[Chunk]| chunks.iter().map(|c| c.encoding).collect::<Vec<_>>();
    let merged = merge_chunks([source(10..100, 0), source(10..100, 1)].concat()).unwrap();
    let expected: Vec<_> = (10..100).flat_map(|t| [(2 * t, 0), (2 * t + 1, t)]).collect();
    assert_eq!(keys(&merged), expected);
    assert_eq!(encodings(&merged), [Encoding::Xor2; 2], "also the chunk's first sample, which has no start");
    let from = TimeRange { min: TimestampMs(50), max: TimestampMs(i64::MAX) };
    let clipped = clip(merged[0].clone(), from).unwrap();
    assert_eq!((keys(&clipped), encodings(&clipped)), (expected[30..120].to_vec(), vec![Encoding::Xor2]));
    assert_eq!(encodings(&merge_chunks([source(1..9, 0), source(1..9, 0)].concat()).unwrap()), [Encoding::Xor]);
}

#[test]
fn a_remaining_part_of_a_long_chunk_stays_one_chunk() {
    let samples: Vec<_> = (0..240).map(|i| (i, Value::Float(0.5))).collect();
    let mut builder = ChunkBuilder::uncut();
    samples.iter().for_each(|(t, v)| builder.push(TimestampMs(*t), TimestampMs(0), v).unwrap());
    let long = builder.finish().remove(0);
    let left = without(long, &[TimeRange { min: TimestampMs(5), max: TimestampMs(6) }]).unwrap();
    assert_eq!((left.len(), decoded(&left).len()), (1, 238));
}

#[test]
fn the_remaining_histograms_say_nothing_of_a_reset_that_may_have_gone() {
    let sample = |n| value(1, n);
    let mut chunks = encode(&[(1, sample(6)), (2, sample(3)), (3, sample(9))]);
    let reset = chunks.remove(1);
    assert_eq!(reset.data[2] >> 6, 0b10);
    let left = without(reset, &[TimeRange { min: TimestampMs(2), max: TimestampMs(2) }]).unwrap();
    assert_eq!((left.len(), left[0].min.0, left[0].data[2] >> 6), (1, 3, 0b00));
}

#[test]
fn warnings_of_all_sources_arrive_and_a_cancelled_stream_stops() {
    let source = || Listed::new(vec![(labels(1), vec![floats(0..3, 1.0)]), (labels(2), vec![floats(0..3, 1.0)])]);
    let (found, end) = merged(vec![source(), Listed::new(Vec::new())], &Scope::unbounded(), None).unwrap();
    assert_eq!(found.len(), 2);
    let warnings: Vec<_> = end.annotations.of(AnnotationKind::Warning).map(|a| a.message.clone()).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    let scope = Scope::unbounded();
    scope.cancel();
    assert!(matches!(merged(vec![source()], &scope, None), Err(QueryError::Cancelled(Cancelled::Client))));
}

#[test]
fn chunks_that_cannot_be_decoded_are_an_error_that_names_the_series() {
    let broken = |max| Chunk { max: TimestampMs(max), data: bytes::Bytes::from_static(&[0, 9]), ..floats(0..3, 1.0) };
    let sources =
        vec![Listed::new(vec![(labels(7), vec![broken(1)])]), Listed::new(vec![(labels(7), vec![broken(2)])])];
    let error = merged(sources, &Scope::unbounded(), None).unwrap_err().to_string();
    assert!(error.contains("m{i=\"7\"}"), "{error}");
}
