//! What differs, and why. Each line must still apply, for the peer that it names.

/// Which releases of the peer differ from us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peer {
    /// Those before 3.14, whose behaviour was changed since.
    Old,
    /// Every one: we differ on purpose.
    Any,
}

/// A request of the table, whom it differs from, and the reason.
pub type Difference = (&'static str, Peer, &'static str);

pub const DIFFERENCES: &[Difference] = &[];

/// Endpoints that releases of the peer do not have: their requests are not compared with those.
pub const ABSENT: &[(&str, Peer, &str)] = &[
    ("/features", Peer::Old, "came after 3.5"),
    ("/targets/relabel_steps", Peer::Old, "came after 3.5"),
    ("/status/tsdb/blocks", Peer::Old, "came after 3.5"),
    ("/status/self_metrics", Peer::Old, "came after 3.5"),
    ("/openapi.yaml", Peer::Old, "came after 3.5"),
    ("/search/metric_names", Peer::Old, "came after 3.5"),
    ("/search/label_names", Peer::Old, "came after 3.5"),
    ("/search/label_values", Peer::Old, "came after 3.5"),
    ("/scrape_pools/config", Peer::Any, "comes with the release after 3.14.0"),
];
