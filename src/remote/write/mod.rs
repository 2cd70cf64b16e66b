//! Remote write, the receiving end: from a request's body to samples in a store.
//!
//! Both messages of the protocol are taken, `prometheus.WriteRequest` (1.0) and `io.prometheus.write.v2.Request` (2.0), packed
//! by snappy's block format or by zstd.
//!
//! * **A series is named once.** What a request says of a series' labels is hashed as it stands (the encoded labels in 1.0,
//!   the symbols in 2.0); a bounded cache knows the store's reference for it. Labels are only built for what is
//!   not in there. A reference that the store has forgotten is asked for anew.
//! * **Memory is bounded** before anything is believed: the unpacked message, a series' labels, the buckets of a histogram,
//!   the texts that a request has the store copy, and what one commit holds: a large message is committed in slices. (The
//!   bodies that are held at the same time are counted where they are read, in `web`.)
//! * **What is not kept is told**: whatever of a request can be written is written, and the answer is 400 with how many
//!   samples were refused for which reasons. 4xx is for what would be refused again, 5xx for what may succeed later.
//!   A request that comes again changes nothing, and a series' newest sample once more counts as written.
//!
//! Where this is not what Prometheus does: it rolls back a 1.0 request at its first refused sample, and answers 204 where
//! it left out series with invalid labels, although the specification wants 400; it answers 204 to exemplars that are too
//! long, and stores those without a timestamp in 1970; it refuses series of 2.0 that have exemplars and nothing else, which
//! its own senders send. Metadata of 2.0 is always stored, help and unit cut after 64 KiB, where the reference has no limit;
//! that of 1.0 belongs to no series and is only counted, as there.
//!
//! | file | content |
//! |---|---|
//! | `content` | which message, how packed: the negotiation |
//! | `receiver` | one request from its body to its outcome |
//! | `v1`, `v2`, `histogram` | the messages |
//! | `labels`, `cache` | what names a series, and the store's reference for it |
//! | `intake` | batches and slices into the store |
//! | `outcome`, `metrics` | what is told |
//!
//! Not here: HTTP, which is the business of `web`.

mod cache;
mod content;
mod intake;
mod labels;
mod metrics;
mod outcome;
mod receiver;
mod v1;
mod v2;

#[cfg(test)]
mod tests;

pub use content::{AcceptedMessages, Content, Message, Packing, UnknownMessage, Unsupported};
pub use outcome::{Failure, Outcome, Written};
pub use receiver::{Config, Deps, Receiver};
