//! Which metrics of an exposition have the most series?
//!
//! ```sh
//! curl -s localhost:9090/metrics | cargo run --example cardinality
//! ```

#![allow(clippy::print_stdout, reason = "it is what the example is for")]

use std::collections::HashMap;
use std::error::Error;
use std::io::Read;

use watershed::exposition::{Event, Format, Parser, SeriesLabels};
use watershed::model::METRIC_NAME;

fn main() -> Result<(), Box<dyn Error>> {
    let mut body = Vec::new();
    std::io::stdin().read_to_end(&mut body)?;
    let mut parser = Parser::new(&body, Format::Text);
    let mut labels = SeriesLabels::new();
    let mut series: HashMap<String, usize> = HashMap::new();
    while let Some(event) = parser.next()? {
        if let Event::Series(sample) = event {
            labels.decode(sample.series, Format::Text, parser.family_type())?;
            let name = labels.get(METRIC_NAME).unwrap_or_default();
            *series.entry(name.to_owned()).or_default() += 1;
        }
    }
    let mut sorted: Vec<_> = series.into_iter().collect();
    sorted.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    for (name, count) in sorted.iter().take(20) {
        println!("{count:>8}  {name}");
    }
    Ok(())
}
