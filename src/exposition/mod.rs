//! The formats in which metrics are exposed: borrowed-cursor parsers for Prometheus text and OpenMetrics here, for the
//! protobuf format in [`protobuf`], and [writers](mod@write) of all of them.
//!
//! [`Parser`] walks a body once, without copying and without an allocation a line. A sample comes with its *series
//! part*, the raw bytes from the start of the line to the end of the metric name or of the closing brace; labels are
//! decoded from those bytes only when somebody asks ([`SeriesLabels::decode`]). Somebody who knows a series part or a
//! comment line from before can skip parsing it again ([`Parser::accept_series`], [`Parser::accept_line`]).
//!
//! The law: what Prometheus's parsers accept is accepted, with the same labels and values; what they refuse is refused.
//! One known difference, on purpose: a NUL byte where a line or comment should begin ends a text body silently there
//! and is an error here, because silence would pass garbage off as an empty, healthy answer.
//!
//! This module does not know targets, limits or label rules; it holds no format of its own.

mod content_type;
mod created;
mod error;
mod grammar;
mod labels;
mod number;
mod parser;
pub mod protobuf;
#[cfg(test)]
mod tests;
pub mod write;

pub use content_type::{ContentTypeError, MediaType, choose_format};
pub use created::CreatedLines;
pub use error::ParseError;
pub use labels::{SeriesLabels, unescape_help};
pub use number::{NumberError, format_go_float, format_openmetrics_float, parse_float};
pub use parser::{Event, Parser, RawExemplar, Sample};

/// How a text is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// Prometheus text, 0.0.4 or 1.0.0.
    Text,
    /// OpenMetrics text, 0.0.1 or 1.0.0.
    OpenMetrics,
}
