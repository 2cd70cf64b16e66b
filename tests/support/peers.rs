//! The real servers that `tests/peers.sh` fetched.

use std::path::{Path, PathBuf};

/// A folder of unpacked Debian packages.
pub struct Peers {
    bin: PathBuf,
}

impl Peers {
    /// The peers, or `None` after saying that the test is skipped.
    ///
    /// # Panics
    ///
    /// If one of the `wanted` executables is missing and `CI` is set: there, a skipped test would be a lie.
    pub fn find(wanted: &[&str]) -> Option<Peers> {
        let top = Path::new(env!("CARGO_MANIFEST_DIR"));
        let cache = std::env::var_os("WATERSHED_PEERS").map_or_else(|| top.join("target/peers"), |dir| top.join(dir));
        let peers = Peers { bin: cache.join("root/usr/bin") };
        let missing: Vec<&str> = wanted.iter().filter(|exe| !peers.path(exe).is_file()).copied().collect();
        if missing.is_empty() {
            return Some(peers);
        }
        let reason =
            format!("{} not found in {}; tests/peers.sh fetches them", missing.join(", "), peers.bin.display());
        assert!(std::env::var_os("CI").is_none(), "{reason}");
        println!("skipped: {reason}");
        None
    }

    /// Where an executable is.
    pub fn path(&self, exe: &str) -> PathBuf {
        self.bin.join(exe)
    }
}
