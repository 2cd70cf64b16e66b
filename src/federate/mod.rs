//! Federation out: selector -> exposition.
//!
//! [`write()`] turns a stream of newest samples into what `/federate` answers, in constant memory: the stream brings metric
//! names in ascending order and, if it can, all of one family together
//! ([`LatestStream::by_family`](crate::storage::LatestStream::by_family)), so that one pass can write each family's head
//! before its series. [`negotiate`] finds out which format the client wants, and how names that older readers do not know.
//!
//! The law: the samples are those of the reference's answer, in text to the byte of each line. On purpose unlike the reference:
//! * A family keeps its type, help and unit where they are known and its series' names agree with them (`families`). The
//!   reference says `untyped` of everything. What that brings along: the buckets, count and sum of a histogram stand together,
//!   metric by metric, buckets by bound; in OpenMetrics a counter's family has no `_total`.
//! * OpenMetrics is served, with exemplars and start timestamps, and text 1.0.0; the reference knows text 0.0.4 and protocol
//!   buffers only.
//! * Native histograms with integer counts stay such; the reference makes floats of them. As there, text has none but those with
//!   custom bounds, which every format gets as classic histograms.
//! * Series of one name are always in order of their labels; the reference's sort is not stable.
//! * A label whose name has a colon comes in quotes; no parser takes what the reference writes.
//! * In protocol buffers the series of classic histograms and summaries stay untyped series as in the reference: one message for
//!   all of them could keep neither each one's time nor how its bound is spelt.
//!
//! Not here: reading `match[]` (see `promql`), the lookback window, and compression (see `web`).

mod answer;
mod exemplars;
mod families;
mod negotiate;
mod protobuf;
#[cfg(test)]
mod tests;
mod text;

pub use answer::{Answer, FederateError, Written, write};
pub use families::Lookup;
pub use negotiate::{BodyFormat, Format, negotiate};
