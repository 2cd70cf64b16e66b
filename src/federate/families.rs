//! Which family a metric name belongs to, and what is known of it.
//!
//! What is known comes from the series itself (stored metadata) or from what targets say of their families. Neither has to be
//! true of the series at hand, so a type is only kept if the name is one that a family of that type has, and if the format
//! can say it. Everything else is of unknown type and a family of its own.

use std::collections::HashMap;
use std::sync::Arc;

use super::BodyFormat;
use crate::model::{Metadata, MetricType};
use crate::storage::FamilyPart;

/// Says what is known of the family of that name.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<Metadata>;

/// Which series of its metric a name stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    /// All there is.
    Whole,
    /// The count of a counter in OpenMetrics.
    Total,
    Bucket,
    Quantile,
    Count,
    Sum,
    /// When counting began.
    Created,
}

impl Part {
    fn rank(self) -> u8 {
        match self {
            Part::Whole | Part::Total | Part::Bucket | Part::Quantile => 0,
            Part::Count => 1,
            Part::Sum => 2,
            Part::Created => 3,
        }
    }

    /// The label that every series of this part has, and that tells those of one metric apart.
    pub(super) fn by(self) -> Option<&'static str> {
        match self {
            Part::Bucket => Some("le"),
            Part::Quantile => Some("quantile"),
            _ => None,
        }
    }
}

/// What is written of the series of one name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct SeriesName {
    pub(super) name: String,
    /// The family's name as the format wants it.
    pub(super) family: String,
    pub(super) metric_type: MetricType,
    pub(super) part: Part,
    /// A label that such series do not have, because with it they were a part of a larger family.
    pub(super) without: Option<&'static str>,
    pub(super) help: String,
    pub(super) unit: String,
}

/// Endings that a name has behind the name of its family.
const ENDINGS: [&str; 9] = ["", "_total", "_bucket", "_count", "_sum", "_created", "_info", "_gcount", "_gsum"];

/// Names with their families, looked up once.
pub(super) struct Families<'a> {
    format: BodyFormat,
    lookup: Lookup<'a>,
    /// Whether all of a family comes together. If not, there are no families of several names.
    pub(super) together: bool,
    names: HashMap<Box<str>, Arc<SeriesName>>,
    /// Numbers of the families of several names.
    numbers: HashMap<String, u32>,
}

impl<'a> Families<'a> {
    pub(super) fn new(format: BodyFormat, lookup: Lookup<'a>) -> Families<'a> {
        Families { format, lookup, together: true, names: HashMap::new(), numbers: HashMap::new() }
    }

    /// What is written of a name, which nobody may have asked for before.
    pub(super) fn of(&mut self, name: &str) -> Arc<SeriesName> {
        match self.names.get(name) {
            Some(known) => known.clone(),
            None => self.learn(name, None),
        }
    }

    /// How the rows of a name are brought together with others. Names must come in ascending order.
    pub(super) fn part(&mut self, name: &str, stored: Option<&Metadata>) -> Option<FamilyPart> {
        let series = self.learn(name, stored);
        let family = match (series.metric_type, series.part) {
            (_, Part::Created) | (MetricType::Histogram | MetricType::GaugeHistogram | MetricType::Summary, _) => {
                let next = self.numbers.len() as u32;
                *self.numbers.entry(series.family.clone()).or_insert(next)
            }
            // Most counters have no series that says when counting began; it would have come before.
            (_, Part::Total) => *self.numbers.get(&series.family)?,
            _ => return None,
        };
        Some(FamilyPart { family, rank: series.part.rank(), by: series.part.by() })
    }

    /// The same name as a family of its own about which nothing is said, for series that lack the label of their part.
    pub(super) fn alone(series: &SeriesName) -> SeriesName {
        SeriesName {
            family: series.name.clone(),
            metric_type: MetricType::Unknown,
            part: Part::Whole,
            without: series.part.by(),
            help: String::new(),
            unit: String::new(),
            name: series.name.clone(),
        }
    }

    /// The family of the native histograms of a name.
    pub(super) fn of_histograms(&self, name: &str, is_gauge: bool) -> SeriesName {
        let told = (self.lookup)(name).unwrap_or_default();
        SeriesName {
            name: name.to_owned(),
            family: name.to_owned(),
            metric_type: if is_gauge { MetricType::GaugeHistogram } else { MetricType::Histogram },
            part: Part::Whole,
            without: None,
            help: told.help,
            unit: told.unit,
        }
    }

    fn learn(&mut self, name: &str, stored: Option<&Metadata>) -> Arc<SeriesName> {
        let series = Arc::new(self.resolve(name, stored));
        self.names.insert(name.into(), series.clone());
        series
    }

    fn resolve(&self, name: &str, stored: Option<&Metadata>) -> SeriesName {
        let stems = || ENDINGS.into_iter().filter_map(|ending| Some((name.strip_suffix(ending)?, ending)));
        let stems = || stems().filter(|(stem, _)| !stem.is_empty());
        let found = stored.and_then(|metadata| stems().find_map(|(stem, ending)| self.series(stem, ending, metadata)));
        let found =
            found.or_else(|| stems().find_map(|(stem, ending)| self.series(stem, ending, &(self.lookup)(stem)?)));
        found.unwrap_or_else(|| {
            // What is said of exactly this name stays true, whatever its type.
            let Metadata { help, unit, .. } = (self.lookup)(name).unwrap_or_default();
            SeriesName {
                name: name.to_owned(),
                family: name.to_owned(),
                metric_type: MetricType::Unknown,
                part: Part::Whole,
                without: None,
                help,
                unit,
            }
        })
    }

    /// What `stem` and `ending` are of a family `stem`, of which this is known, if they are anything that can be said.
    fn series(&self, stem: &str, ending: &str, metadata: &Metadata) -> Option<SeriesName> {
        let name = format!("{stem}{ending}");
        let (family, part) = match self.format {
            BodyFormat::Text004 | BodyFormat::Text100 => in_text(stem, ending, &name, metadata.metric_type)?,
            BodyFormat::OpenMetrics001 | BodyFormat::OpenMetrics100 => {
                in_openmetrics(stem, ending, metadata.metric_type)?
            }
            BodyFormat::Protobuf => in_protobuf(ending, &name, metadata.metric_type)?,
        };
        let has_several_names = !matches!(part, Part::Whole | Part::Total);
        if has_several_names && !self.together {
            return None;
        }
        let Metadata { metric_type, unit, help } = metadata.clone();
        Some(SeriesName { family: family.to_owned(), metric_type, part, without: None, help, unit, name })
    }
}

fn in_text<'n>(stem: &'n str, ending: &str, name: &'n str, metric_type: MetricType) -> Option<(&'n str, Part)> {
    Some(match (metric_type, ending) {
        // Targets that speak OpenMetrics name a counter's family without its ending.
        (MetricType::Counter, "" | "_total") | (MetricType::Gauge, "") => (name, Part::Whole),
        (MetricType::Histogram, "_bucket") => (stem, Part::Bucket),
        (MetricType::Summary, "") => (stem, Part::Quantile),
        (MetricType::Histogram | MetricType::Summary, "_count") => (stem, Part::Count),
        (MetricType::Histogram | MetricType::Summary, "_sum") => (stem, Part::Sum),
        _ => return None,
    })
}

fn in_openmetrics<'n>(stem: &'n str, ending: &str, metric_type: MetricType) -> Option<(&'n str, Part)> {
    use MetricType::{Counter, Gauge, GaugeHistogram, Histogram, Info, StateSet, Summary};
    Some(match (metric_type, ending) {
        // Targets that speak Prometheus text name a counter's family as its series.
        (Counter, "") => (stem.strip_suffix("_total").filter(|family| !family.is_empty())?, Part::Total),
        (Counter, "_total") => (stem, Part::Total),
        (Gauge | StateSet, "") | (Info, "_info") => (stem, Part::Whole),
        (Histogram | GaugeHistogram, "_bucket") => (stem, Part::Bucket),
        (Summary, "") => (stem, Part::Quantile),
        (Histogram | Summary, "_count") | (GaugeHistogram, "_gcount") => (stem, Part::Count),
        (Histogram | Summary, "_sum") | (GaugeHistogram, "_gsum") => (stem, Part::Sum),
        (Counter | Histogram | Summary, "_created") => (stem, Part::Created),
        _ => return None,
    })
}

fn in_protobuf<'n>(ending: &str, name: &'n str, metric_type: MetricType) -> Option<(&'n str, Part)> {
    match (metric_type, ending) {
        (MetricType::Counter, "" | "_total") | (MetricType::Gauge, "") => Some((name, Part::Whole)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use BodyFormat::{OpenMetrics100, Protobuf, Text004};

    fn lookup(name: &str) -> Option<Metadata> {
        let metric_type = match name {
            "c" | "t_total" | "o" => MetricType::Counter,
            "g" | "h_count_bytes" => MetricType::Gauge,
            "h" => MetricType::Histogram,
            "gh" => MetricType::GaugeHistogram,
            "s" => MetricType::Summary,
            "i" => MetricType::Info,
            "st" => MetricType::StateSet,
            "u" => MetricType::Unknown,
            _ => return None,
        };
        Some(Metadata { metric_type, unit: String::new(), help: format!("help of {name}") })
    }

    fn said(format: BodyFormat, name: &str) -> String {
        let SeriesName { family, metric_type, part, help, .. } = Families::new(format, &lookup).resolve(name, None);
        format!("{family} {metric_type} {part:?} {help}")
    }

    #[test]
    fn a_type_is_kept_where_name_and_format_agree_with_it() {
        for (name, text, openmetrics, protobuf) in [
            ("c", "c counter Whole help of c", "c unknown Whole help of c", "c counter Whole help of c"),
            (
                "t_total",
                "t_total counter Whole help of t_total",
                "t counter Total help of t_total",
                "t_total counter Whole help of t_total",
            ),
            (
                "o_total",
                "o_total counter Whole help of o",
                "o counter Total help of o",
                "o_total counter Whole help of o",
            ),
            ("o_created", "o_created unknown Whole ", "o counter Created help of o", "o_created unknown Whole "),
            ("g", "g gauge Whole help of g", "g gauge Whole help of g", "g gauge Whole help of g"),
            ("g_total", "g_total unknown Whole ", "g_total unknown Whole ", "g_total unknown Whole "),
            ("h_bucket", "h histogram Bucket help of h", "h histogram Bucket help of h", "h_bucket unknown Whole "),
            ("h_sum", "h histogram Sum help of h", "h histogram Sum help of h", "h_sum unknown Whole "),
            ("h_created", "h_created unknown Whole ", "h histogram Created help of h", "h_created unknown Whole "),
            ("h", "h unknown Whole help of h", "h unknown Whole help of h", "h unknown Whole help of h"),
            ("gh_gcount", "gh_gcount unknown Whole ", "gh gaugehistogram Count help of gh", "gh_gcount unknown Whole "),
            ("gh_count", "gh_count unknown Whole ", "gh_count unknown Whole ", "gh_count unknown Whole "),
            ("s", "s summary Quantile help of s", "s summary Quantile help of s", "s unknown Whole help of s"),
            ("s_count", "s summary Count help of s", "s summary Count help of s", "s_count unknown Whole "),
            ("i_info", "i_info unknown Whole ", "i info Whole help of i", "i_info unknown Whole "),
            ("st", "st unknown Whole help of st", "st stateset Whole help of st", "st unknown Whole help of st"),
            ("u", "u unknown Whole help of u", "u unknown Whole help of u", "u unknown Whole help of u"),
            ("_total", "_total unknown Whole ", "_total unknown Whole ", "_total unknown Whole "),
        ] {
            assert_eq!(said(Text004, name), text);
            assert_eq!(said(OpenMetrics100, name), openmetrics);
            assert_eq!(said(Protobuf, name), protobuf);
        }
    }

    #[test]
    fn what_is_stored_of_a_series_goes_before_what_targets_say() {
        let stored = Metadata { metric_type: MetricType::Histogram, help: "stored".to_owned(), unit: String::new() };
        let families = Families::new(Text004, &lookup);
        let series = families.resolve("x_bucket", Some(&stored));
        assert_eq!((&*series.family, series.metric_type, &*series.help), ("x", MetricType::Histogram, "stored"));
        let series = families.resolve("g", Some(&stored));
        assert_eq!((series.metric_type, &*series.help), (MetricType::Gauge, "help of g"), "a gauge's name");
    }

    #[test]
    fn parts_of_families_of_several_names_are_brought_together() {
        let mut families = Families::new(OpenMetrics100, &lookup);
        let part = |family, rank, by| Some(FamilyPart { family, rank, by });
        for (name, expected) in [
            ("g", None),
            ("h_bucket", part(0, 0, Some("le"))),
            ("h_sum", part(0, 2, None)),
            ("o_created", part(1, 3, None)),
            ("o_total", part(1, 0, None)),
            ("s", part(2, 0, Some("quantile"))),
            ("t_total", None),
        ] {
            assert_eq!(families.part(name, None), expected, "{name}");
        }
        let mut apart = Families::new(OpenMetrics100, &lookup);
        apart.together = false;
        assert_eq!(apart.of("h_bucket").metric_type, MetricType::Unknown);
        assert_eq!(apart.of("t_total").metric_type, MetricType::Counter);
    }
}
