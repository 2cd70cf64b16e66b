//! `features`: what this server can do, for clients that adapt.

use std::collections::BTreeMap;

use super::Call;
use super::reply::{Answer, ApiError};
use crate::promql::Feature;
use crate::web::config::{AdminApi, Lifecycle};

/// Abilities of this API that are always there.
const ALWAYS: [&str; 8] = [
    "exclude_alerts",
    "label_values_match",
    "openapi_3.1",
    "openapi_3.2",
    "query_stats",
    "query_warnings",
    "time_range_labels",
    "time_range_series",
];

/// Whether each is on, by category and name.
pub(super) fn features(call: &Call) -> Result<Answer, ApiError> {
    let config = &call.web.config;
    let mut all: Vec<Feature> = ALWAYS.iter().map(|name| ("api", *name, true)).collect();
    all.extend([
        ("api", "admin", config.admin_api == AdminApi::Enabled),
        ("api", "lifecycle", config.lifecycle == Lifecycle::Enabled),
        ("api", "search", false),
    ]);
    all.extend(crate::promql::features(call.web.deps.queries.engine().options()));
    all.extend(call.web.deps.features.iter().copied());
    let mut by_category: BTreeMap<&str, BTreeMap<&str, bool>> = BTreeMap::new();
    for (category, name, is_on) in all {
        by_category.entry(category).or_default().insert(name, is_on);
    }
    // Operators are not escaped here, unlike elsewhere; as the reference has it.
    let json = serde_json::to_vec(&by_category)
        .map_err(|e| ApiError::new(super::reply::ErrorKind::Internal, e.to_string()))?;
    Ok(Answer::json(json))
}
