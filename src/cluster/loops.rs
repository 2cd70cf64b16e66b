//! Frontends that ask each other in a circle.
//!
//! Every request to a member tells in a header which frontends it has passed. A frontend that finds itself there is asked by
//! itself: going on would ask for ever.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::OnceLock;

use crate::net::header::{HeaderMap, HeaderName, HeaderValue};

/// The header: a list of instances.
pub(super) const PASSED: HeaderName = HeaderName::from_static("x-watershed-frontends");
/// The header by which a server tells which instance it is, beside its build information.
pub(super) const INSTANCE: HeaderName = HeaderName::from_static("x-watershed-instance");
/// Frontends that a request passes. Trees of clusters have two or three levels.
const LEVELS: usize = 8;

/// Why a request is not answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LoopError {
    /// It comes from here.
    #[error(
        "this request has come back to where it was sent from: a member of the cluster is this server itself, or asks it; \
         see federation.proxy_targets"
    )]
    Own,
    /// It has passed too many.
    #[error("this request has passed {LEVELS} cluster frontends, which is more than a tree of clusters needs")]
    Deep,
}

/// The header by which this process tells who it is.
pub fn introduction() -> (HeaderName, HeaderValue) {
    (INSTANCE, HeaderValue::from_static(instance()))
}

/// What tells this process from all others.
pub(super) fn instance() -> &'static str {
    static INSTANCE: OnceLock<String> = OnceLock::new();
    // Seeded by the system for each process.
    INSTANCE.get_or_init(|| format!("{:016x}{:016x}", RandomState::new().hash_one(0), RandomState::new().hash_one(1)))
}

/// Whether a request may be answered by asking members.
pub fn check_loop(headers: &HeaderMap) -> Result<(), LoopError> {
    let passed = || headers.get_all(PASSED).iter().filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
    if passed().any(|one| one.trim() == instance()) {
        return Err(LoopError::Own);
    }
    if passed().count() >= LEVELS { Err(LoopError::Deep) } else { Ok(()) }
}

/// The header for requests on behalf of one that has these: this instance behind those that it has passed.
pub(super) fn passed_on(headers: &HeaderMap) -> HeaderValue {
    let before = headers.get_all(PASSED).iter().filter_map(|value| value.to_str().ok());
    let all: Vec<&str> = before.chain([instance()]).collect();
    // Made of headers and of hexadecimal digits.
    HeaderValue::from_str(&all.join(", ")).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (PASSED, HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn a_request_that_comes_back_is_known_however_many_it_has_passed() {
        assert_eq!(instance().len(), 32);
        assert_eq!(check_loop(&headers(&[])), Ok(()));
        let once = passed_on(&headers(&["other"]));
        assert_eq!(once.to_str().unwrap(), format!("other, {}", instance()));
        for values in [vec![once.to_str().unwrap()], vec!["a", instance()], vec![&format!("a,{} , b", instance())]] {
            assert_eq!(check_loop(&headers(&values)), Err(LoopError::Own), "{values:?}");
        }
        assert_eq!(check_loop(&headers(&["a, b"])), Ok(()));
    }

    #[test]
    fn a_chain_without_end_ends() {
        let long = (0..LEVELS).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        assert_eq!(check_loop(&headers(&[&long])), Err(LoopError::Deep));
    }
}
