//! Remote read: answering it from a store, and asking other servers by remote read as if they were a store.
//!
//! * [`ReadRequest`], [`ResponseKind`], [`serve`]: the server's side, without HTTP, which is `web`'s business. Streamed
//!   answers take constant memory; chunks that lie whole in the range go out as the bytes that they are stored as.
//! * [`Endpoint`]: a server that is asked by remote read, as a [`Queryable`](crate::storage::Queryable) and as a
//!   [`Secondary`](crate::storage::Secondary) beside the local store.
//!
//! The laws of the client's side:
//! * **A peer is not believed.** Frames and messages are held against limits before memory is taken for them; every chunk is
//!   decoded once to see that it can be, and that its times ascend and are those that it declares; series that do not
//!   satisfy the selector and chunks outside of the range are dropped.
//! * **All or nothing where order is asked for.** A sorted answer is complete before its first series is handed on, since
//!   peers need not sort; it is held within the scope's bytes. An unsorted one is handed on as it comes.
//! * **A wait is bounded** by the endpoint's timeout and by the read's scope, whichever ends first.
//! * **Who fails again and again is left alone** for a while, then asked by one read to see whether it is back.
//!
//! A failure is a [`QueryError::Peer`](crate::storage::QueryError::Peer); whether that fails the read or becomes a
//! warning is for the caller to say.

mod answer;
mod collect;
mod config;
mod endpoint;
mod external;
mod frames;
mod framing;
mod incoming;
mod metrics;
mod samples;
mod serve;
mod stream;
mod wire;

#[cfg(test)]
mod tests;

pub use answer::{decode_frame, decode_samples};
pub use config::EndpointConfig;
pub use endpoint::{Deps, Endpoint, LocalStart};
pub use framing::{FrameError, Framing};
pub use serve::{Limits, ServeError, Served, Sink, Source, serve};
pub use wire::{AnswerError, Hints, LABELS_ONLY, Query, ReadRequest, RequestError, ResponseKind};

/// `Content-Type` of an answer of samples.
pub const SAMPLES_TYPE: &str = "application/x-protobuf";
/// `Content-Type` of a streamed answer.
pub const STREAMED_TYPE: &str = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
