//! Target groups as files and HTTP endpoints write them.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error as _, SeqAccess, Visitor};

use super::TargetGroup;
use crate::model::Labels;

/// The form outside: a list of these.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGroup {
    #[serde(default)]
    targets: Option<Counted<Option<String>>>,
    #[serde(default)]
    labels: Option<BTreeMap<String, Option<String>>>,
}

type RawGroups = Option<Counted<Option<RawGroup>>>;

/// More targets and groups than this are a mistake or an attack: each takes far more memory than its text.
const MAX_TARGETS_AND_GROUPS: usize = 1_000_000;

/// A list that is counted while it is read, with what its elements hold, so that one that is too long ends there and
/// does not cost its memory first.
struct Counted<T>(Vec<T>);

impl<T> Default for Counted<T> {
    fn default() -> Counted<T> {
        Counted(Vec::new())
    }
}

trait Count {
    /// Targets and groups in it, with itself.
    fn count(&self) -> usize;
}

impl Count for Option<String> {
    fn count(&self) -> usize {
        1
    }
}

impl Count for Option<RawGroup> {
    fn count(&self) -> usize {
        1 + self.as_ref().and_then(|group| group.targets.as_ref()).map_or(0, |targets| targets.0.len())
    }
}

impl<'de, T: Deserialize<'de> + Count> Deserialize<'de> for Counted<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Counted<T>, D::Error> {
        deserializer.deserialize_seq(CountedVisitor(PhantomData))
    }
}

struct CountedVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + Count> Visitor<'de> for CountedVisitor<T> {
    type Value = Counted<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Counted<T>, A::Error> {
        let (mut all, mut count) = (Vec::new(), 0);
        while let Some(element) = list.next_element::<T>()? {
            count += element.count();
            if count > MAX_TARGETS_AND_GROUPS {
                return Err(A::Error::custom(format_args!("more than {MAX_TARGETS_AND_GROUPS} targets and groups")));
            }
            all.push(element);
        }
        Ok(Counted(all))
    }
}

/// Parses JSON. `origin` becomes the groups' source with their index, `meta` is a label that all of them get.
pub(super) fn from_json(bytes: &[u8], origin: &str, meta: (&str, &str)) -> Result<Vec<TargetGroup>, String> {
    let raw: RawGroups = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    checked(raw, origin, meta)
}

/// Parses YAML; otherwise as [`from_json`].
pub(super) fn from_yaml(text: &str, origin: &str, meta: (&str, &str)) -> Result<Vec<TargetGroup>, String> {
    let raw: RawGroups = serde_yaml::from_str(text).map_err(|e| e.to_string())?;
    checked(raw, origin, meta)
}

/// As in Prometheus an absent list is an empty one, an absent text an empty one, but an absent group is a mistake.
fn checked(raw: RawGroups, origin: &str, meta: (&str, &str)) -> Result<Vec<TargetGroup>, String> {
    let mut groups = Vec::new();
    for (i, group) in raw.unwrap_or_default().0.into_iter().enumerate() {
        let group = group.ok_or_else(|| format!("target group {i} is null"))?;
        let labels = group.labels.unwrap_or_default();
        if labels.contains_key("") {
            return Err(format!("target group {i} has a label without a name"));
        }
        let pairs = labels.iter().map(|(name, value)| (name.as_str(), value.as_deref().unwrap_or_default()));
        let targets = group.targets.unwrap_or_default().0;
        groups.push(TargetGroup {
            source: format!("{origin}:{i}"),
            targets: targets
                .iter()
                .map(|target| Labels::from_pairs([("__address__", target.as_deref().unwrap_or_default())]))
                .collect(),
            labels: Labels::from_pairs(pairs.chain([meta])),
        });
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    const META: (&str, &str) = ("__meta_filepath", "f");

    #[test]
    fn json_and_yaml_give_the_same_groups() {
        let json = br#"[{"targets": ["a:1", "b:2"], "labels": {"rack": "5", "__x": ""}}, {"labels": null}]"#;
        let yaml = "- targets: ['a:1', \"b:2\"]\n  labels:\n    rack: 5\n    __x:\n- labels:\n";
        let groups = from_json(json, "f", META).expect("good");
        assert_eq!(from_yaml(yaml, "f", META).expect("good"), groups);
        assert_eq!(groups.len(), 2);
        assert_eq!(groups[0].source, "f:0");
        assert_eq!(groups[0].targets[1], Labels::from_pairs([("__address__", "b:2")]));
        assert_eq!(groups[0].labels, Labels::from_pairs([("rack", "5"), META]));
        assert_eq!(groups[1].targets, []);
    }

    #[test]
    fn too_many_targets_or_groups_end_the_reading_there() {
        let group = |targets: usize| format!("{{\"targets\":[{}\"\"]}},", "\"\",".repeat(targets - 1));
        // Cut off right after what is too much: the end is never missed.
        for (json, is_limit) in [
            (format!("[{}", group(1_000_001).trim_end_matches("]},")), true),
            (format!("[{}{}", group(400_000), group(599_999)), true),
            (format!("[{}{}", group(400_000), group(599_998)), false),
            (format!("[{}", "{},".repeat(1_000_001)), true),
        ] {
            let error = from_json(json.as_bytes(), "f", META).expect_err("cut off");
            assert_eq!(error.contains("more than 1000000 targets and groups"), is_limit, "{error}");
        }
    }

    #[test]
    fn nothing_at_all_is_no_groups() {
        assert_eq!(from_json(b"null", "f", META), Ok(vec![]));
        assert_eq!(from_json(b"[]", "f", META), Ok(vec![]));
        assert_eq!(from_yaml("", "f", META), Ok(vec![]));
        assert_eq!(from_yaml("# only a comment\n", "f", META), Ok(vec![]));
        assert_eq!(from_yaml("[]", "f", META), Ok(vec![]));
    }

    #[test]
    fn what_is_not_a_list_of_groups_is_refused_with_its_place() {
        for (json, text) in [
            (r#"[{"targets": ["a:1"], "label": {}}]"#, "unknown field `label`"),
            (r#"[{"targets": "a:1"}]"#, "invalid type: string"),
            (r#"[{"targets": [1]}]"#, "invalid type: integer"),
            (r#"[{"labels": {"a": 1}}]"#, "invalid type: integer"),
            (r#"[{"labels": {"": "x"}}]"#, "a label without a name"),
            (r#"[null]"#, "target group 0 is null"),
            (r#"{"targets": []}"#, "invalid type: map"),
            (r#"[{"targets": ["#, "EOF"),
        ] {
            let error = from_json(json.as_bytes(), "f", META).expect_err(json);
            assert!(error.contains(text), "{json}: {error}");
        }
        for yaml in
            ["- target: [x]", "targets: [x]", "- targets: x", "- null", "- targets: [x]\n  targets: [y]", "- [", "x"]
        {
            assert!(from_yaml(yaml, "f", META).is_err(), "{yaml}");
        }
    }
}
