//! The message `prometheus.Histogram`, which remote read and both versions of remote write share, but for the start timestamp
//! that only 2.0 has.
//!
//! Source: Prometheus, "prompb/types.proto".

mod decode;
mod encode;

pub(in crate::remote) use decode::{Decoded, HistogramIn, RESERVED_SCHEMA_MAX, decode};
pub(in crate::remote) use encode::{write_float, write_integer};
