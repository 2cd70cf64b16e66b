//! The instants at which a query is evaluated.

/// `count` instants, `interval` milliseconds apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Steps {
    /// The first, milliseconds.
    pub start: i64,
    /// Milliseconds, above 0.
    pub interval: i64,
    /// How many; may be 0.
    pub count: usize,
    /// Whether they are the steps of a span of time, even if only one falls into it. At an instant the order of series
    /// counts.
    pub is_range: bool,
}

impl Steps {
    /// One instant.
    pub fn single(at: i64) -> Steps {
        Steps { start: at, interval: 1, count: 1, is_range: false }
    }

    /// From `start` until `end`, both belong to it; none if `end` is before `start`.
    pub fn between(start: i64, end: i64, interval: i64) -> Steps {
        let interval = interval.max(1);
        let count = match end.checked_sub(start) {
            Some(span) if span >= 0 => usize::try_from(span / interval).unwrap_or(usize::MAX - 1) + 1,
            _ => 0,
        };
        Steps { start, interval, count, is_range: start != end }
    }

    /// The instant of step `index`, milliseconds.
    pub fn at(&self, index: usize) -> i64 {
        self.start + self.interval * index as i64
    }

    /// All instants.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = i64> + use<> {
        let Steps { start, interval, count, .. } = *self;
        (0..count).map(move |index| start + interval * index as i64)
    }
}
