//! Federation out: selector -> exposition.
//!
//! [`write_text`] turns a stream of newest samples into what the reference's `/federate` answers, in constant memory: the
//! stream is asked to come sorted by metric name and labels ([`SelectRequest::sorted`](crate::storage::SelectRequest)),
//! so that one pass can write each family's head before its series. The law: the same bytes as the reference for the
//! same samples, except that series of one name are always in order of their labels (the reference's sort is not
//! stable). [`negotiate`] finds out how the client wants names written that older readers do not know.
//!
//! Not here: reading `match[]` (see `promql`), the lookback window, and compression (see `web`).

mod negotiate;
mod text;

pub use negotiate::{Format, negotiate};
pub use text::{FederateError, Written, write_text};
