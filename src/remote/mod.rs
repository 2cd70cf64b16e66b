//! Samples to and from other servers by the field's own protocols: remote write, remote read, OTLP.
//!
//! * [`write`](mod@write): what a remote write request says, and taking it into the store.
//! * [`otlp`]: translating OTLP metrics, and taking them into the store.
//! * [`read`]: answering remote reads from a store, and asking other servers by remote read as if they were a store.
//!
//! The laws: nothing that a peer declares (lengths, counts, references) is believed before it was checked; a request's
//! memory is bounded by its limit; what is not kept is told exactly. Messages are read and written by the cursor and
//! the writer of [`net::protobuf`](crate::net::protobuf). HTTP itself is the business of `web` (serving) and `net` (asking).

mod histogram;
pub mod otlp;
pub mod read;
pub mod snappy;
pub mod write;
