//! Pieces that several endpoints write.

use serde::{Serialize, Serializer};

use crate::model::TimestampMs;
use crate::model::labels::LabelsIter;

/// Encoded labels as an object.
pub(super) struct LabelMap<'a>(pub(super) &'a [u8]);

impl Serialize for LabelMap<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(LabelsIter::over(self.0))
    }
}

/// An instant in RFC 3339 without needless zeros; absence is the year 1, as the reference writes its zero time.
pub(super) struct Rfc3339(pub(super) Option<TimestampMs>);

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.and_then(|t| jiff::Timestamp::from_millisecond(t.0).ok()) {
            Some(instant) => serializer.collect_str(&instant),
            None => serializer.serialize_str("0001-01-01T00:00:00Z"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;

    #[test]
    fn instants_are_written_as_the_reference_writes_them() {
        let json = |t| serde_json::to_string(&Rfc3339(t)).expect("a string");
        assert_eq!(json(Some(TimestampMs(1_433_337_718_500))), r#""2015-06-03T13:21:58.5Z""#);
        assert_eq!(json(Some(TimestampMs(1_433_337_718_000))), r#""2015-06-03T13:21:58Z""#);
        assert_eq!(json(None), r#""0001-01-01T00:00:00Z""#);
    }

    #[test]
    fn labels_become_an_object_with_escaped_strings() {
        let labels = Labels::from_pairs([("a", "\"\\\n"), ("__name__", "up")]);
        let json = serde_json::to_string(&LabelMap(labels.as_bytes())).expect("an object");
        assert_eq!(json, r#"{"__name__":"up","a":"\"\\\n"}"#);
    }
}
