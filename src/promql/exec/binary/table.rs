//! The side of an operator of which one series may match.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use hashbrown::HashMap;

use crate::model::labels::is_legacy_label_name;
use crate::model::{GoQuoted, Labels};
use crate::promql::exec::{Context, Failure, Keys, Projection, StepSeries, StepSet};

/// Series of the "one" side, found by the labels that have to match.
pub(super) struct Table {
    signature: Projection,
    keys: Keys,
    pub groups: Vec<Group>,
    pub members: Vec<Member>,
    /// The first pair at each step at which two series of a group have values.
    duplicates: BTreeMap<usize, (usize, usize)>,
    steps: usize,
    scratch: Vec<u8>,
}

/// Series of the "one" side that match the same.
pub(super) struct Group {
    /// In the order in which they came.
    pub members: Vec<usize>,
    /// The steps at which one of them has a value.
    pub present: StepSet,
    /// The steps at which one has found a match.
    pub matched: StepSet,
    /// The same by labels of the result, where several may match.
    pub matched_by_labels: HashMap<Labels, StepSet>,
}

/// A series of the "one" side.
pub(super) struct Member {
    pub series: StepSeries,
    pub group: usize,
    /// The steps at which it has a value.
    pub present: StepSet,
}

impl Table {
    pub fn new(signature: Projection, steps: usize) -> Table {
        Table {
            signature,
            keys: Keys::default(),
            groups: Vec::new(),
            members: Vec::new(),
            duplicates: BTreeMap::new(),
            steps,
            scratch: Vec::new(),
        }
    }

    /// Adds a series.
    pub fn add(&mut self, series: StepSeries) {
        let index = self.group_or_new(&series.labels);
        let group = &mut self.groups[index];
        let present = StepSet::of(&series);
        let number = self.members.len();
        for step in group.present.common(&present).iter() {
            let members = &self.members;
            let earlier = || group.members.iter().copied().find(|m| members[*m].series.has(step)).unwrap_or(number);
            self.duplicates.entry(step).or_insert_with(|| (earlier(), number));
        }
        group.present.add(&present);
        group.members.push(number);
        self.members.push(Member { series, group: index, present });
    }

    /// The group that a series of either side belongs to, if there is one.
    pub fn group(&mut self, labels: &Labels) -> Option<usize> {
        self.signature.write(labels, &mut self.scratch);
        self.keys.find(&self.scratch)
    }

    /// The group that a series of either side belongs to; an empty one if there was none.
    pub fn group_or_new(&mut self, labels: &Labels) -> usize {
        self.signature.write(labels, &mut self.scratch);
        let index = self.keys.insert(&self.scratch);
        if index == self.groups.len() {
            self.groups.push(Group {
                members: Vec::new(),
                present: StepSet::none(self.steps),
                matched: StepSet::none(self.steps),
                matched_by_labels: HashMap::new(),
            });
        }
        index
    }

    /// The labels by which a group's series match.
    pub fn signature(&self, group: usize) -> &Labels {
        self.keys.labels(group)
    }

    /// The steps at which series are not unique.
    pub fn duplicates(&self) -> impl Iterator<Item = usize> {
        self.duplicates.keys().copied()
    }

    /// Whether there is such a step.
    pub fn has_duplicates(&self) -> bool {
        !self.duplicates.is_empty()
    }

    /// What is wrong at a step of [`Table::duplicates`].
    pub fn duplicate(&self, step: usize, side: &str) -> Failure {
        let (a, b) = self.duplicates.get(&step).copied().unwrap_or_default();
        let mut shown = [a, b].map(|m| Braced(&self.members[m].series.labels).to_string());
        shown.sort_unstable();
        let [first, second] = shown;
        let group = Braced(self.signature(self.members[b].group));
        Failure::Execution(format!(
            "found duplicate series for the match group {group} on the {side} hand-side of the operation: \
             [{first}, {second}];many-to-many matching not allowed: matching labels must be unique on one side"
        ))
    }

    /// Gives back what its series were charged with.
    pub fn release(&self, context: &Context<'_>) {
        self.members.iter().for_each(|member| context.release(&member.series));
    }
}

/// Shows labels with the metric's name among them.
struct Braced<'a>(&'a Labels);

impl fmt::Display for Braced<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('{')?;
        for (index, (name, value)) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { ", " })?;
            if is_legacy_label_name(name) {
                f.write_str(name)?;
            } else {
                write!(f, "{}", GoQuoted(name))?;
            }
            write!(f, "={}", GoQuoted(value))?;
        }
        f.write_char('}')
    }
}
