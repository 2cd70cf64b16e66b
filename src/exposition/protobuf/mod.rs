//! The protobuf format in which targets expose metrics: `io.prometheus.client.MetricFamily` messages, each behind its
//! length. It is the only format with native histograms.
//!
//! [`MessageParser`] walks a body once: [families](MessageFamily) one by one, of each its [metrics](Metric), of each its
//! labels, buckets, quantiles and exemplars, borrowed from the body until somebody asks for a number or a histogram.
//! Whether a histogram is taken as a native or as a classic one, and which series a classic one becomes, is decided by
//! whoever scrapes: both are read from the same message.
//!
//! The law: fields mean what Prometheus's parser takes them for; unknown fields are passed over. On purpose stricter is one
//! thing: a metric that holds its value twice is refused, where the reference would merge the two.
//!
//! | file | content |
//! |---|---|
//! | `parse` | bodies, families, metrics, exemplars |
//! | `histogram` | classic buckets and native histograms |

mod histogram;
mod parse;
#[cfg(test)]
mod tests;

pub use histogram::{ClassicBucket, HistogramMessage};
pub use parse::{
    FamilyKind, LabelPair, MessageError, MessageExemplar, MessageFamily, MessageParser, Metric, MetricValue, Number,
    Summary,
};
