//! What does the same work cost Watershed and its peers?
//!
//! `cargo bench --bench versus -- scrape|federate|idle|memory|restart|disk|ingest|promql|remote-read|remote-write|gateway|cluster|all [--quick]` starts Watershed, Prometheus, VictoriaMetrics
//! and vmagent side by side on the same synthetic exporter and prints one table: what each used, the ratio to Prometheus,
//! and the budget of the design. Peers come from `tests/peers.sh`; one that is missing leaves its column empty. Beside
//! them, or in `PATH`, `promxy` is looked for.
//!
//! All servers run at the same time, so that a noisy machine is noisy for all of them alike. Figures are only good
//! relative to each other.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "a benchmark ends where it cannot measure")]

mod answers;
mod cluster;
mod exporter;
mod fleet;
mod gateway;
mod proc;
mod promql;
mod remote_read;
mod remote_write;
mod report;
mod storage;
#[path = "../../tests/support/mod.rs"]
mod support;
mod work;

use report::Table;

/// How much of everything.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// As the budgets are defined.
    Full,
    /// Enough to see an order of magnitude.
    Quick,
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(at) = args.iter().position(|a| a == exporter::ARGUMENT) {
        return exporter::run(&args[at + 1..]);
    }
    if let Some(at) = args.iter().position(|a| a == storage::WRITER) {
        return storage::write(&args[at + 1..]);
    }
    let size = if args.iter().any(|a| a == "--quick") { Size::Quick } else { Size::Full };
    // Cargo adds `--bench`; what is left names the work.
    let wanted: Vec<&str> = args.iter().map(String::as_str).filter(|a| !a.starts_with("--")).collect();
    let all = wanted.is_empty() || wanted.contains(&"all");
    let mut table = Table::default();
    for (name, run) in work::ALL {
        if all || wanted.contains(name) {
            println!("running {name} ...");
            run(size, &mut table);
        }
    }
    let unknown: Vec<&&str> =
        wanted.iter().filter(|w| **w != "all" && !work::ALL.iter().any(|(n, _)| n == *w)).collect();
    assert!(unknown.is_empty(), "no such work: {unknown:?}");
    println!("\n{table}");
}
