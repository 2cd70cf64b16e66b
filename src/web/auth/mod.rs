//! Who may ask: the layer before every handler.
//!
//! What the web config file says ([`ListenerConfig`]) is kept in a [`Security`], which is replaced as a whole when the file
//! changes; requests under way end under the rules that they began with. The law:
//!
//! * **One layer covers every path**, also those that do not exist. Nothing is answered before it, except the two health
//!   endpoints where `--web.open-health-endpoints` says so.
//! * **A guess costs the same whatever it guesses.** A stranger's name is checked against some user's hash, chosen by a
//!   secret key, so that a name that exists and one that does not cost the same computation. Names and passwords are looked up
//!   by keyed digests, never compared with what is known.
//! * **bcrypt cannot be used to burn the processor.** It runs on one thread of its own; every verdict is remembered, right or
//!   wrong; the same question is computed once however many ask it at the same time; and an address that fails too often
//!   is told to wait before anything is computed. Verdicts that are remembered are given to everybody at any time, so one
//!   address cannot lock out the users of another.
//! * **No password is kept or logged**, only its keyed digest, whose key dies with the process.
//!
//! What this does not do: authorise; whoever is let in may do everything that the flags allow. Look through proxies: who
//! comes by one shares its address with all the others, and the tries that it has.

mod config;
mod credentials;
mod failures;
mod gate;
mod passwords;
mod rate;
mod verdicts;

pub use config::{ListenerConfig, PasswordHash, RateLimit};
pub(super) use credentials::Credentials;
pub(super) use gate::protect;
pub use gate::{Security, SecurityError};
