//! The encodings against bytes that the reference's own encoder (v0.314.0) wrote, and against garbage.

use proptest::prelude::*;

use super::float_histogram::FloatHistogramState;
use super::histogram::HistogramState;
use super::xor2::Xor2State;
use super::*;
use crate::model::{BucketLayout, CounterResetHint, STALE_NAN, Span, is_stale};

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().map(|b| (b as char).to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn chunk(encoding: Encoding, data: Vec<u8>) -> Chunk {
    Chunk { min: TimestampMs(0), max: TimestampMs(0), encoding, data: Bytes::from(data) }
}

fn span(offset: i32, length: u32) -> Span {
    Span { offset, length }
}

fn exponential() -> Histogram {
    Histogram {
        layout: BucketLayout {
            schema: 3,
            zero_threshold: 2f64.powi(-128),
            positive_spans: vec![span(0, 2), span(1, 1)],
            negative_spans: vec![span(-2, 1)],
            custom_values: Vec::new(),
        },
        zero_count: 2,
        count: 12,
        sum: 18.4,
        positive_buckets: vec![1, 2, -1],
        negative_buckets: vec![4],
        ..Histogram::default()
    }
}

fn custom() -> Histogram {
    Histogram {
        layout: BucketLayout {
            schema: -53,
            positive_spans: vec![span(0, 3)],
            custom_values: vec![0.1, 5.0, std::f64::consts::PI],
            ..BucketLayout::default()
        },
        count: 6,
        sum: 2.5,
        positive_buckets: vec![1, 1, 1],
        ..Histogram::default()
    }
}

fn absolute(deltas: &[i64]) -> Vec<f64> {
    let mut at = 0;
    let counts = deltas.iter().map(|d| {
        at += d;
        at as f64
    });
    counts.collect()
}

/// As the reference converts: with custom bounds there are no zero and no negative buckets.
fn to_float(h: &Histogram) -> FloatHistogram {
    let mut h = h.clone();
    if h.layout.schema == -53 {
        h.layout.zero_threshold = 0.0;
        h.layout.negative_spans.clear();
        h.negative_buckets.clear();
        h.zero_count = 0;
    }
    FloatHistogram {
        counter_reset_hint: h.counter_reset_hint,
        layout: h.layout.clone(),
        zero_count: h.zero_count as f64,
        count: h.count as f64,
        sum: h.sum,
        positive_buckets: absolute(&h.positive_buckets),
        negative_buckets: absolute(&h.negative_buckets),
    }
}

/// Three samples: the histogram, one more observation in its zero bucket, stale.
fn three(first: &Histogram) -> Vec<Histogram> {
    let mut second = first.clone();
    second.count += 1;
    second.zero_count += 1;
    vec![first.clone(), second, Histogram { sum: STALE_NAN, ..Histogram::default() }]
}

const TIMES: [i64; 3] = [1000, 16_000, 31_000];
const INTEGER: [(&str, &str); 2] = [
    (
        "000300749ca48c631b78fa319240326666666666668caf4f83a988c403179fe1333333333332",
        "000381749ca48c631b78fa319240326666666666668caf4d804f83a988c41e12218bcff0999999999999f83a8e",
    ),
    (
        "00030000ee5c664f8cbf02712400921fb54442d18f1f458800800000000000118c7e0ea6231018bdffd0000000000008",
        "00038100ee5c664f8cbf02712400921fb54442d18f1f458800800000000000118c76013e0ea62310f0910c5effe8000000000007e0ea38",
    ),
];
const FLOAT: [(&str, &str); 2] = [
    (
        "000300749ca48c631b78fa100a0000000000001000000000000000100c9999999999998ffc0000000000001002000000000000100000000000000010040000000000003e0ea63703d80c0c27402b84c801c5e7f84ccccccccccc80",
        "000381749ca48c631b78fa100a0000000000001000000000000000100c9999999999998ffc00000000000010020000000000001000000000000000100400000000000036013e0ea63703d80c1e122613a015c26400e2f3fc2666666666667e0ea380",
    ),
    (
        "00030000ee5c664f8cbf02712400921fb54442d18f1f4200c000000000000000000000000000020020000000000001ff8000000000000200000000000000020040000000000007c1d4c6d060613600ec5effe8000000000004",
        "00038100ee5c664f8cbf02712400921fb54442d18f1f4200c000000000000000000000000000020020000000000001ff8000000000000200000000000000020040000000000006c027c1d4c6d060f091309b00762f7ff4000000000003f0751c",
    ),
];

#[test]
fn integer_histograms_have_the_bytes_of_the_reference_and_read_back() {
    for (histogram, (plain, with_starts)) in [exponential(), custom()].iter().zip(INTEGER) {
        let samples = three(histogram);
        let (mut state, mut bytes) = (HistogramState::new(CounterResetHint::Unknown), Vec::new());
        for (t, sample) in TIMES.into_iter().zip(&samples) {
            assert_eq!(state.append(&mut bytes, t, sample), Ok(Appended::InPlace));
        }
        assert_eq!(bytes, unhex(plain));
        let mut columns = Columns::default();
        decode_histograms_into(&chunk(Encoding::Histogram, bytes), &mut columns).unwrap();
        assert!(columns.starts.is_empty());
        decode_histograms_into(&chunk(Encoding::HistogramStarts, unhex(with_starts)), &mut columns).unwrap();
        assert_eq!(columns.starts, [0, 0, 0, 700, 710, 720]);
        assert_eq!(columns.times, [TIMES, TIMES].concat());
        for half in columns.values.chunks(3) {
            assert_eq!(half[0], samples[0]);
            assert_eq!(half[1], Histogram { counter_reset_hint: CounterResetHint::NotReset, ..samples[1].clone() });
            assert!(is_stale(half[2].sum) && half[2].positive_buckets.is_empty());
        }
    }
}

#[test]
fn float_histograms_have_the_bytes_of_the_reference_and_read_back() {
    for (histogram, (plain, with_starts)) in [exponential(), custom()].iter().zip(FLOAT) {
        let samples: Vec<_> = three(histogram).iter().map(to_float).collect();
        let (mut state, mut bytes) = (FloatHistogramState::new(CounterResetHint::Unknown), Vec::new());
        for (t, sample) in TIMES.into_iter().zip(&samples) {
            assert_eq!(state.append(&mut bytes, t, sample), Ok(Appended::InPlace));
        }
        assert_eq!(bytes, unhex(plain));
        let mut columns = Columns::default();
        decode_float_histograms_into(&chunk(Encoding::FloatHistogramStarts, unhex(with_starts)), &mut columns).unwrap();
        decode_float_histograms_into(&chunk(Encoding::FloatHistogram, bytes), &mut columns).unwrap();
        assert_eq!(columns.starts, [700, 710, 720, 0, 0, 0]);
        assert_eq!(columns.times, [TIMES, TIMES].concat());
        for half in columns.values.chunks(3) {
            assert_eq!(half[0], samples[0]);
            assert_eq!(
                half[1],
                FloatHistogram { counter_reset_hint: CounterResetHint::NotReset, ..samples[1].clone() }
            );
            assert!(is_stale(half[2].sum) && half[2].positive_buckets.is_empty());
        }
    }
}

const XOR2: [&str; 3] = [
    "000a00d00f3ff000000000000098755097fff002b341eff638dac2bf64a8028bcf8cf90f22001d67f000000009500572c7f7fffffff6affa8d4607d7c7fc8791000eb380",
    "000a80d00f3ff0000000000000e80798755097fff002b341eff638dac2bf64a8028bcf8cf90f22001d67f000000009500572c7f7fffffff6affa8d4607d7c7fc8791000eb380",
    "000a03d00f3ff000000000000098755097fff002b341edf7fb15e36b0af5ec9500568bcf8cf90f22001d67af800000004a802b963d7dfffffffdabfea35181f5f1ff21e44003acf5",
];

#[test]
fn xor2_chunks_of_the_reference_are_read_with_their_starts() {
    let times = [1000, 16_000, 31_000, 46_010, 61_000, 300_000, 315_000, 330_000, 5_000_000_000i64, 5_000_015_000];
    let values = [1.0, 1.0, 2.0, 2.5, 2.5, STALE_NAN, 2.5, 1e300, STALE_NAN, -3.0].map(f64::to_bits);
    let mut following = [0; 10];
    for i in 3..10 {
        following[i] = times[i - 1] + i as i64 * 3;
    }
    let starts: [&[i64]; 3] = [&[], &[500; 10], &following];
    for (hex, starts) in XOR2.into_iter().zip(starts) {
        let bytes = unhex(hex);
        let mut columns = Columns::default();
        decode_into(&chunk(Encoding::Xor2, bytes.clone()), &mut columns).unwrap();
        assert_eq!(columns.times, times);
        assert_eq!(columns.values.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), values);
        assert_eq!(columns.starts, starts);
        for end in 0..bytes.len() - 1 {
            assert!(decode_into(&chunk(Encoding::Xor2, bytes[..end].to_vec()), &mut Columns::default()).is_err());
        }
    }
}

#[test]
fn a_chunk_of_the_other_kind_is_refused() {
    let wrong = decode_histograms_into(&chunk(Encoding::FloatHistogram, vec![0; 3]), &mut Columns::default());
    assert_eq!(wrong, Err(DecodeError::NotTheseHistograms(Encoding::FloatHistogram)));
    let wrong = decode_into(&chunk(Encoding::HistogramStarts, vec![0; 3]), &mut Columns::default());
    assert_eq!(wrong, Err(DecodeError::NotFloats(Encoding::HistogramStarts)));
    for byte in 0..=255 {
        assert!(Encoding::from_byte(byte).is_none_or(|e| e as u8 == byte));
    }
}

#[test]
fn malformed_and_implausible_histograms_are_refused() {
    let mut sample = exponential();
    sample.positive_buckets.pop();
    let refused = HistogramState::new(CounterResetHint::Unknown).append(&mut Vec::new(), 0, &sample);
    assert_eq!(refused, Err(EncodeError::BucketsAndSpansDiffer { promised: 3, given: 2 }));
    // Threshold 0, then the schema in nine bits, the highest of them the sign.
    let unknown = [0, 1, 0, 0, 0b1101_1010, 0b1000_0000];
    let refused = histogram::decode_into(&unknown, &mut Columns::default());
    assert_eq!(refused, Err(DecodeError::UnknownSchema(-11)));
    // 65,535 samples, each of which would repeat 300 spans.
    let mut crafted = vec![0xff, 0xff, 0, 0, 0b0111_0100, 0b1011_0000];
    crafted.extend([0; 100]);
    assert_eq!(histogram::decode_into(&crafted, &mut Columns::default()), Err(DecodeError::TooLarge));
}

/// The generator behind the sequences; the reference ran the same one.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// FNV-1a over all bytes.
#[derive(PartialEq, Debug)]
struct Digest {
    hash: u64,
    bytes: usize,
}

impl Digest {
    fn feed(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(1_099_511_628_211);
        }
    }
}

/// Buckets that are in use grow or halve; some empty ones come along.
fn grow(random: &mut Random, mode: u64, counts: &mut [i64; 24]) -> (Vec<Span>, Vec<i64>) {
    let (mut spans, mut deltas, mut end, mut last) = (Vec::<Span>::new(), Vec::new(), 0, 0);
    for (index, count) in (0i32..).zip(counts) {
        match mode {
            1 => *count /= 2,
            2 if *count > 0 => *count += random.below(4) as i64,
            _ => {}
        }
        if *count > 0 || random.below(8) == 0 {
            match spans.last_mut() {
                Some(span) if index == end => span.length += 1,
                _ => spans.push(span(index - end, 1)),
            }
            end = index + 1;
            deltas.push(*count - last);
            last = *count;
        }
    }
    (spans, deltas)
}

/// Start timestamps of every sort: none, one for long, and two that follow the samples.
fn start_of(t: i64) -> i64 {
    let near = ((t as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as i64;
    match (t >> 18) & 3 {
        0 => 0,
        1 => t & !0xfffff,
        2 => t - 15_000 - near * 100,
        _ => t - near,
    }
}

/// One of the two states with its chunk.
trait Encoder: Sized {
    fn next_chunk(&self, sample: &Histogram) -> Self;
    fn append(&mut self, random: &mut Random, t: i64, sample: &Histogram, digest: &mut Digest);
    fn bytes(&self) -> &[u8];
}

struct Integer(HistogramState, Vec<u8>);

impl Integer {
    fn fresh(&self, header: CounterResetHint) -> HistogramState {
        match self.0.encoding().has_starts() {
            true => HistogramState::with_starts(header),
            false => HistogramState::new(header),
        }
    }
}

impl Encoder for Integer {
    fn next_chunk(&self, sample: &Histogram) -> Integer {
        let previous = (self.0.count() > 0).then_some(&self.0);
        Integer(self.fresh(HistogramState::header_after(previous, sample)), Vec::new())
    }

    fn append(&mut self, _: &mut Random, t: i64, sample: &Histogram, digest: &mut Digest) {
        let start = start_of(t);
        match self.0.append_with_start(&mut self.1, t, start, sample).unwrap() {
            Appended::InPlace => digest.feed(&[0]),
            Appended::Recoded => digest.feed(&[1]),
            Appended::MustCut(header) => {
                digest.feed(&[2]);
                digest.feed(&self.1);
                *self = Integer(self.fresh(header), Vec::new());
                assert_eq!(self.0.append_with_start(&mut self.1, t, start, sample), Ok(Appended::InPlace));
            }
        }
        assert!(self.0.last().0 == t);
    }

    fn bytes(&self) -> &[u8] {
        &self.1
    }
}

/// The third is the chunk before, until the first sample is there to be compared with it.
struct Float(FloatHistogramState, Vec<u8>, Option<FloatHistogramState>);

impl Float {
    fn fresh(&self, header: CounterResetHint) -> FloatHistogramState {
        match self.0.encoding().has_starts() {
            true => FloatHistogramState::with_starts(header),
            false => FloatHistogramState::new(header),
        }
    }
}

impl Encoder for Float {
    fn next_chunk(&self, _: &Histogram) -> Float {
        let previous = (self.0.count() > 0).then(|| self.0.clone());
        Float(self.fresh(CounterResetHint::Unknown), Vec::new(), previous)
    }

    fn append(&mut self, random: &mut Random, t: i64, sample: &Histogram, digest: &mut Digest) {
        let mut sample = to_float(sample);
        sample.count += 0.5 * random.below(2) as f64;
        if self.0.count() == 0 {
            self.0 = self.fresh(FloatHistogramState::header_after(self.2.as_ref(), &sample));
        }
        let start = start_of(t);
        match self.0.append_with_start(&mut self.1, t, start, &sample).unwrap() {
            Appended::InPlace => digest.feed(&[0]),
            Appended::Recoded => digest.feed(&[1]),
            Appended::MustCut(header) => {
                digest.feed(&[2]);
                digest.feed(&self.1);
                *self = Float(self.fresh(header), Vec::new(), None);
                assert_eq!(self.0.append_with_start(&mut self.1, t, start, &sample), Ok(Appended::InPlace));
            }
        }
        assert!(self.0.last().0 == t);
    }

    fn bytes(&self) -> &[u8] {
        &self.1
    }
}

const BOUNDS: [f64; 6] = [-1.5, 0.1, 0.25, 1.0, 33_554.43, 1e9];

/// Forty samples with everything that makes a chunk be cut or written anew.
fn sequence<E: Encoder>(seed: u64, empty: &E, digest: &mut Digest) {
    let mut random = Random(seed);
    let (mut positive, mut negative) = ([0i64; 24], [0i64; 24]);
    let thresholds = [0.0, 2f64.powi(-128), 0.3];
    let mut schema = random.below(9) as i32;
    let mut threshold = thresholds[random.below(3) as usize];
    let custom = random.below(4) == 0;
    let mut gauge = random.below(3) == 0;
    let mut filled = 0;
    while filled < 3 + random.below(4) {
        for side in [&mut positive, &mut negative] {
            let index = random.below(24) as usize;
            side[index] = 1 + random.below(5) as i64;
        }
        filled += 1;
    }
    let (mut zero, mut t) = (0, seed as i64 * 1000);
    let mut encoder: Option<E> = None;
    for step in 0..40 {
        t += 15_000 + random.below(50) as i64;
        let mut mode = 2;
        match random.below(40) {
            0 => mode = 1,
            1 => schema = random.below(9) as i32,
            2 => threshold = thresholds[random.below(3) as usize],
            3 => gauge = !gauge,
            4..=8 => mode = 0,
            _ => {}
        }
        if random.below(10) == 0 && gauge {
            positive[random.below(24) as usize] = 0;
        }
        if random.below(6) == 0 {
            positive[random.below(24) as usize] += 1;
        }
        let (positive_spans, positive_buckets) = grow(&mut random, mode, &mut positive);
        let (negative_spans, negative_buckets) = grow(&mut random, mode, &mut negative);
        zero += random.below(3);
        let count = zero + positive.iter().chain(&negative).sum::<i64>() as u64;
        let mut sum = count as f64 * 1.25 + random.below(7) as f64;
        if random.below(60) == 0 {
            sum = STALE_NAN;
        }
        let counter_reset_hint = if gauge {
            CounterResetHint::Gauge
        } else if random.below(40) == 0 {
            CounterResetHint::Reset
        } else {
            CounterResetHint::Unknown
        };
        let custom_values = if custom { BOUNDS[..5 + schema as usize % 2].to_vec() } else { Vec::new() };
        let layout = BucketLayout {
            schema: if custom { -53 } else { schema },
            zero_threshold: threshold,
            positive_spans,
            negative_spans,
            custom_values,
        };
        let sample =
            Histogram { counter_reset_hint, layout, zero_count: zero, count, sum, positive_buckets, negative_buckets };
        if step > 0 && random.below(30) == 0 {
            let full = encoder.take().unwrap();
            digest.feed(&[3]);
            digest.feed(full.bytes());
            encoder = Some(full.next_chunk(&sample));
        }
        let encoder = encoder.get_or_insert_with(|| empty.next_chunk(&sample));
        encoder.append(&mut random, t, &sample, digest);
    }
    digest.feed(encoder.unwrap().bytes());
}

/// The digests after one sequence and after 2,000.
fn digests<E: Encoder>(empty: &E) -> [(u64, usize); 2] {
    let mut digest = Digest { hash: 14_695_981_039_346_656_037, bytes: 0 };
    sequence(1, empty, &mut digest);
    let first = (digest.hash, digest.bytes);
    (2..=2000).for_each(|seed| sequence(seed, empty, &mut digest));
    [first, (digest.hash, digest.bytes)]
}

#[test]
fn integer_histograms_are_appended_recoded_and_cut_as_by_the_reference() {
    let empty = Integer(HistogramState::new(CounterResetHint::Unknown), Vec::new());
    assert_eq!(digests(&empty), [(0x1ea5_d077_5e11_f7aa, 979), (0xb7be_15ce_6692_97bc, 1_910_673)]);
}

#[test]
fn float_histograms_are_appended_recoded_and_cut_as_by_the_reference() {
    let empty = Float(FloatHistogramState::new(CounterResetHint::Unknown), Vec::new(), None);
    assert_eq!(digests(&empty), [(0xde8e_4ea8_4c6b_2b29, 1612), (0xc1c3_031d_82b2_e819, 4_513_180)]);
}

#[test]
fn histograms_with_starts_are_appended_recoded_and_cut_as_by_the_reference() {
    let empty = Integer(HistogramState::with_starts(CounterResetHint::Unknown), Vec::new());
    assert_eq!(digests(&empty), [(0x904e_a9af_34a8_54c2, 996), (0xc218_56e9_5a05_8826, 2_044_364)]);
    let empty = Float(FloatHistogramState::with_starts(CounterResetHint::Unknown), Vec::new(), None);
    assert_eq!(digests(&empty), [(0xe784_b5de_0b1a_ae8b, 1629), (0xa661_14a2_65b1_c191, 4_647_584)]);
}

/// 200 samples, so that starts begin after the last sample that the header can name, too.
fn xor2_sequence(seed: u64, digest: &mut Digest) {
    let mut random = Random(seed);
    let (mut state, mut bytes) = (Xor2State::new(), Vec::new());
    let (mut t, mut v, mut expected) = (seed as i64 * 1000, 0.0, Columns::default());
    for _ in 0..200 {
        t += match random.below(8) {
            0 => 15_000 + random.below(50) as i64,
            1 => 1 + random.below(1 << 21) as i64,
            2 => 1 + random.below(1 << 31) as i64,
            _ => 15_000,
        };
        let value = match random.below(6) {
            0 => {
                v += 1.0;
                v
            }
            1 => {
                v = f64::from_bits(random.below(1 << 31) << 33 | random.below(1 << 31));
                v
            }
            2 => STALE_NAN,
            _ => v,
        };
        let start = if seed.is_multiple_of(4) { 0 } else { start_of(t) };
        state.append(&mut bytes, t, start, value);
        assert_eq!((state.last().0, state.last().1.to_bits()), (t, value.to_bits()));
        expected.push(t, value, Some(start));
    }
    digest.feed(&bytes);
    let mut read = Columns::default();
    decode_into(&chunk(Encoding::Xor2, bytes), &mut read).unwrap();
    let bits = |columns: &Columns| columns.values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!((&read.times, bits(&read)), (&expected.times, bits(&expected)));
    assert_eq!(read.starts, expected.starts);
}

#[test]
fn xor2_chunks_are_written_as_by_the_reference_and_read_back() {
    let mut digest = Digest { hash: 14_695_981_039_346_656_037, bytes: 0 };
    xor2_sequence(1, &mut digest);
    assert_eq!(digest, Digest { hash: 0x4793_c83c_e1c9_b36e, bytes: 2183 });
    (2..=2000).for_each(|seed| xor2_sequence(seed, &mut digest));
    assert_eq!(digest, Digest { hash: 0xb1a7_cd86_a3c3_e447, bytes: 3_873_295 });
}

prop_compose! {
    fn layouts()(
        positive in prop::collection::vec((0i32..5, 0u32..4), 0..4),
        negative in prop::collection::vec((0i32..5, 0u32..4), 0..4),
        schema in prop_oneof![-4i32..9, Just(-53)],
        zero_threshold in prop_oneof![Just(0.0), (-300i32..300).prop_map(|e| 2f64.powi(e)), -2.0..2.0],
        bounds in prop::collection::vec(prop_oneof![any::<f64>(), (0u32..99_999_999).prop_map(|b| f64::from(b) / 1000.0)], 0..5),
    ) -> BucketLayout {
        let spans = |spans: Vec<(i32, u32)>| spans.into_iter().map(|(offset, length)| span(offset, length)).collect();
        let custom_values = if schema == -53 { bounds } else { Vec::new() };
        BucketLayout { schema, zero_threshold, positive_spans: spans(positive), negative_spans: spans(negative), custom_values }
    }
}

prop_compose! {
    /// Gauges of one layout, so that any values can follow each other.
    fn gauges()(
        layout in layouts(),
    )(
        samples in prop::collection::vec((
            any::<i64>(), any::<u64>(), any::<u64>(), -1e300f64..1e300,
            prop::collection::vec(any::<i64>(), histogram_layout::bucket_count(&layout.positive_spans) as usize),
            prop::collection::vec(any::<i64>(), histogram_layout::bucket_count(&layout.negative_spans) as usize),
        ), 1..20),
        layout in Just(layout),
    ) -> Vec<(i64, Histogram)> {
        samples.into_iter().map(|(t, zero_count, count, sum, positive_buckets, negative_buckets)| {
            let counter_reset_hint = CounterResetHint::Gauge;
            let layout = layout.clone();
            (t, Histogram { counter_reset_hint, layout, zero_count, count, sum, positive_buckets, negative_buckets })
        }).collect()
    }
}

fn as_floats(h: &Histogram) -> FloatHistogram {
    let bits = |buckets: &[i64]| buckets.iter().map(|b| *b as f64 / 3.0).collect();
    FloatHistogram {
        counter_reset_hint: h.counter_reset_hint,
        layout: h.layout.clone(),
        zero_count: h.zero_count as f64,
        count: h.count as f64,
        sum: h.sum,
        positive_buckets: bits(&h.positive_buckets),
        negative_buckets: bits(&h.negative_buckets),
    }
}

proptest! {
    #[test]
    fn integer_histograms_are_decoded_as_encoded(samples in gauges()) {
        let (mut state, mut bytes) = (HistogramState::new(CounterResetHint::Gauge), Vec::new());
        for (t, sample) in &samples {
            prop_assert_eq!(state.append(&mut bytes, *t, sample), Ok(Appended::InPlace));
        }
        let mut columns = Columns::default();
        prop_assert_eq!(histogram::decode_into(&bytes, &mut columns), Ok(()));
        prop_assert_eq!(columns.times.into_iter().zip(columns.values).collect::<Vec<_>>(), samples);
        for end in 0..bytes.len() - 1 {
            prop_assert!(histogram::decode_into(&bytes[..end], &mut Columns::default()).is_err());
        }
    }

    #[test]
    fn float_histograms_are_decoded_as_encoded(samples in gauges()) {
        let samples: Vec<_> = samples.iter().map(|(t, h)| (*t, as_floats(h))).collect();
        let (mut state, mut bytes) = (FloatHistogramState::new(CounterResetHint::Gauge), Vec::new());
        for (t, sample) in &samples {
            prop_assert_eq!(state.append(&mut bytes, *t, sample), Ok(Appended::InPlace));
        }
        let mut columns = Columns::default();
        prop_assert_eq!(float_histogram::decode_into(&bytes, &mut columns), Ok(()));
        prop_assert_eq!(columns.times.into_iter().zip(columns.values).collect::<Vec<_>>(), samples);
        for end in 0..bytes.len() - 1 {
            prop_assert!(float_histogram::decode_into(&bytes[..end], &mut Columns::default()).is_err());
        }
    }

    #[test]
    fn garbage_never_panics(
        mut bytes in prop::collection::vec(any::<u8>(), 0..200),
        small in any::<bool>(),
        at in 0usize..200,
        flip in any::<u8>(),
    ) {
        if small && bytes.len() > 5 {
            // Few samples and a known schema, so that more than the layout is read.
            bytes[0] = 0;
            bytes[3] = 0;
            bytes[4] &= 0x7f;
        }
        let mut damaged = unhex(INTEGER[0].1);
        if let Some(byte) = damaged.get_mut(at) { *byte ^= flip }
        for data in [bytes, damaged] {
            for encoding in (0..=255).filter_map(Encoding::from_byte) {
                let chunk = chunk(encoding, data.clone());
                let _ = decode_into(&chunk, &mut Columns::default());
                let _ = decode_histograms_into(&chunk, &mut Columns::default());
                let _ = decode_float_histograms_into(&chunk, &mut Columns::default());
            }
        }
    }
}
