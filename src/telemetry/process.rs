//! What this process uses, and what it was built from.

use std::path::Path;

use super::Registry;
use super::host::parse;

/// What this binary was built from. A release build sets the environment variables `WATERSHED_REVISION` and
/// `WATERSHED_RUST_VERSION`; without them the revision is unknown and the oldest supported compiler is named.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BuildInfo {
    /// Version of the package.
    pub version: &'static str,
    /// Revision of the sources.
    pub revision: &'static str,
    /// Version of the compiler.
    pub rust_version: &'static str,
}

/// This binary's build.
pub const BUILD: BuildInfo = BuildInfo {
    version: env!("CARGO_PKG_VERSION"),
    revision: match option_env!("WATERSHED_REVISION") {
        Some(revision) => revision,
        None => "unknown",
    },
    rust_version: match option_env!("WATERSHED_RUST_VERSION") {
        Some(version) => version,
        None => env!("CARGO_PKG_RUST_VERSION"),
    },
};

/// Registers the process's metrics; they are read from `/proc` whenever they are asked for. Where there is no `/proc`
/// only the build information is registered.
pub fn register(registry: &Registry) {
    let labels = [("version", BUILD.version), ("revision", BUILD.revision), ("rustversion", BUILD.rust_version)];
    registry
        .gauge("watershed_build_info", "The version and revision that this process was built from.", &labels)
        .set(1.0);
    if !Path::new("/proc/self/stat").exists() {
        return;
    }
    for (names, help, value) in COUNTERS {
        for name in *names {
            registry.counter_fn(name, help, &[], value);
        }
    }
    for (names, help, value) in GAUGES {
        for name in *names {
            registry.gauge_fn(name, help, &[], value);
        }
    }
    // Both do not change while the process runs.
    let start = start_time_s().unwrap_or(f64::NAN);
    for name in ["process_start_time_seconds", "watershed_process_start_time_seconds"] {
        registry.gauge(name, "When the process started, in seconds since 1970.", &[]).set(start);
    }
}

type Row = (&'static [&'static str], &'static str, fn() -> f64);

const COUNTERS: &[Row] = &[
    (
        &["process_cpu_seconds_total", "watershed_process_cpu_seconds_total"],
        "User and system CPU time spent in seconds.",
        || or_nan(cpu_s()),
    ),
    (&["watershed_process_written_bytes_total"], "Bytes that the process caused to be written to storage.", || {
        or_nan(key_value("/proc/self/io", "write_bytes:"))
    }),
];

const GAUGES: &[Row] = &[
    (
        &["process_resident_memory_bytes", "watershed_process_resident_memory_bytes"],
        "Resident memory in bytes.",
        || or_nan(status_kib("VmRSS:")),
    ),
    (&["process_virtual_memory_bytes", "watershed_process_virtual_memory_bytes"], "Virtual memory in bytes.", || {
        or_nan(status_kib("VmSize:"))
    }),
    (&["process_open_fds", "watershed_process_open_fds"], "Open file descriptors.", || or_nan(open_fds())),
    (&["process_max_fds", "watershed_process_max_fds"], "The most file descriptors that may be open.", || max_fds()),
    (&["watershed_process_threads"], "Threads of the process.", || or_nan(key_value("/proc/self/status", "Threads:"))),
];

fn or_nan(value: Option<f64>) -> f64 {
    value.unwrap_or(f64::NAN)
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// The number after `key` at the beginning of a line.
fn key_value(path: &str, key: &str) -> Option<f64> {
    let text = read(path)?;
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    rest.split_whitespace().next()?.parse().ok()
}

fn status_kib(key: &str) -> Option<f64> {
    key_value("/proc/self/status", key).map(|kib| kib * 1024.0)
}

/// Field `n` of `/proc/self/stat`, counted from 1 as in its manual. The name in the second field may hold anything, so
/// fields are counted from its closing parenthesis.
fn stat_field(stat: &str, n: usize) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(n.checked_sub(3)?)?.parse().ok()
}

fn cpu_s() -> Option<f64> {
    let stat = read("/proc/self/stat")?;
    Some((stat_field(&stat, 14)? + stat_field(&stat, 15)?) / parse::TICKS_PER_S)
}

fn start_time_s() -> Option<f64> {
    let since_boot = stat_field(&read("/proc/self/stat")?, 22)? / parse::TICKS_PER_S;
    Some(parse::stat(&read("/proc/stat")?).boot_time_s? + since_boot)
}

fn open_fds() -> Option<f64> {
    // One of them is the directory being read.
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as f64)
}

fn max_fds() -> f64 {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current.map_or(f64::INFINITY, |n| n as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_process_may_hold_anything() {
        let stat = "7 (a) b) (c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 1 0 4200 0 0";
        assert_eq!(stat_field(stat, 14), Some(150.0));
        assert_eq!(stat_field(stat, 22), Some(4200.0));
        assert_eq!(stat_field("nonsense", 14), None);
        assert_eq!(stat_field(stat, 99), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_conventional_names_have_plausible_values() {
        let registry = Registry::new();
        register(&registry);
        let mut text = String::new();
        registry.write_text(&mut text);
        let value = |name: &str| -> f64 {
            let line = text.lines().find(|l| l.strip_prefix(name).is_some_and(|r| r.starts_with(' ')));
            let line = line.unwrap_or_else(|| panic!("{name} is missing in\n{text}"));
            line.rsplit(' ').next().expect("a value").parse().expect("a number")
        };
        assert!(value("process_cpu_seconds_total") >= 0.0);
        assert!(value("process_resident_memory_bytes") > 100_000.0);
        assert!(value("process_virtual_memory_bytes") >= value("process_resident_memory_bytes"));
        assert!(value("process_open_fds") >= 1.0);
        assert!(value("process_max_fds") >= value("process_open_fds"));
        assert!(value("process_start_time_seconds") > 1.0e9);
        assert!(value("watershed_process_threads") >= 1.0);
        assert!(text.contains(&format!("watershed_build_info{{version=\"{}\"", BUILD.version)));
    }
}
