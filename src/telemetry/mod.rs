//! Watershed's own metrics and logs.
//!
//! The registry is our own: it must write exactly the exposition that we also parse, and cost one atomic addition per
//! event. Names start with `watershed_` and follow Prometheus's naming rules.

mod registry;

pub use registry::{Counter, Gauge, HistogramMetric, Registry};
