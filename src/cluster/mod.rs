//! Many Prometheus-compatible servers queried as one: the cluster frontend.
//!
//! A *member* is a server, or several replicas of one, with a name. Its series get the label `__cluster__` with that name,
//! and further *virtual labels* if its configuration says so; no server stores them.
//!
//! ```text
//! expression -- split --> what members evaluate, and what is left to do here
//!                              -- strip --> the same without virtual labels, for one member
//! ```
//!
//! `split` finds the largest parts of an expression that are *member-local*: those of which every member can evaluate its
//! own share, so that all shares together, each with its virtual labels, are the whole. What crosses members is evaluated
//! here, over the shares.
//!
//! The law: an answer does not depend on where it was computed. What is not proven to be the same when members evaluate
//! it is evaluated here.

mod answer;
mod cache;
mod config;
mod explain;
mod frontend;
mod gather;
mod hidden;
mod in_hand;
mod limits;
mod list_cache;
mod lists;
mod loops;
mod member;
mod metrics;
mod probe;
mod pushed;
mod question;
mod raw;
mod replica_answers;
mod replicas;
mod samples;
mod selectors;
mod split;
mod strip;
mod times;
mod victoria;
mod virtual_labels;

pub use answer::{AnswerError, ListAnswer, QueryAnswer, parse_result, parse_series, parse_texts};
pub use cache::ResultCache;
pub use config::{Bounds, CacheConfig, ExternalLabels, FederationConfig, MemberConfig, Policy, TimeBound, Via};
pub use explain::Explanation;
pub use frontend::{Frontend, OverMembers, Reads, RemoteSamples, Sender, Source};
pub use gather::{Client, MetricMetadata};
pub use limits::{Charge, Charged, Errand};
pub use list_cache::ListCache;
pub use lists::{LISTS_MAX_BYTES, Lists};
pub use loops::{LoopError, check_loop, introduction};
pub use member::{Credentials, Greeting, Health, Member, MemberError, Replica};
pub use metrics::{FrontendMetrics, MemberMetrics};
pub use probe::{Capabilities, Flavour, parse_build, parse_external};
pub use question::{Listed, Question};
pub use split::{Part, Split, split};
pub use strip::strip;
pub use virtual_labels::{CLUSTER, TooManyLabels, VirtualLabels, Visible};
