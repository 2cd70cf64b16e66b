//! Reads a data directory that no server has open and prints the samples of the selected series.
//!
//! ```sh
//! cargo run --example read_store -- data 'up{job="garage-node"}'
//! ```

#![allow(clippy::print_stdout, reason = "it is what the example is for")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use watershed::disk::RealDisk;
use watershed::promql::parse_selector;
use watershed::runtime::Clock;
use watershed::storage::{Columns, Queryable, Scope, SelectRequest, SeriesBatch, StreamStep, TimeRange, decode_into};
use watershed::telemetry::Registry;
use watershed::tsdb::{Deps, Options, Tsdb};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, dir, selector] = args.as_slice() else {
        return Err("usage: read_store DIR SELECTOR".into());
    };
    let deps = Deps { disk: Arc::new(RealDisk), clock: Clock::system(), registry: Registry::new() };
    let (store, report) = Tsdb::open(Path::new(dir), Options::default(), deps)?;
    eprintln!("{} series, {} samples in the log", report.series, report.samples);

    let selectors = [parse_selector(selector)?];
    let request = SelectRequest { selectors: &selectors, range: TimeRange::ALL, sorted: true, limit: None };
    let mut stream = store.select(&Scope::unbounded(), &request)?;
    let (mut batch, mut columns) = (SeriesBatch::default(), Columns::default());
    while let StreamStep::Batch = stream.next(&mut batch)? {
        for series in &batch.series {
            println!("{}", series.labels);
            columns.clear();
            for chunk in &series.chunks {
                decode_into(chunk, &mut columns)?;
            }
            for sample in columns.iter() {
                println!("  {}  {}", sample.t, sample.v);
            }
        }
    }
    Ok(())
}
