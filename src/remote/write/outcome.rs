//! What became of a request, and the sentences that tell it.

use std::fmt::Write as _;

use super::labels::LabelFault;
use crate::net::protobuf::ProtobufError;
use crate::remote::snappy::SnappyError;
use crate::storage::{AppendError, Refusal};

/// Complaints that an answer shows; further ones are only counted.
const SHOWN_MAX: usize = 10;

/// What of a request is in the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Written {
    /// Floats.
    pub samples: u64,
    /// Native histograms.
    pub histograms: u64,
    /// Exemplars.
    pub exemplars: u64,
}

/// What became of a request.
#[derive(Debug)]
pub struct Outcome {
    /// What was written, also if not everything was.
    pub written: Written,
    /// Why not everything was; `None` if it was.
    pub failure: Option<Failure>,
}

/// Why not everything was written, by who must act.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The request, or a part of it, would be refused again: 400.
    #[error("{0}")]
    Invalid(String),
    /// The unpacked message is larger than allowed: 413.
    #[error("{0}")]
    TooLarge(String),
    /// The store takes nothing now, and may take it later: 5xx.
    #[error("{0}")]
    Store(#[from] AppendError),
}

impl From<ProtobufError> for Failure {
    fn from(error: ProtobufError) -> Failure {
        Failure::Invalid(format!("not a message of remote write: {error}"))
    }
}

impl From<SnappyError> for Failure {
    fn from(error: SnappyError) -> Failure {
        match error {
            SnappyError::TooLarge { .. } => Failure::TooLarge(error.to_string()),
            SnappyError::Damaged(_) => Failure::Invalid(error.to_string()),
        }
    }
}

/// Why something of a request is not written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Complaint {
    #[error(transparent)]
    Sample(#[from] Refusal),
    #[error(transparent)]
    Labels(#[from] LabelFault),
    #[error("no sample and no histogram")]
    EmptySeries,
    #[error("metadata reference outside of the symbols")]
    Metadata,
    #[error("exemplar without a timestamp")]
    UntimedExemplar,
    #[error("out of order exemplar")]
    LateExemplar,
    #[error("exemplar with too long labels")]
    LongExemplar,
    #[error("exemplar too far in the future")]
    FutureExemplar,
    #[error("exemplar with {0}")]
    ExemplarLabels(LabelFault),
}

impl Complaint {
    /// The reason as a label's value.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Complaint::Sample(Refusal::OutOfOrder) => "out_of_order",
            Complaint::Sample(Refusal::DuplicateTimestamp) => "duplicate_timestamp",
            Complaint::Sample(Refusal::TooOld) => "too_old",
            Complaint::Sample(Refusal::TooFarInFuture) => "too_far_in_future",
            Complaint::Sample(Refusal::Malformed) => "malformed_histogram",
            Complaint::Labels(_) => "invalid_labels",
            Complaint::EmptySeries => "empty_series",
            Complaint::Metadata => "invalid_metadata",
            Complaint::UntimedExemplar
            | Complaint::LateExemplar
            | Complaint::LongExemplar
            | Complaint::FutureExemplar
            | Complaint::ExemplarLabels(_) => "exemplar",
        }
    }
}

/// All complaints about one request.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    counts: Vec<(Complaint, u64)>,
    shown: Vec<String>,
}

impl Complaints {
    /// Adds one about `count` things; `about` says which, if there is still room to show it.
    pub(super) fn add(&mut self, complaint: Complaint, count: u64, about: impl FnOnce() -> String) {
        match self.counts.iter_mut().find(|(known, _)| *known == complaint) {
            Some((_, known)) => *known += count,
            None => self.counts.push((complaint, count)),
        }
        if self.has_room() {
            self.shown.push(format!("{complaint} for {}", about()));
        }
    }

    /// Whether another one would be shown.
    pub(super) fn has_room(&self) -> bool {
        self.shown.len() < SHOWN_MAX
    }

    pub(super) fn counts(&self) -> &[(Complaint, u64)] {
        &self.counts
    }

    /// How many things and why, and the first ones by name; `None` if there is no complaint.
    pub(super) fn text(&self) -> Option<String> {
        if self.counts.is_empty() {
            return None;
        }
        let mut text = String::from("not written: ");
        for (i, (complaint, count)) in self.counts.iter().enumerate() {
            let separator = if i == 0 { "" } else { ", " };
            // Writing to a string cannot fail.
            let _ = write!(text, "{separator}{count} x {complaint}");
        }
        for shown in &self.shown {
            let _ = write!(text, "\n{shown}");
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_counted_by_reason_and_the_first_ones_shown() {
        let mut complaints = Complaints::default();
        assert_eq!(complaints.text(), None);
        complaints.add(Refusal::OutOfOrder.into(), 1, || "series a".to_owned());
        complaints.add(LabelFault::Repeated.into(), 5, || "series b".to_owned());
        (0..100).for_each(|_| complaints.add(Refusal::OutOfOrder.into(), 1, || "series c".to_owned()));
        let text = complaints.text().unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "not written: 101 x out of order sample, 5 x repeated label name");
        assert_eq!(lines[1..3], ["out of order sample for series a", "repeated label name for series b"]);
        assert_eq!(lines.len(), 1 + SHOWN_MAX);
    }
}
