//! Expressions at random, evaluated over three stores by their parts and over one store that holds all three: the same.

use std::sync::atomic::{AtomicBool, Ordering};

use watershed::cluster::{CLUSTER, Part, VirtualLabels, split, strip};
use watershed::model::{AnnotationKind, Annotations, Labels};
use watershed::promql::{Answer, DelegatedAnswer, DelegatedSeries, Delegates, Engine, Failure, Span, StepTimes};
use watershed::storage::Scope;
use watershed::storage::memory::MemoryStore;

use crate::fuzz::data::{self, Series};
use crate::fuzz::random::Random;
use crate::shown::{Shown, difference, shown};
use crate::{MEMBERS, Ways, compare, engine, variable};

struct Member {
    labels: Labels,
    store: MemoryStore,
}

/// Members, and a store that holds what they hold, with their virtual labels.
struct Fleet {
    engine: Engine,
    names: VirtualLabels,
    members: Vec<Member>,
    union: MemoryStore,
}

impl Fleet {
    fn new(seed: u64) -> Fleet {
        let names = VirtualLabels::new(["region"]).expect("few labels");
        let mut all = Vec::new();
        let members = MEMBERS.iter().zip(0..).map(|((name, region), number)| {
            let region = region.iter().map(|region| ("region", *region));
            let labels = Labels::from_pairs(std::iter::once((CLUSTER, *name)).chain(region));
            let series = data::series(&mut Random(seed * 10 + number), false);
            let store = MemoryStore::new();
            data::write(&series, &store);
            let dressed = |s: Series| {
                let shown: Vec<_> = s.labels.iter().chain(labels.iter()).collect();
                Series { labels: Labels::from_pairs(shown), samples: s.samples }
            };
            all.extend(series.into_iter().map(dressed));
            Member { labels, store }
        });
        let members = members.collect();
        let union = MemoryStore::new();
        data::write(&all, &union);
        Fleet { engine: engine(), names, members, union }
    }
}

impl Ways for Fleet {
    fn whole(&self, text: &str, span: Span) -> Shown {
        let run = || -> Result<Answer, String> {
            let expr = self.engine.parse(text).map_err(|e| e.to_string())?;
            let query = self.engine.query(text, &expr, span, None).map_err(|e| e.to_string())?;
            query.run(&self.union, &Scope::unbounded()).answer.map_err(|e| e.to_string())
        };
        shown(run())
    }

    /// Whether the parts add up differently only because adding depends on its order: 1e300, -1e300 and 0.3 give 0.3 or 0.
    fn depends_on_order(&self, text: &str, span: Span, whole: &Shown) -> bool {
        text.contains("awkward") && difference(whole, &self.try_by_parts(text, span, false).0).is_none()
    }

    fn by_parts(&self, text: &str, span: Span) -> Shown {
        match self.try_by_parts(text, span, true) {
            (_, true) => self.try_by_parts(text, span, false).0,
            (shown, false) => shown,
        }
    }
}

impl Fleet {
    /// What comes of it, and whether partial aggregations have lost something.
    fn try_by_parts(&self, text: &str, span: Span, finishes_aggregations: bool) -> (Shown, bool) {
        let spoilt = AtomicBool::new(false);
        let run = || -> Result<Answer, String> {
            let expr = self.engine.parse(text).map_err(|e| e.to_string())?;
            let expr = self.engine.resolve(&expr, span).map_err(|e| e.to_string())?;
            let split = split(&expr, &self.names, finishes_aggregations);
            let query = self.engine.query(text, &split.here, span, None).map_err(|e| e.to_string())?;
            let parts = Parts { fleet: self, text, parts: &split.parts, spoilt: &spoilt };
            query.run_with(&self.union, Some(&parts), &Scope::unbounded()).answer.map_err(|e| e.to_string())
        };
        let answer = run();
        (shown(answer), spoilt.load(Ordering::Relaxed))
    }
}

struct Parts<'f> {
    fleet: &'f Fleet,
    text: &'f str,
    parts: &'f [Part],
    spoilt: &'f AtomicBool,
}

impl Delegates for Parts<'_> {
    fn evaluate(&self, id: usize, steps: StepTimes, scope: &Scope) -> Result<DelegatedAnswer, Failure> {
        let part = &self.parts[id];
        let fail = |e: String| Failure::Execution(e);
        let mut answer = DelegatedAnswer { series: Vec::new(), annotations: Annotations::none() };
        for member in &self.fleet.members {
            let Some(expr) = strip(&part.expr, &member.labels) else { continue };
            // As a member gets it.
            let text = expr.to_string();
            let expr = self.fleet.engine.parse(&text).map_err(|e| fail(format!("{text}: {e}")))?;
            let span = Span::Range { start: steps.start, end: steps.end(), step: steps.interval };
            let query = self.fleet.engine.query(self.text, &expr, span, None).map_err(|e| fail(e.to_string()))?;
            let outcome = query.run(&member.store, scope);
            if part.is_partial && outcome.annotations.of(AnnotationKind::Warning).next().is_some() {
                self.spoilt.store(true, Ordering::Relaxed);
            }
            let Answer::Matrix(all) = outcome.answer? else { return Err(fail(format!("{text} is no vector"))) };
            answer.series.extend(all.iter().map(|series| {
                let labels = self.fleet.names.dress(&series.labels, &member.labels, part.visible);
                DelegatedSeries { labels, ..DelegatedSeries::from(series) }
            }));
        }
        // Sums depend on their order, and that of a store is by labels.
        answer.series.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(answer)
    }
}

#[test]
fn the_parts_of_an_expression_together_are_the_whole() {
    let seed = variable("WATERSHED_FUZZ_SEED", 1);
    compare(seed, 400, &Fleet::new(seed));
}
