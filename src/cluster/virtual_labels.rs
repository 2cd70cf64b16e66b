//! Labels that no server stores.

use crate::model::{Labels, LabelsBuilder};

/// The label that tells members apart.
pub const CLUSTER: &str = "__cluster__";

/// The names of all virtual labels of all members; the first is [`CLUSTER`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VirtualLabels {
    names: Vec<String>,
}

/// More virtual labels than can be told apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the members have {0} different labels; there can be {max}", max = VirtualLabels::MAX)]
pub struct TooManyLabels(usize);

/// Some of the virtual labels: those that the series of an expression have.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Visible(u64);

impl VirtualLabels {
    /// As many as fit into [`Visible`].
    pub const MAX: usize = 64;

    /// [`CLUSTER`], and these.
    pub fn new<'a>(others: impl IntoIterator<Item = &'a str>) -> Result<VirtualLabels, TooManyLabels> {
        let mut names = vec![CLUSTER.to_owned()];
        for name in others {
            if names.iter().all(|known| known != name) {
                names.push(name.to_owned());
            }
        }
        match names.len() {
            too_many if too_many > VirtualLabels::MAX => Err(TooManyLabels(too_many)),
            _ => Ok(VirtualLabels { names }),
        }
    }

    /// Whether this is the name of one.
    pub fn contains(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }

    /// All of them.
    pub(super) fn all(&self) -> Visible {
        self.of(self.names.iter().map(String::as_str))
    }

    /// [`CLUSTER`] alone.
    pub(super) fn cluster(&self) -> Visible {
        Visible(1)
    }

    /// Those that are among `names`.
    pub(super) fn of<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Visible {
        let bit = |name: &str| self.names.iter().position(|known| known == name).map_or(0, |at| 1 << at);
        Visible(names.into_iter().map(bit).fold(0, |all, bit| all | bit))
    }

    /// A member's series as it is seen from outside: its virtual labels, as far as they are visible, in place of labels of
    /// the same name that the series may have.
    pub fn dress(&self, series: &Labels, member: &Labels, visible: Visible) -> Labels {
        let shown = |name: &str| visible.includes(self.of([name]));
        let mut builder = LabelsBuilder::new();
        for (name, value) in series.iter().filter(|(name, _)| member.get(name).is_none()) {
            builder.push_new(name, value);
        }
        for (name, value) in member.iter().filter(|(name, _)| shown(name)) {
            builder.push_new(name, value);
        }
        builder.labels()
    }
}

impl Visible {
    /// Whether all of `other` are among them.
    pub(super) fn includes(self, other: Visible) -> bool {
        self.0 & other.0 == other.0
    }

    /// Those that both have.
    pub(super) fn both(self, other: Visible) -> Visible {
        Visible(self.0 & other.0)
    }

    /// Those that either has.
    pub(super) fn either(self, other: Visible) -> Visible {
        Visible(self.0 | other.0)
    }

    /// Those that `other` has not.
    pub(super) fn without(self, other: Visible) -> Visible {
        Visible(self.0 & !other.0)
    }

    /// Whether series of different members are different by them.
    pub(super) fn tells_members_apart(self) -> bool {
        self.0 & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_shows_its_members_labels_in_place_of_its_own() {
        let names = VirtualLabels::new(["region", "tier"]).unwrap();
        let member = Labels::from_pairs([(CLUSTER, "home"), ("region", "eu")]);
        let series = Labels::from_pairs([("__name__", "up"), ("region", "own"), ("tier", "own")]);
        let shown = names.dress(&series, &member, names.all());
        let wanted = [("__cluster__", "home"), ("__name__", "up"), ("region", "eu"), ("tier", "own")];
        assert_eq!(shown, Labels::from_pairs(wanted));
        let hidden = names.dress(&series, &member, names.cluster());
        assert_eq!(hidden, Labels::from_pairs([("__cluster__", "home"), ("__name__", "up"), ("tier", "own")]));
    }

    #[test]
    fn more_labels_than_bits_are_refused() {
        let names: Vec<String> = (0..64).map(|n| format!("l{n}")).collect();
        let of = |n: usize| VirtualLabels::new(names[..n].iter().map(String::as_str));
        assert!(of(63).is_ok());
        assert_eq!(of(64), Err(TooManyLabels(65)));
    }
}
