//! The open chunk of a series whose newest sample is a native histogram: when it ends and what opens the next one. The
//! rules are the reference's, so that head chunks are cut where Prometheus cuts them.

use crate::model::{CounterResetHint, FloatHistogram, Histogram, STALE_NAN, Value, is_stale};
use crate::storage::chunk::float_histogram::FloatHistogramState;
use crate::storage::chunk::histogram::HistogramState;
use crate::storage::chunk::{Appended, EncodeError, cut};
use crate::storage::{Encoding, HistogramRef};

/// Chunks are meant to be of this size.
const TARGET_BYTES: usize = 1024;
/// Large histograms would make chunks of very few samples; only the end of the range cuts one with fewer than these.
const MIN_SAMPLES: u16 = 10;

/// Encoder of an open chunk of histograms. Its bytes lie in the series, as those of a chunk of floats.
#[derive(Clone, Debug)]
pub(super) struct OpenHistogram {
    state: State,
    /// The end of the chunk has been estimated from its size.
    has_end: bool,
}

#[derive(Clone, Debug)]
enum State {
    Integer(HistogramState),
    Float(FloatHistogramState),
}

impl State {
    fn integer(header: CounterResetHint, with_starts: bool) -> State {
        let new = if with_starts { HistogramState::with_starts } else { HistogramState::new };
        State::Integer(new(header))
    }

    fn float(header: CounterResetHint, with_starts: bool) -> State {
        let new = if with_starts { FloatHistogramState::with_starts } else { FloatHistogramState::new };
        State::Float(new(header))
    }
}

impl OpenHistogram {
    /// A chunk for `first`, which is not yet in it. `previous`: the chunk before it, if it was closed for its size or age
    /// or for its lack of room for start timestamps.
    pub(super) fn opened_by(
        first: HistogramRef<'_>,
        with_starts: bool,
        previous: Option<&OpenHistogram>,
    ) -> OpenHistogram {
        let previous = previous.map(|open| &open.state);
        let state = match first {
            HistogramRef::Integer(first) => {
                let previous = previous.and_then(|s| if let State::Integer(s) = s { Some(s) } else { None });
                State::integer(HistogramState::header_after(previous, first), with_starts)
            }
            HistogramRef::Float(first) => {
                let previous = previous.and_then(|s| if let State::Float(s) = s { Some(s) } else { None });
                State::float(FloatHistogramState::header_after(previous, first), with_starts)
            }
        };
        OpenHistogram { state, has_end: false }
    }

    /// The chunk behind this one, when a sample did not fit.
    pub(super) fn cut(&self, header: CounterResetHint) -> OpenHistogram {
        let state = match self.state {
            State::Integer(_) => State::integer(header, self.has_starts()),
            State::Float(_) => State::float(header, self.has_starts()),
        };
        // The reference does not estimate a second time either.
        OpenHistogram { state, has_end: self.has_end }
    }

    /// Appends a sample of this chunk's kind. One of another kind must be cut off.
    pub(super) fn append(
        &mut self,
        bytes: &mut Vec<u8>,
        (t, start): (i64, i64),
        sample: HistogramRef<'_>,
    ) -> Result<Appended, EncodeError> {
        match (&mut self.state, sample) {
            (State::Integer(state), HistogramRef::Integer(sample)) => state.append_with_start(bytes, t, start, sample),
            (State::Float(state), HistogramRef::Float(sample)) => state.append_with_start(bytes, t, start, sample),
            _ => Ok(Appended::MustCut(CounterResetHint::Unknown)),
        }
    }

    /// Whether it is of the sample's kind, and has room for start timestamps if it has to.
    pub(super) fn holds(&self, sample: HistogramRef<'_>, with_starts: bool) -> bool {
        let is_same_kind = matches!(
            (&self.state, sample),
            (State::Integer(_), HistogramRef::Integer(_)) | (State::Float(_), HistogramRef::Float(_))
        );
        is_same_kind && (self.has_starts() || !with_starts)
    }

    fn has_starts(&self) -> bool {
        self.encoding().has_starts()
    }

    pub(super) fn encoding(&self) -> Encoding {
        match &self.state {
            State::Integer(state) => state.encoding(),
            State::Float(state) => state.encoding(),
        }
    }

    pub(super) fn count(&self) -> u16 {
        match &self.state {
            State::Integer(state) => state.count(),
            State::Float(state) => state.count(),
        }
    }

    pub(super) fn last_t(&self) -> i64 {
        match &self.state {
            State::Integer(state) => state.last().0,
            State::Float(state) => state.last().0,
        }
    }

    /// The newest sample.
    pub(super) fn last_value(&self) -> Value {
        match &self.state {
            State::Integer(state) => Value::Histogram(Box::new(state.last().1.clone())),
            State::Float(state) => Value::FloatHistogram(Box::new(state.last().1.clone())),
        }
    }

    /// Whether the newest sample says the same as this one.
    pub(super) fn ends_with(&self, sample: HistogramRef<'_>) -> bool {
        match (&self.state, sample) {
            (State::Integer(state), HistogramRef::Integer(sample)) => state.last().1.is_same(sample),
            (State::Float(state), HistogramRef::Float(sample)) => state.last().1.is_same(sample),
            _ => false,
        }
    }

    pub(super) fn is_stale(&self) -> bool {
        match &self.state {
            State::Integer(state) => is_stale(state.last().1.sum),
            State::Float(state) => is_stale(state.last().1.sum),
        }
    }

    /// Whether the chunk, which began at `start`, must be closed before a sample at `t`. `next_at`, where it is to end, is
    /// brought forward once its size says how fast it grows. `range_end`: where no chunk may cross.
    pub(super) fn is_due(
        &mut self,
        t: i64,
        start: i64,
        bytes: usize,
        next_at: &mut i64,
        range_end: impl Fn(i64) -> i64,
    ) -> bool {
        let range_end = if self.has_end { range_end(start) } else { *next_at };
        if !self.has_end && bytes >= TARGET_BYTES / 4 {
            let times_as_long = TARGET_BYTES as f64 / bytes as f64;
            *next_at = cut::even_end(start, self.last_t(), *next_at, times_as_long);
            self.has_end = true;
        }
        (t >= *next_at || bytes >= TARGET_BYTES * 2) && (self.count() >= MIN_SAMPLES || t >= range_end)
    }
}

/// A staleness marker of the kind of chunks of an encoding; `None` for floats.
pub(super) fn with_stale<R>(encoding: Encoding, f: impl FnOnce(HistogramRef<'_>) -> R) -> Option<R> {
    match encoding {
        Encoding::Xor | Encoding::Xor2 => None,
        Encoding::Histogram | Encoding::HistogramStarts => {
            Some(f(HistogramRef::Integer(&Histogram { sum: STALE_NAN, ..Histogram::default() })))
        }
        Encoding::FloatHistogram | Encoding::FloatHistogramStarts => {
            Some(f(HistogramRef::Float(&FloatHistogram { sum: STALE_NAN, ..FloatHistogram::default() })))
        }
    }
}
