use bytes::Bytes;
use watershed::model::{TimestampMs, Value};
use watershed::storage::chunk::{Chunk, ChunkBuilder, Columns, Encoding, decode_values};
use watershed::storage::chunk::{decode_float_histograms_into, decode_histograms_into, decode_into};

/// The first byte is the encoding. What is decoded is no more than was promised, and comes back when it is encoded again.
pub fn decode(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else { return };
    let Some(encoding) = Encoding::from_byte(kind % 7) else { return };
    let (min, max) = (TimestampMs(0), TimestampMs(0));
    let chunk = Chunk { min, max, encoding, data: Bytes::copy_from_slice(data) };
    let promised = usize::from(chunk.sample_count());
    let mut floats = Columns::default();
    let _ = decode_into(&chunk, &mut floats);
    let (mut integers, mut histograms) = (Columns::default(), Columns::default());
    let _ = decode_histograms_into(&chunk, &mut integers);
    let _ = decode_float_histograms_into(&chunk, &mut histograms);
    for times in [&floats.times, &integers.times, &histograms.times] {
        assert!(times.len() <= promised, "{} of {promised} samples", times.len());
    }
    let mut values = Vec::new();
    if decode_values(&chunk, &mut values).is_err() {
        return;
    }
    let is_sound = |value: &Value| match value {
        Value::Float(_) => true,
        Value::Histogram(h) => h.validate().is_ok(),
        Value::FloatHistogram(h) => h.validate().is_ok(),
    };
    if !values.iter().all(|v| is_sound(&v.value)) || !values.is_sorted_by(|a, b| a.t < b.t) {
        return;
    }
    let mut builder = ChunkBuilder::new();
    for v in &values {
        builder.push(v.t, v.start, &v.value).expect("a sound value can be encoded");
    }
    let mut again = Vec::new();
    for chunk in builder.finish() {
        decode_values(&chunk, &mut again).expect("what was encoded can be decoded");
    }
    assert_eq!(again.len(), values.len());
    for (before, after) in values.iter().zip(&again) {
        let starts_fit = before.start == after.start || after.start == TimestampMs(0);
        assert!(before.t == after.t && starts_fit && before.value.is_same(&after.value), "{before:?} became {after:?}");
    }
}
