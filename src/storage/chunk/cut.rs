//! When a chunk that samples are appended to one by one is closed, as in the reference's head: no chunk crosses a multiple
//! of the block's range, and within one chunks of about 120 samples are of equal length.

use super::CHUNK_SAMPLES;

/// A chunk larger than this is closed before the next sample: 1 KiB less one sample.
const MAX_BYTES: usize = 1024 - 19;

/// A chunk of floats that still grows.
#[derive(Clone, Copy, Debug)]
pub struct GrowingFloats {
    /// Samples so far.
    pub count: u16,
    /// Their bytes.
    pub bytes: usize,
    /// Time of the first, in milliseconds.
    pub start: i64,
    /// Time of the newest.
    pub newest: i64,
}

impl GrowingFloats {
    /// Whether the chunk must be closed before a sample at `t`. `end`, where it is to end, was [`range_end`] when it was
    /// opened, and is brought forward once a quarter of the samples shows how fast they come.
    #[inline]
    pub fn is_due(self, t: i64, end: &mut i64) -> bool {
        if self.count == CHUNK_SAMPLES / 4 {
            *end = even_end(self.start, self.newest, *end, 4.0);
        }
        // Twice as many samples mean that the estimate was made at a slower rate.
        t >= *end || self.count >= CHUNK_SAMPLES * 2 || self.bytes > MAX_BYTES
    }
}

/// Where the range of `width` milliseconds that `t` lies in ends. The range before 1970 is of twice the width.
#[inline]
pub fn range_end(t: i64, width: i64) -> i64 {
    (t / width).saturating_mul(width).saturating_add(width)
}

/// The end of a chunk that will be `times_as_long` as it is at `now`, such that chunks of equal length reach up to `end`.
pub fn even_end(start: i64, now: i64, end: i64, times_as_long: f64) -> i64 {
    let length = end.wrapping_sub(start) as f64;
    let chunks = (length / (now.wrapping_sub(start).wrapping_add(1) as f64 * times_as_long)).floor();
    if chunks <= 1.0 { end } else { (start as f64 + length / chunks) as i64 }
}
