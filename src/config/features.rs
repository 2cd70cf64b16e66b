//! What the command line's `--enable-feature` names.
//!
//! The names are the reference's. What we do in any case, and what this version does not do at all, is accepted and told, so
//! that a command line of Prometheus works as it is.

/// Features that are off unless the command line names them. Nobody here judges what they mean: whoever builds a component
/// hands it those that concern it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Features {
    /// `exemplar-storage`: exemplars are kept also where the config says nothing of them.
    pub exemplar_storage: bool,
    /// `xor2-encoding`: floats are encoded as XOR2 unless the config says otherwise.
    pub xor2_encoding: bool,
    /// `histograms-st-encoding`: chunks of histograms always have room for start timestamps.
    pub histograms_st_encoding: bool,
    /// `st-storage`: start timestamps of samples are kept.
    pub st_storage: bool,
    /// `created-timestamp-zero-ingestion`: a sample of zero is stored where a counter began to count.
    pub created_timestamp_zero_ingestion: bool,
    /// `extra-scrape-metrics`: the default of the config's `extra_scrape_metrics`.
    pub extra_scrape_metrics: bool,
    /// `auto-reload-config`: the config is looked at for changes although no interval is given.
    pub auto_reload_config: bool,
    /// `promql-experimental-functions`: functions that may still change can be called.
    pub promql_experimental_functions: bool,
    /// `promql-delayed-name-removal`: metric names go at the end of an evaluation only.
    pub promql_delayed_name_removal: bool,
    /// `promql-extended-range-selectors`: the modifiers `anchored` and `smoothed`.
    pub promql_extended_range_selectors: bool,
    /// `promql-binop-fill-modifiers`: the modifiers `fill`, `fill_left` and `fill_right`.
    pub promql_binop_fill_modifiers: bool,
    /// `promql-per-step-stats`: statistics of a query for each of its steps.
    pub promql_per_step_stats: bool,
    /// `use-start-timestamps`: functions of counters look at start timestamps.
    pub use_start_timestamps: bool,
    /// `type-and-unit-labels`: `__type__` and `__unit__` stand beside the metric name.
    pub type_and_unit_labels: bool,
    /// `concurrent-rule-eval`: rules of one group that do not depend on each other are evaluated at the same time.
    pub concurrent_rule_eval: bool,
}

/// What is to be said about a name on the command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FeatureNote {
    /// The name as it was given.
    pub name: String,
    /// What becomes of it.
    pub fate: FeatureFate,
}

/// What becomes of a name on the command line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FeatureFate {
    /// The feature is on.
    Enabled,
    /// It would be on without being named.
    Always,
    /// The reference has it and this version does not: the name does nothing.
    Absent,
    /// Nobody knows it.
    Unknown,
}

/// What a name means.
enum Meaning {
    Switch(fn(&mut Features) -> &mut bool),
    Always,
    Absent,
}

use Meaning::{Absent, Always, Switch};

const NAMES: [(&str, Meaning); 28] = [
    ("auto-reload-config", Switch(|f| &mut f.auto_reload_config)),
    ("concurrent-rule-eval", Switch(|f| &mut f.concurrent_rule_eval)),
    ("created-timestamp-zero-ingestion", Switch(|f| &mut f.created_timestamp_zero_ingestion)),
    ("delayed-compaction", Absent),
    ("exemplar-storage", Switch(|f| &mut f.exemplar_storage)),
    ("extra-scrape-metrics", Switch(|f| &mut f.extra_scrape_metrics)),
    // Scraping begins as soon as the log has been read, which takes a quarter of the time.
    ("fast-startup", Absent),
    ("histograms-st-encoding", Switch(|f| &mut f.histograms_st_encoding)),
    ("memory-snapshot-on-shutdown", Absent),
    ("metadata-wal-records", Absent),
    ("native-histograms", Always),
    ("old-ui", Absent),
    ("ooo-native-histograms", Always),
    ("otlp-deltatocumulative", Absent),
    ("otlp-native-delta-ingestion", Absent),
    ("promql-binop-fill-modifiers", Switch(|f| &mut f.promql_binop_fill_modifiers)),
    ("promql-delayed-name-removal", Switch(|f| &mut f.promql_delayed_name_removal)),
    ("promql-duration-expr", Always),
    ("promql-experimental-functions", Switch(|f| &mut f.promql_experimental_functions)),
    ("promql-extended-range-selectors", Switch(|f| &mut f.promql_extended_range_selectors)),
    ("promql-per-step-stats", Switch(|f| &mut f.promql_per_step_stats)),
    ("search-api", Absent),
    ("st-storage", Switch(|f| &mut f.st_storage)),
    ("st-synthesis", Absent),
    ("type-and-unit-labels", Switch(|f| &mut f.type_and_unit_labels)),
    ("use-start-timestamps", Switch(|f| &mut f.use_start_timestamps)),
    ("use-uncached-io", Absent),
    ("xor2-encoding", Switch(|f| &mut f.xor2_encoding)),
];

/// Reads comma lists of names, and says what became of each.
pub fn read_features(lists: &[String]) -> (Features, Vec<FeatureNote>) {
    let mut features = Features::default();
    let names = lists.iter().flat_map(|list| list.split(',')).map(str::trim).filter(|name| !name.is_empty());
    let notes = names.map(|name| FeatureNote { name: name.to_owned(), fate: features.turn_on(name) }).collect();
    (features, notes)
}

impl Features {
    fn turn_on(&mut self, name: &str) -> FeatureFate {
        let meaning = NAMES.iter().find(|(known, _)| *known == name).map(|(_, meaning)| meaning);
        match meaning {
            Some(Switch(switch)) => {
                *switch(self) = true;
                FeatureFate::Enabled
            }
            Some(Always) => FeatureFate::Always,
            Some(Absent) => FeatureFate::Absent,
            None => FeatureFate::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_name_by_name_and_each_gets_a_word() {
        let lists = ["promql-experimental-functions,st-storage, native-histograms", "old-ui,,stt-storage"];
        let (features, notes) = read_features(&lists.map(str::to_owned));
        let expected = Features { promql_experimental_functions: true, st_storage: true, ..Features::default() };
        assert_eq!(features, expected);
        use FeatureFate::*;
        let notes: Vec<_> = notes.iter().map(|note| (note.name.as_str(), note.fate)).collect();
        let expected = [
            ("promql-experimental-functions", Enabled),
            ("st-storage", Enabled),
            ("native-histograms", Always),
            ("old-ui", Absent),
            ("stt-storage", Unknown),
        ];
        assert_eq!(notes, expected);
    }

    #[test]
    fn each_switch_has_a_name_of_its_own() {
        let switches = || NAMES.iter().filter(|(_, meaning)| matches!(meaning, Switch(_)));
        let mut seen: Vec<Features> = Vec::new();
        for (name, _) in switches() {
            let (features, _) = read_features(&[(*name).to_owned()]);
            assert!(features != Features::default() && !seen.contains(&features), "{name}");
            seen.push(features);
        }
        assert!(NAMES.is_sorted_by(|a, b| a.0 < b.0));
    }
}
