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
    /// It answered with an error that is not the API's.
    #[error("server returned HTTP status {status}: {text}")]
    Status {
        /// The status.
        status: StatusCode,
        /// The beginning of what it said.
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
            MemberError::Status { status, .. } => status.is_server_error() || status.as_u16() == 429,
            MemberError::Body(error) => !matches!(error, BodyError::TooLarge { .. }),
            MemberError::Answer(AnswerError::Garbled(_)) | MemberError::Resting(_) => true,
            MemberError::Answer(AnswerError::Refused { .. }) | MemberError::NoTime | MemberError::Ended(_) => false,
        }
    }
}
