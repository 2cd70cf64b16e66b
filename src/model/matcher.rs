//! Label matchers: the four operators of a selector.

use std::fmt;

use super::labels::{LabelsIter, get_encoded, is_legacy_label_name};
use super::quoted::GoQuoted;
use super::regex::{Regex, RegexError};

/// How a matcher compares.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`, anchored at both ends
    Regex,
    /// `!~`, anchored at both ends
    NotRegex,
}

impl MatchOp {
    /// The operator as written in a selector.
    pub fn as_str(self) -> &'static str {
        match self {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        }
    }
}

/// One condition on one label. A series without the label has the empty string there.
#[derive(Clone, Debug)]
pub struct Matcher {
    /// The operator.
    pub op: MatchOp,
    /// The label's name.
    pub name: Box<str>,
    /// The text right of the operator.
    pub value: Box<str>,
    regex: Option<Regex>,
}

impl Matcher {
    /// Compiles a matcher; fails only for a regular expression that RE2 would refuse or that is too large.
    pub fn new(op: MatchOp, name: &str, value: &str) -> Result<Matcher, RegexError> {
        let regex = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => Some(Regex::new(value)?),
        };
        Ok(Matcher { op, name: name.into(), value: value.into(), regex })
    }

    /// An equality matcher.
    pub fn equal(name: &str, value: &str) -> Matcher {
        Matcher { op: MatchOp::Equal, name: name.into(), value: value.into(), regex: None }
    }

    /// An inequality matcher.
    pub fn not_equal(name: &str, value: &str) -> Matcher {
        Matcher { op: MatchOp::NotEqual, name: name.into(), value: value.into(), regex: None }
    }

    /// Whether a label value (empty for an absent label) satisfies the condition.
    pub fn matches(&self, value: &str) -> bool {
        match (self.op, &self.regex) {
            (MatchOp::Equal, _) => *self.value == *value,
            (MatchOp::NotEqual, _) => *self.value != *value,
            (MatchOp::Regex, Some(regex)) => regex.is_match(value),
            (MatchOp::NotRegex, Some(regex)) => !regex.is_match(value),
            (MatchOp::Regex | MatchOp::NotRegex, None) => unreachable!("regex matchers are built with their regex"),
        }
    }

    /// Whether series without the label satisfy the condition.
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }

    /// The compiled expression of a regex matcher.
    pub fn regex(&self) -> Option<&Regex> {
        self.regex.as_ref()
    }

    /// Whether encoded labels satisfy the condition.
    pub fn matches_labels(&self, labels: LabelsIter<'_>) -> bool {
        self.matches(labels.clone().find_map(|(n, v)| (n == &*self.name).then_some(v)).unwrap_or(""))
    }

    /// Whether encoded labels satisfy every condition of a selector.
    pub fn all_match(matchers: &[Matcher], encoded: &[u8]) -> bool {
        matchers.iter().all(|m| m.matches(get_encoded(encoded, &m.name).unwrap_or("")))
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Matcher) -> bool {
        self.op == other.op && self.name == other.name && self.value == other.value
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_legacy_label_name(&self.name) {
            f.write_str(&self.name)?
        } else {
            write!(f, "{}", GoQuoted(&self.name))?
        }
        write!(f, "{}{}", self.op.as_str(), GoQuoted(&self.value))
    }
}
