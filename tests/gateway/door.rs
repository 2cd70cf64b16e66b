//! The gateway under test.

use std::net::SocketAddr;

use crate::support::process::{Home, Server};

/// A running gateway and its folder.
pub struct Door {
    pub home: Home,
    pub server: Server,
    pub address: SocketAddr,
}

impl Door {
    /// With a config file.
    pub fn with_file(yaml: &str) -> Door {
        Door::with(yaml, &[])
    }

    /// With a config file and flags.
    pub fn with(yaml: &str, flags: &[&str]) -> Door {
        let home = Home::new();
        home.write_config(yaml);
        let server = home.watershed(flags);
        Door { address: server.address.parse().expect("an address"), home, server }
    }

    /// The value of a series of its own metrics; 0 if there is none.
    pub fn metric(&self, series: &str) -> f64 {
        let text = crate::support::http::get_text(&format!("{}/metrics", self.server.url)).expect("its metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.trim().parse().expect("a number"))
    }
}
