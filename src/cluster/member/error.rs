//! Why a member has no answer.

use super::super::answer::AnswerError;
use crate::net::{BodyError, ClientError, StatusCode};
use crate::storage::Cancelled;

/// Why a member has no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MemberError {
    /// It could not be reached, or did not answer in time.
    #[error(transparent)]
    Unreachable(#[from] ClientError),
    /// It answered with a status that is neither success nor a refusal of the question: the fault is the server's, or of what
    /// is before it.
    #[error("server returned HTTP status {status}: {text}")]
    Status {
        /// The status.
        status: StatusCode,
        /// The API's `errorType`, such as `timeout`; empty if it did not answer as the API does.
        kind: String,
        /// What it said, or the beginning of that.
        text: String,
    },
    /// Its answer could not be read to the end.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// It refused the question, or did not answer as the API does.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// It is not asked for a while, since it has failed several times.
    #[error("not asked again yet, since it failed: {0}")]
    Resting(String),
    /// Time was up before it could be asked.
    #[error("no time was left to ask it")]
    NoTime,
    /// The query that it was asked for must end.
    #[error(transparent)]
    Ended(#[from] Cancelled),
}

impl MemberError {
    /// Whether another attempt, or another replica, may succeed.
    pub(super) fn may_retry(&self) -> bool {
        match self {
            MemberError::Unreachable(error) => error.may_retry(),
            MemberError::Status { status, kind, .. } => is_failure(*status) && !is_final(*status, kind),
            MemberError::Body(error) => !matches!(error, BodyError::TooLarge { .. }),
            MemberError::Answer(AnswerError::Garbled(_)) => true,
            MemberError::Answer(AnswerError::Refused { .. })
            | MemberError::Resting(_)
            | MemberError::NoTime
            | MemberError::Ended(_) => false,
        }
    }
}

/// Whether a server that answers so has failed, or is asked too much, whatever it says.
pub(super) fn is_failure(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

/// Whether a server that has failed would do so again: it has spent the time that it allows for a query, it does not know what
/// is asked for, or the question has come back to where it was asked.
fn is_final(status: StatusCode, kind: &str) -> bool {
    kind == "timeout" || matches!(status, StatusCode::NOT_IMPLEMENTED | StatusCode::LOOP_DETECTED)
}
