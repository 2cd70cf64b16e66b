//! Watershed's own metrics and logs, and a small exporter of the host's.
//!
//! The registry is our own: it must write exactly the exposition that we also parse, and cost one atomic addition per
//! event. Names start with `watershed_` and follow Prometheus's naming rules; only [`process`] also uses the names
//! that every dashboard expects. [`host`] speaks the node exporter's names so that its dashboards work. [`logging`]
//! writes lines as Prometheus does. Nothing here sends anything anywhere.

pub mod host;
pub mod logging;
pub mod memory;
pub mod process;
mod registry;

pub use registry::{Counter, FamilyValues, Gauge, HistogramMetric, InstrumentValue, LabelPairs, Registry};
