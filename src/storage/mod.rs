//! The contract between those who have samples and those who want them.
//!
//! * **Writing** ([`Appender`]) is synchronous and batched. `commit` consumes the appender; dropping it rolls back.
//!   Samples that cannot be kept come back as counts with reasons ([`AppendReport`]); an error means that nothing of
//!   the batch was written.
//! * **Reading** ([`Queryable`]) is chunk-first: a stream fills batches that the caller owns with labels and
//!   still-encoded chunks. Who needs floats decodes a chunk into columns. The end of a stream is a value that carries
//!   the warnings ([`StreamEnd`]); nobody reaches the end without holding them.
//! * Every read carries a [`Scope`]: deadline, budget, cancellation.
//!
//! One trait serves local, remote and merged sources; dynamic dispatch costs once per batch, never once per sample.
//! This module does no I/O of its own. [`memory`] is the reference implementation that tests compare others with.

mod admin;
mod append;
pub mod chunk;
mod exemplar;
mod families;
pub mod fanout;
mod latest;
pub mod memory;
pub mod merge;
pub(crate) mod newest;
mod scope;
mod select;

pub use admin::{AdminError, Administrable, Count, HeadStatistics, ReplayStatus};
pub use append::{
    AppendError, AppendReport, Appendable, Appender, ExemplarsRefused, FloatSample, HistogramRef, HistogramSample,
    Refusal, Refused, SeriesRef, UnknownSeries,
};
pub use chunk::{
    Chunk, ChunkBuilder, Columns, DecodeError, EncodeError, Encoding, TimedValue, decode_into, decode_values,
};
pub use exemplar::{ExemplarQueryable, SeriesExemplars};
pub use families::{FamilyPart, PartOf};
pub(crate) use families::{FamilyRows, family_order, name_runs, parts_of};
pub use fanout::{Fanout, Secondary};
pub use latest::{ASKED_MAX, LatestBatch, LatestRow, LatestStream, NewestValue, TextRow};
pub use scope::{ByteBudget, Cancelled, Held, Scope};
pub use select::{
    BatchSize, BoxedLatest, BoxedSeries, LabelRequest, LabelTexts, Limit, Nothing, QueryError, Queryable,
    SelectRequest, Selector, SeriesBatch, SeriesChunks, SeriesStream, StreamEnd, StreamStats, StreamStep, TimeRange,
};
