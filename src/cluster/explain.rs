//! What was done for a query, written down while it is: for who wants to know why it is slow, or what it costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use serde::Serialize;

use super::split::Split;

/// What was done for a query.
#[derive(Debug, Default)]
pub struct Explanation(Mutex<Vec<Attempt>>);

/// One evaluation of the whole; there is a second if the first has turned out to lose something.
#[derive(Debug, Default)]
struct Attempt {
    plan: String,
    parts: Vec<String>,
    exchanges: Vec<Exchange>,
}

/// How a member's share came.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Way {
    /// The member has evaluated it.
    Pushdown,
    /// It had been evaluated by the member, and was kept.
    Cached,
    /// Samples, by remote read.
    RemoteRead,
    /// Samples, by range selectors.
    Query,
    /// Samples of this node.
    Local,
}

/// What a member was asked for, and what came.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Exchange {
    #[serde(skip)]
    part: Option<usize>,
    member: String,
    /// Which of several, from 1 on.
    #[serde(skip_serializing_if = "Option::is_none")]
    replica: Option<usize>,
    via: Way,
    sent: String,
    /// Of a range, and those of them that were kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cached_steps: Option<usize>,
    received_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    series: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    samples: Option<u64>,
    milliseconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Counts bytes as they come over the wire.
pub(super) type Meter = Arc<AtomicU64>;

/// Where what is asked of members is written down, if somebody wants to read it.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes {
    explanation: Option<Arc<Explanation>>,
    part: Option<usize>,
}

/// An exchange under way. It is written down from its beginning on; dropping it says that nobody waited for its end.
#[derive(Debug, Default)]
pub(super) struct Noted(Option<Underway>);

#[derive(Debug)]
struct Underway {
    explanation: Arc<Explanation>,
    attempt: usize,
    at: usize,
    started: Instant,
    meter: Meter,
}

/// What came of an exchange.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Series and samples, if anything came and was counted.
    pub size: Option<(u64, u64)>,
    /// All steps, and those of them that were kept.
    pub steps: Option<(usize, usize)>,
    pub error: Option<String>,
}

impl Outcome {
    /// Nothing but an error.
    pub(super) fn failed(error: impl ToString) -> Outcome {
        Outcome { error: Some(error.to_string()), ..Outcome::default() }
    }
}

impl Explanation {
    /// A new attempt begins.
    fn begin(&self, split: &Split) {
        let parts = split.parts.iter().map(|part| part.expr.to_string()).collect();
        self.0.lock().push(Attempt { plan: split.here.to_string(), parts, exchanges: Vec::new() });
    }

    /// As JSON: an object for the last attempt, with an earlier one in it.
    pub fn json(&self) -> String {
        let attempts = self.0.lock();
        let shown = attempts.iter().fold(None, |discarded, attempt| Some(Box::new(Shown::of(attempt, discarded))));
        // There is nothing in it that has no JSON.
        serde_json::to_string(&shown).unwrap_or_default()
    }
}

#[derive(Serialize)]
struct Shown<'a> {
    plan: &'a str,
    parts: Vec<ShownPart<'a>>,
    /// What was read of all members for what the plan itself selects.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    samples: Vec<&'a Exchange>,
    #[serde(skip_serializing_if = "Option::is_none")]
    discarded: Option<Box<Shown<'a>>>,
}

#[derive(Serialize)]
struct ShownPart<'a> {
    part: usize,
    expr: &'a str,
    members: Vec<&'a Exchange>,
}

impl<'a> Shown<'a> {
    fn of(attempt: &'a Attempt, discarded: Option<Box<Shown<'a>>>) -> Shown<'a> {
        let of = |part: Option<usize>| attempt.exchanges.iter().filter(|e| e.part == part).collect::<Vec<_>>();
        let part = |(part, expr): (usize, &'a String)| ShownPart { part, expr, members: of(Some(part)) };
        Shown {
            plan: &attempt.plan,
            parts: attempt.parts.iter().enumerate().map(part).collect(),
            samples: of(None),
            discarded,
        }
    }
}

impl Notes {
    /// Notes on a new attempt.
    pub(super) fn begin(explanation: Option<&Arc<Explanation>>, split: &Split) -> Notes {
        if let Some(explanation) = explanation {
            explanation.begin(split);
        }
        Notes { explanation: explanation.cloned(), part: None }
    }

    /// Notes on what is done for a part.
    pub(super) fn of_part(&self, part: usize) -> Notes {
        Notes { part: Some(part), ..self.clone() }
    }

    /// A member is asked.
    pub(super) fn ask(&self, member: &str, replica: Option<usize>, via: Way, sent: impl FnOnce() -> String) -> Noted {
        let Some(explanation) = &self.explanation else { return Noted::default() };
        let mut attempts = explanation.0.lock();
        let number = attempts.len().saturating_sub(1);
        let Some(attempt) = attempts.last_mut() else { return Noted::default() };
        attempt.exchanges.push(Exchange {
            part: self.part,
            member: member.to_owned(),
            replica,
            via,
            sent: sent(),
            steps: None,
            cached_steps: None,
            received_bytes: 0,
            series: None,
            samples: None,
            milliseconds: 0.0,
            error: Some("nobody waited for its end".to_owned()),
        });
        Noted(Some(Underway {
            explanation: explanation.clone(),
            attempt: number,
            at: attempt.exchanges.len() - 1,
            started: Instant::now(),
            meter: Meter::default(),
        }))
    }
}

impl Noted {
    /// Counts what comes.
    pub(super) fn meter(&self) -> Option<Meter> {
        self.0.as_ref().map(|underway| underway.meter.clone())
    }

    /// The exchange is over.
    pub(super) fn end(self, outcome: impl FnOnce() -> Outcome) {
        let Some(underway) = self.0 else { return };
        let milliseconds = underway.started.elapsed().as_secs_f64() * 1000.0;
        let Outcome { size, steps, error } = outcome();
        let mut attempts = underway.explanation.0.lock();
        let exchange = attempts.get_mut(underway.attempt).and_then(|attempt| attempt.exchanges.get_mut(underway.at));
        let Some(exchange) = exchange else { return };
        exchange.milliseconds = (milliseconds * 1000.0).round() / 1000.0;
        exchange.received_bytes = underway.meter.load(Ordering::Relaxed);
        (exchange.series, exchange.samples) = (size.map(|(series, _)| series), size.map(|(_, samples)| samples));
        if let Some((steps, kept)) = steps {
            (exchange.steps, exchange.cached_steps) = (Some(steps), Some(kept).filter(|kept| *kept > 0));
            if steps == kept {
                exchange.via = Way::Cached;
            }
        }
        exchange.error = error;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::super::split::split;
    use super::super::virtual_labels::VirtualLabels;
    use super::*;
    use crate::promql::{ParserOptions, parse};

    fn split_of(text: &str) -> Split {
        split(&parse(text, &ParserOptions::ALL).unwrap(), &VirtualLabels::new([]).unwrap(), true)
    }

    fn shown(explanation: &Explanation) -> Json {
        let mut shown: Json = serde_json::from_str(&explanation.json()).unwrap();
        for path in ["/parts/0/members/0/milliseconds", "/parts/0/members/1/milliseconds", "/samples/0/milliseconds"] {
            if let Some(time) = shown.pointer_mut(path) {
                assert!(time.as_f64().unwrap() >= 0.0);
                time.take();
            }
        }
        shown
    }

    #[test]
    fn exchanges_stand_with_their_parts_and_those_of_an_attempt_in_vain_apart() {
        let explanation = Arc::new(Explanation::default());
        let notes = Notes::begin(Some(&explanation), &split_of("sum(up) / absent(a)"));
        let asked = notes.of_part(0).ask("home", None, Way::Pushdown, || "sum(up)".to_owned());
        asked.meter().unwrap().fetch_add(77, Ordering::Relaxed);
        asked.end(|| Outcome { size: Some((1, 3)), steps: Some((3, 2)), ..Outcome::default() });
        let kept = notes.of_part(0).ask("boat", None, Way::Pushdown, || "sum(up)".to_owned());
        kept.end(|| Outcome { size: Some((1, 3)), steps: Some((3, 3)), ..Outcome::default() });
        let read = notes.ask("home", Some(2), Way::RemoteRead, || "a".to_owned());
        drop(read);
        let wanted = json!({
            "plan": "sum(<part 0>) / absent(a)",
            "parts": [{"part": 0, "expr": "sum(up)", "members": [
                {"member": "home", "via": "pushdown", "sent": "sum(up)", "steps": 3, "cachedSteps": 2,
                    "receivedBytes": 77, "series": 1, "samples": 3, "milliseconds": null},
                {"member": "boat", "via": "cached", "sent": "sum(up)", "steps": 3, "cachedSteps": 3,
                    "receivedBytes": 0, "series": 1, "samples": 3, "milliseconds": null},
            ]}],
            "samples": [{"member": "home", "replica": 2, "via": "remote_read", "sent": "a", "receivedBytes": 0,
                "milliseconds": null, "error": "nobody waited for its end"}],
        });
        assert_eq!(shown(&explanation), wanted);
        let _again = Notes::begin(Some(&explanation), &split_of("absent(a)"));
        let again = shown(&explanation);
        assert_eq!((&again["plan"], &again["discarded"]["plan"]), (&json!("absent(a)"), &wanted["plan"]));
    }

    #[test]
    fn nothing_is_written_down_that_nobody_wants_to_read() {
        let notes = Notes::begin(None, &split_of("up"));
        let asked = notes.ask("home", None, Way::Local, || panic!("nobody reads it"));
        assert!(asked.meter().is_none());
        asked.end(|| panic!("nobody reads it"));
    }
}
