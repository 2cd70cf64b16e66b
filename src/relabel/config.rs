//! One relabel rule, checked.

use crate::model::NameValidation;
use crate::model::regex::Regex;

/// What a rule does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Sets the target label to the expanded replacement where the regex matches.
    Replace,
    /// Keeps only what matches.
    Keep,
    /// Drops what matches.
    Drop,
    /// Keeps only where source and target labels are equal.
    KeepEqual,
    /// Drops where source and target labels are equal.
    DropEqual,
    /// Sets the target label to the MD5 of the source modulo `modulus`.
    HashMod,
    /// Copies labels whose names match to names by replacement.
    LabelMap,
    /// Removes labels whose names match.
    LabelDrop,
    /// Removes labels whose names do not match.
    LabelKeep,
    /// Sets the target label to the source in lower case.
    Lowercase,
    /// Sets the target label to the source in upper case.
    Uppercase,
}

impl Action {
    /// The word of the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Replace => "replace",
            Action::Keep => "keep",
            Action::Drop => "drop",
            Action::KeepEqual => "keepequal",
            Action::DropEqual => "dropequal",
            Action::HashMod => "hashmod",
            Action::LabelMap => "labelmap",
            Action::LabelDrop => "labeldrop",
            Action::LabelKeep => "labelkeep",
            Action::Lowercase => "lowercase",
            Action::Uppercase => "uppercase",
        }
    }
}

/// One rule of `relabel_configs` or `metric_relabel_configs`, with defaults filled in and its combinations checked.
#[derive(Clone, Debug)]
pub struct RuleConfig {
    /// What it does.
    pub action: Action,
    /// Labels whose values, joined by `separator`, are matched.
    pub source_labels: Vec<String>,
    /// Between the source values; default `;`.
    pub separator: String,
    /// What the joined value, or for the label actions the name, must match; default `(.*)`.
    pub regex: Regex,
    /// For [`Action::HashMod`].
    pub modulus: u64,
    /// The label that is set; may hold `$1` for [`Action::Replace`].
    pub target_label: String,
    /// Its new value; default `$1`.
    pub replacement: String,
    /// Which names [`Action::Replace`] may set; it leaves others alone.
    pub name_validation: NameValidation,
}
