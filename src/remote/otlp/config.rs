//! What the config's section `otlp` says.

/// How OTLP metrics become series.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// Whether all resource attributes become labels.
    pub promote_all_resource_attributes: bool,
    /// Those that do.
    pub promote_resource_attributes: Vec<String>,
    /// Those that do not, where all others do.
    pub ignore_resource_attributes: Vec<String>,
    /// How names are translated.
    pub translation_strategy: TranslationStrategy,
    /// Whether identifying attributes stay in `target_info`.
    pub keep_identifying_resource_attributes: bool,
    /// Whether histograms become native ones with custom buckets.
    pub convert_histograms_to_nhcb: bool,
    /// Whether the scope becomes labels.
    pub promote_scope_metadata: bool,
    /// Whether labels that start with an underscore get a prefix.
    pub label_name_underscore_sanitization: bool,
    /// Whether several underscores stay several.
    pub label_name_preserve_multiple_underscores: bool,
}

impl Default for Config {
    /// The reference's.
    fn default() -> Config {
        Config {
            promote_all_resource_attributes: false,
            promote_resource_attributes: Vec::new(),
            ignore_resource_attributes: Vec::new(),
            translation_strategy: TranslationStrategy::UnderscoreEscapingWithSuffixes,
            keep_identifying_resource_attributes: false,
            convert_histograms_to_nhcb: false,
            promote_scope_metadata: false,
            label_name_underscore_sanitization: true,
            label_name_preserve_multiple_underscores: true,
        }
    }
}

impl Config {
    /// Whether a resource attribute becomes a label of every series.
    pub(super) fn promotes(&self, attribute: &str) -> bool {
        let is_in = |list: &[String]| list.iter().any(|a| a == attribute);
        match self.promote_all_resource_attributes {
            true => !is_in(&self.ignore_resource_attributes),
            false => is_in(&self.promote_resource_attributes),
        }
    }
}

/// How names of OTLP are translated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TranslationStrategy {
    /// Legacy names with unit and type suffixes.
    UnderscoreEscapingWithSuffixes,
    /// Legacy names.
    UnderscoreEscapingWithoutSuffixes,
    /// Names as they are, with suffixes.
    NoUtf8EscapingWithSuffixes,
    /// Names as they are.
    NoTranslation,
}

impl TranslationStrategy {
    /// Whether what is no letter, digit or underscore is replaced.
    pub(super) fn escapes(self) -> bool {
        use TranslationStrategy::*;
        matches!(self, UnderscoreEscapingWithSuffixes | UnderscoreEscapingWithoutSuffixes)
    }

    /// Whether a metric's name tells its unit and type.
    pub(super) fn adds_suffixes(self) -> bool {
        use TranslationStrategy::*;
        matches!(self, UnderscoreEscapingWithSuffixes | NoUtf8EscapingWithSuffixes)
    }
}
