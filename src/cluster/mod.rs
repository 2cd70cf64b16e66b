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
//! # The way of a query
//!
//! 1. `split` and `strip` take the expression apart; `virtual_labels` decides which members can have anything to say.
//! 2. `frontend` asks for all parts at once. A member gets a part as text (`pushed`, in a VictoriaMetrics's own words if need
//!    be: `victoria`), unless its answer might not be the engine's: then its samples are read (`raw`), from all its `replicas`,
//!    whose series become one. `selectors` helps where only range selectors can be read, which do not show where series end.
//! 3. What has been asked for lately is in `cache`: by member, expression, and steps.
//! 4. `member` sends a `question`: as often, to as many of its servers and for as long as it is allowed, after `probe` has told
//!    what they are. `answer` reads what comes while `limits` counts it.
//! 5. The engine evaluates what is left, over the shares; `samples` is the store for what has to see several members' series.
//! 6. A member that fails is a warning or an error, both with its name. `explain` has written down what was done.
//!
//! Names, values, series (`lists`, kept for a moment in `list_cache`), metadata, exemplars, rules and alerts (`gather`) are
//! asked of every member, of each of its replicas if they differ (`replica_answers`), and put together. What tells replicas
//! apart nobody sees (`hidden`).
//!
//! # What it is not
//!
//! It stores nothing, and knows no server but by its public API. It does not evaluate PromQL: that is [`promql`](crate::promql).
//! It cannot read remotely either: who can stands beside it, and is handed in as [`RemoteSamples`].
//!
//! # The law
//!
//! An answer does not depend on where it was computed. What is not proven to be the same when members evaluate
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
pub use probe::{Build, Capabilities, Flavour, parse_build, parse_external};
pub use question::{Listed, Question};
pub use split::{Part, Split, split};
pub use strip::strip;
pub use virtual_labels::{CLUSTER, TooManyLabels, VirtualLabels, Visible};
