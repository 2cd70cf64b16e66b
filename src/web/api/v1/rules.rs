//! `rules`, `alerts` and `alertmanagers`: what is told where no rules are evaluated and no alerts are sent.
//!
//! Clients ask for these on every page load; parameters are judged as the reference judges them.

use serde::Serialize;

use super::Call;
use super::reply::{Answer, ApiError, ErrorKind};
use crate::model::GoQuoted;
use crate::storage::Selector;
use crate::web::form::{Form, ParamError};

/// Rule groups: none.
pub(super) fn rules(call: &Call) -> Result<Answer, ApiError> {
    #[derive(Serialize)]
    struct Groups {
        groups: [(); 0],
    }
    check(&call.form)?;
    page(call)?;
    Ok(Answer::of(&Groups { groups: [] }))
}

/// Judges the parameters that narrow rules; also gives the conditions on their labels.
pub(super) fn check(form: &Form) -> Result<Vec<Selector>, ApiError> {
    form.well_formed()?;
    let selectors = form.narrowing_selectors()?;
    let kind = form.first("type").to_lowercase();
    if !matches!(kind.as_str(), "" | "alert" | "record") {
        return Err(ParamError::of("type", format_args!("not supported value {}", GoQuoted(&kind))).into());
    }
    exclude_alerts(form)?;
    Ok(selectors)
}

fn exclude_alerts(form: &Form) -> Result<bool, ApiError> {
    let text = form.first("exclude_alerts").to_lowercase();
    match text.as_str() {
        "" | "0" | "f" | "false" => Ok(false),
        "1" | "t" | "true" => Ok(true),
        _ => {
            let why = format!(
                "error converting exclude_alerts: strconv.ParseBool: parsing {}: invalid syntax",
                GoQuoted(&text)
            );
            Err(ParamError::of("exclude_alerts", why).into())
        }
    }
}

/// `group_limit` and `group_next_token`; without groups no token can be right.
fn page(call: &Call) -> Result<(), ApiError> {
    let (limit, token) = (call.form.first("group_limit"), call.form.first("group_next_token"));
    let refused = |parameter: &str, why: String| Err(ApiError::from(ParamError::of(parameter, why)));
    if limit.is_empty() {
        let why = "group_limit needs to be present in order to paginate over the groups";
        return if token.is_empty() { Ok(()) } else { refused("group_next_token", why.to_owned()) };
    }
    match limit.parse::<i32>() {
        Err(error) => {
            use std::num::IntErrorKind::{NegOverflow, PosOverflow};
            let why = match error.kind() {
                PosOverflow | NegOverflow => "value out of range",
                _ => "invalid syntax",
            };
            let why = format!("strconv.ParseInt: parsing {}: {why}", GoQuoted(limit));
            refused("group_limit", format!("group_limit needs to be a valid number: {why}"))
        }
        Ok(n) if n <= 0 => refused("group_limit", "group_limit needs to be greater than 0".to_owned()),
        Ok(_) if token.is_empty() => Ok(()),
        Ok(_) => {
            let why = format!("invalid group_next_token '{token}'. were rule groups changed?");
            refused("group_next_token", why)
        }
    }
}

/// Alerts: none.
pub(super) fn alerts(_: &Call) -> Result<Answer, ApiError> {
    #[derive(Serialize)]
    struct Alerts {
        alerts: [(); 0],
    }
    Ok(Answer::of(&Alerts { alerts: [] }))
}

/// Alertmanagers that alerts go to: none.
pub(super) fn alertmanagers(_: &Call) -> Result<Answer, ApiError> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Alertmanagers {
        active_alertmanagers: [(); 0],
        dropped_alertmanagers: [(); 0],
    }
    Ok(Answer::of(&Alertmanagers { active_alertmanagers: [], dropped_alertmanagers: [] }))
}

/// The reference's experimental search, which we do not have; told as it tells that its feature is off, so that clients do
/// without.
pub(super) fn search(_: &Call) -> Result<Answer, ApiError> {
    Err(ApiError::new(ErrorKind::Unavailable, "search API disabled"))
}
