//! A door for fuzzing.

use jiff::Timestamp;
use serde::de::DeserializeOwned;

use super::answer::{Answer, Envelope, LabelSet};
use super::ask::Range;
use super::chart::{self, Canvas};
use super::{Failure, text};
use crate::model::DurationMs;

/// Prints a server's answer in every form that it has: as JSON first, on a line of its own.
#[doc(hidden)]
pub fn print_answer(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    // Writing to memory does not fail.
    let _ = printed(body, &mut out);
    out
}

fn printed(body: &[u8], out: &mut Vec<u8>) -> Result<(), Failure> {
    if let Some(answer) = data::<Answer>(body) {
        text::json(out, &answer)?;
        text::value(out, &answer)?;
        let [start, end] = [1_699_996_400, 1_700_000_000].map(|s| Timestamp::from_second(s).unwrap_or_default());
        let range = Range { start, end, step: DurationMs::from_secs(60) };
        chart::draw(out, &answer, &range, &Canvas::of_terminal())?;
    }
    if let Some(all) = data::<Vec<LabelSet>>(body) {
        text::json(out, &all)?;
        text::series(out, &all)?;
    }
    if let Some(all) = data::<Vec<String>>(body) {
        text::json(out, &all)?;
        text::lines(out, &all)?;
    }
    Ok(())
}

fn data<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    serde_json::from_slice::<Envelope<T>>(body).ok()?.data
}
