//! Label sets that are written in a config.

use super::fields::{At, Fields, natural_order, quote_bytes};
use super::relabel::is_label_name;
use super::render::Out;
use super::yaml::{Content, Node};
use crate::model::Labels;
use crate::scrape::NameValidation;

/// The label set under `key`, in the order of the effective config; pairs may have empty values.
pub(super) fn read(f: &mut Fields<'_>, key: &'static str, names: NameValidation) -> Vec<(String, String)> {
    let Some(at) = f.section(key) else { return Vec::new() };
    let mut pairs = Vec::new();
    for (name_at, value_at) in at.pairs() {
        let name = name_at.node.scalar().map(|s| s.text.clone()).filter(|n| is_label_name(n, names));
        if name.is_none() {
            name_at.mistake(format!("{} is not a valid label name", quoted(name_at.node)));
        }
        let value = read_value(&value_at);
        pairs.extend(name.zip(value));
    }
    pairs.sort_by(|a, b| natural_order(&a.0, &b.0));
    show(f, key, &pairs);
    pairs
}

/// Shows `pairs` under `key`.
pub(super) fn show(f: &mut Fields<'_>, key: &'static str, pairs: &[(String, String)]) {
    if !pairs.is_empty() {
        f.put(key, Out::Map(pairs.iter().map(|(n, v)| (n.clone(), Out::Text(v.clone()))).collect()));
    }
}

/// The set that the pairs make.
pub(super) fn to_labels(pairs: &[(String, String)]) -> Labels {
    Labels::from_pairs(pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())))
}

fn read_value(at: &At<'_>) -> Option<String> {
    if matches!(at.node.content, Content::Bytes(_)) {
        at.mistake(format!("{} is not a valid label value", quoted(at.node)));
        return None;
    }
    at.read::<String>()
}

/// A name or value as it goes into a message.
pub(super) fn quoted(node: &Node) -> String {
    match &node.content {
        Content::Bytes(bytes) => quote_bytes(bytes),
        Content::Scalar(s) => format!("{:?}", s.text),
        _ => node.kind_name().to_owned(),
    }
}
