//! `labels` and `label/{name}/values`.

use super::Call;
use super::reply::{Answer, ApiError, ErrorKind};
use crate::model::{Annotations, TimestampMs};
use crate::storage::{LabelRequest, LabelTexts, Limit, TimeRange};

/// Prefix of a name whose other characters are written as code points.
const ESCAPED: &str = "U__";

/// The label names of the selected series, or of all.
pub(super) fn names(call: &Call) -> Result<Answer, ApiError> {
    let limit = call.form.limit()?;
    let range = time_range(call)?;
    let selectors = call.form.narrowing_selectors()?;
    let request = LabelRequest { selectors: &selectors, range, limit: one_more(limit) };
    let found = call.web.deps.storage.label_names(&call.scope, &request)?;
    Ok(truncated(found, limit))
}

/// The values of one label.
pub(super) fn values(call: &Call, name: &str) -> Result<Answer, ApiError> {
    let name = &unescaped(name)?;
    let limit = call.form.limit()?;
    let range = time_range(call)?;
    let selectors = call.form.narrowing_selectors()?;
    let request = LabelRequest { selectors: &selectors, range, limit: one_more(limit) };
    let found = call.web.deps.storage.label_values(&call.scope, name, &request)?;
    Ok(truncated(found, limit))
}

/// The label that a part of a path names.
pub(super) fn unescaped(name: &str) -> Result<String, ApiError> {
    let name = name.strip_prefix(ESCAPED).and_then(unescape).unwrap_or_else(|| name.to_owned());
    match name.is_empty() {
        true => Err(ApiError::new(ErrorKind::BadData, format!("invalid label name: {name:?}"))),
        false => Ok(name),
    }
}

/// `start` and `end`; without them all of time.
pub(super) fn time_range(call: &Call) -> Result<TimeRange, ApiError> {
    let min = call.form.time("start", TimestampMs::MIN)?;
    let max = call.form.time("end", TimestampMs::MAX)?;
    Ok(TimeRange { min, max })
}

/// One more than wanted is asked for, to know whether something was left out.
pub(super) fn one_more(limit: Limit) -> Limit {
    limit.map(|n| n.saturating_add(1))
}

/// The warning of an answer that a limit cut.
pub(super) fn warn_truncated(annotations: &mut Annotations) {
    annotations.warn("results truncated due to limit");
}

fn truncated((mut found, mut annotations): LabelTexts, limit: Limit) -> Answer {
    if let Some(limit) = limit.filter(|limit| found.len() > *limit) {
        found.truncate(limit);
        warn_truncated(&mut annotations);
    }
    Answer::annotated(&found, annotations)
}

/// Reads a name after [`ESCAPED`]: `__` is an underscore, `_2e_` the character with that code point, in hexadecimal.
/// What does not follow this is not an escaped name.
pub(in crate::web) fn unescape(escaped: &str) -> Option<String> {
    let mut name = String::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some(at) = rest.find('_') {
        name.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let (code, tail) = rest.split_once('_')?;
        let hexadecimal = code.len() <= 6 && code.bytes().all(|b| b.is_ascii_hexdigit());
        name.push(match code {
            "" => '_',
            _ if hexadecimal => u32::from_str_radix(code, 16).ok().and_then(char::from_u32)?,
            _ => return None,
        });
        rest = tail;
    }
    name.push_str(rest);
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_names_are_read_back_and_others_are_left_alone() {
        for (escaped, name) in [
            ("my_2e_label", Some("my.label")),
            ("a__b", Some("a_b")),
            ("_1f631_", Some("\u{1f631}")),
            ("plain", Some("plain")),
            ("", Some("")),
            ("bad_", None),
            ("bad_zz_", None),
            ("bad_d800_", None),
            ("bad_1234567_", None),
            ("open_2e", None),
        ] {
            assert_eq!(unescape(escaped).as_deref(), name, "{escaped}");
        }
    }
}
