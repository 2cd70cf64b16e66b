//! One Markdown table of everything measured.

use std::collections::BTreeMap;
use std::fmt;

/// The servers in the order of the table's columns.
pub const SERVERS: [&str; 4] = ["watershed", "prometheus", "victoriametrics", "vmagent"];

/// A frontend over several Prometheus; it has a column where the work is a frontend's.
pub const PROMXY: &str = "promxy";

/// What the design allows.
#[derive(Clone, Copy)]
pub enum Budget {
    /// At most this part of what Prometheus uses; kept as its divisor.
    OneOver(f64),
    /// At most so much, in the row's unit.
    AtMost(f64),
    /// Only shown.
    None,
}

/// One measure over all servers.
struct Row {
    what: String,
    values: BTreeMap<&'static str, f64>,
    budget: Budget,
}

/// All that was measured.
#[derive(Default)]
pub struct Table {
    rows: Vec<Row>,
}

impl Table {
    /// Adds a measure; lower is better.
    pub fn add(&mut self, what: impl Into<String>, values: BTreeMap<&'static str, f64>, budget: Budget) {
        self.rows.push(Row { what: what.into(), values, budget });
    }
}

/// Three significant digits without an exponent.
fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        let (ours, theirs) = (self.values.get(SERVERS[0])?, self.values.get(SERVERS[1])?);
        (*theirs > 0.0).then(|| ours / theirs)
    }

    fn ratio_text(&self) -> String {
        match self.ratio() {
            Some(r) if r <= 0.0 => "0".into(),
            Some(r) if r < 1.0 => format!("1/{:.1}", 1.0 / r),
            Some(r) => format!("{r:.2}"),
            None => "-".into(),
        }
    }

    /// The budget and whether it is met.
    fn verdict(&self) -> (String, &'static str) {
        let word = |met: Option<bool>| met.map_or("-", |met| if met { "met" } else { "not met" });
        match self.budget {
            Budget::OneOver(n) => (format!("<= 1/{n}"), word(self.ratio().map(|r| r <= 1.0 / n))),
            Budget::AtMost(limit) => {
                (format!("<= {}", short(limit)), word(self.values.get(SERVERS[0]).map(|v| *v <= limit)))
            }
            Budget::None => (String::new(), ""),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| work | Watershed | Prometheus | VictoriaMetrics | vmagent | promxy | to Prometheus | budget | |"
        )?;
        writeln!(f, "|---|--:|--:|--:|--:|--:|--:|--:|---|")?;
        for row in &self.rows {
            write!(f, "| {} |", row.what)?;
            for server in SERVERS.iter().chain([&PROMXY]) {
                write!(f, " {} |", row.values.get(*server).map_or("-".into(), |v| short(*v)))?;
            }
            let (budget, met) = row.verdict();
            writeln!(f, " {} | {budget} | {met} |", row.ratio_text())?;
        }
        Ok(())
    }
}
