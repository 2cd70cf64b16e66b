//! The series that have one label pair.

use std::ops::Range;

use roaring::RoaringBitmap;

/// Up to so many ids lie in the entry itself.
const INLINE: usize = 3;
/// Up to so many ids are a plain sorted list; a bitmap's own bookkeeping takes more than that.
const LIST: usize = 48;

/// A sorted set of series slots, small for the many pairs that few series have.
#[derive(Clone, Debug)]
pub(crate) enum Postings {
    Few { len: u8, ids: [u32; INLINE] },
    List(Vec<u32>),
    Many(Box<RoaringBitmap>),
}

impl Postings {
    pub(super) fn new() -> Postings {
        Postings::Few { len: 0, ids: [0; INLINE] }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Postings::Many(ids) => ids.is_empty(),
            other => other.slice().is_empty(),
        }
    }

    pub(super) fn len(&self) -> u64 {
        match self {
            Postings::Many(ids) => ids.len(),
            other => other.slice().len() as u64,
        }
    }

    /// Whether these are so few that they lie in the entry itself.
    pub(super) fn is_few(&self) -> bool {
        matches!(self, Postings::Few { .. })
    }

    pub(super) fn insert(&mut self, id: u32) {
        match self {
            Postings::Few { len, ids } => {
                let used = usize::from(*len);
                let Err(at) = ids[..used].binary_search(&id) else { return };
                if used < INLINE {
                    ids.copy_within(at..used, at + 1);
                    ids[at] = id;
                    *len += 1;
                } else {
                    let mut list = Vec::with_capacity(2 * INLINE);
                    list.extend_from_slice(ids);
                    list.insert(at, id);
                    *self = Postings::List(list);
                }
            }
            Postings::List(list) => {
                let Err(at) = list.binary_search(&id) else { return };
                list.insert(at, id);
                if list.len() > LIST {
                    *self = Postings::Many(Box::new(list.iter().copied().collect()));
                }
            }
            Postings::Many(ids) => {
                ids.insert(id);
            }
        }
    }

    /// Adds neighbours.
    pub(super) fn insert_range(&mut self, new: Range<u32>) {
        if new.is_empty() {
            return;
        }
        if let Postings::Many(ids) = self {
            ids.insert_range(new);
        } else if self.slice().len() + new.len() <= LIST {
            new.for_each(|id| self.insert(id));
        } else {
            let mut ids: RoaringBitmap = self.slice().iter().copied().collect();
            ids.insert_range(new);
            *self = Postings::Many(Box::new(ids));
        }
    }

    pub(super) fn remove(&mut self, id: u32) {
        match self {
            Postings::Few { len, ids } => {
                let used = usize::from(*len);
                if let Ok(at) = ids[..used].binary_search(&id) {
                    ids.copy_within(at + 1..used, at);
                    *len -= 1;
                }
            }
            Postings::List(list) => {
                if let Ok(at) = list.binary_search(&id) {
                    list.remove(at);
                }
            }
            Postings::Many(ids) => {
                ids.remove(id);
            }
        }
    }

    /// Adds these ids to `out`.
    pub(super) fn add_to(&self, out: &mut RoaringBitmap) {
        match self {
            Postings::Many(ids) => *out |= &**ids,
            other => out.extend(other.slice()),
        }
    }

    /// Removes these ids from `out`.
    pub(super) fn remove_from(&self, out: &mut RoaringBitmap) {
        match self {
            Postings::Many(ids) => *out -= &**ids,
            other => other.slice().iter().for_each(|id| {
                out.remove(*id);
            }),
        }
    }

    /// Keeps in `out` only these ids.
    pub(super) fn intersect(&self, out: &mut RoaringBitmap) {
        match self {
            Postings::Many(ids) => *out &= &**ids,
            other => *out = other.slice().iter().copied().filter(|id| out.contains(*id)).collect(),
        }
    }

    /// Whether any of these ids is in `set`.
    pub(super) fn meets(&self, set: &RoaringBitmap) -> bool {
        match self {
            Postings::Many(ids) => !ids.is_disjoint(set),
            other => other.slice().iter().any(|id| set.contains(*id)),
        }
    }

    /// Packs runs of neighbours; worth it once a set no longer changes much.
    pub(super) fn optimize(&mut self) {
        match self {
            Postings::Few { .. } => {}
            Postings::List(list) => list.shrink_to_fit(),
            Postings::Many(ids) => {
                ids.optimize();
            }
        }
    }

    fn slice(&self) -> &[u32] {
        match self {
            Postings::Few { len, ids } => &ids[..usize::from(*len)],
            Postings::List(list) => list,
            Postings::Many(_) => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_set_of_any_size_behaves_as_a_bitmap(steps in prop::collection::vec((0u32..120, 0u32..30, any::<bool>()), 0..300), other in prop::collection::vec(0u32..120, 0..60)) {
            let (mut postings, mut model) = (Postings::new(), RoaringBitmap::new());
            for (id, more, insert) in steps {
                if insert && more > 20 {
                    postings.insert_range(id..id + more);
                    model.insert_range(id..id + more);
                } else if insert {
                    postings.insert(id);
                    model.insert(id);
                } else {
                    postings.remove(id);
                    model.remove(id);
                }
            }
            let other: RoaringBitmap = other.into_iter().collect();
            prop_assert_eq!(postings.len(), model.len());
            prop_assert_eq!(postings.is_empty(), model.is_empty());
            prop_assert_eq!(postings.meets(&other), !model.is_disjoint(&other));
            let with = |f: &dyn Fn(&Postings, &mut RoaringBitmap)| { let mut set = other.clone(); f(&postings, &mut set); set };
            prop_assert_eq!(with(&Postings::add_to), &other | &model);
            prop_assert_eq!(with(&Postings::remove_from), &other - &model);
            prop_assert_eq!(with(&Postings::intersect), &other & &model);
        }
    }
}
