//! Shows what label rules do to a label set, step by step.
//!
//! ```sh
//! cargo run --example relabel
//! ```

#![allow(clippy::print_stdout, reason = "it is what the example is for")]

use std::error::Error;

use watershed::config;
use watershed::model::Labels;
use watershed::relabel::Program;

const CONFIG: &str = r#"
scrape_configs:
  - job_name: garage
    relabel_configs:
      - source_labels: [__address__]
        regex: '([^:]+):\d+'
        target_label: host
      - source_labels: [host]
        regex: 'old-.*'
        action: drop
      - regex: __address__
        action: labeldrop
"#;

fn main() -> Result<(), Box<dyn Error>> {
    let config = config::load_str(CONFIG, std::path::Path::new("."))?;
    let program = Program::new(config.jobs[0].relabel.clone());
    for address in ["100.60.0.5:9100", "old-nas:9100"] {
        println!("{address}");
        for step in program.trace(&Labels::from_pairs([("__address__", address)])) {
            println!("  {:?} {:?}: {} -> {}", step.action, step.verdict, step.before, step.after);
        }
    }
    Ok(())
}
