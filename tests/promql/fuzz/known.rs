//! Differences that are the peer's age. Each is as narrow as it can be told.

use super::Case;
use crate::support::http;
use crate::support::process::Server;

/// The peer.
pub struct Peer {
    /// Its version, such as `(3, 5)`.
    pub version: (u64, u64),
}

impl Peer {
    /// Asks it.
    pub fn of(server: &Server) -> Peer {
        let info =
            http::get_api(&format!("{}/api/v1/status/buildinfo", server.url)).expect("the peer tells its version");
        let version = info["version"].as_str().expect("a version");
        let mut numbers = version.split('.').map(|n| n.parse().expect("a number"));
        let mut number = || numbers.next().expect("a number");
        Peer { version: (number(), number()) }
    }
}

/// A known difference.
pub struct Known {
    /// Why it is there.
    pub reason: &'static str,
    /// Whether it explains what was found.
    pub applies: fn(&Peer, &Case, &str) -> bool,
}

/// All of them.
pub const KNOWN: &[Known] = &[];
