//! Numbers for label sets.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::model::Labels;

/// Gives label sets numbers from 0 upward, in the order in which they first come. Looking one up allocates nothing.
#[derive(Default)]
pub(crate) struct Keys {
    table: HashTable<u32>,
    all: Vec<Labels>,
    hasher: DefaultHashBuilder,
}

impl Keys {
    /// The number of a set that may be new, given its encoding.
    pub fn insert(&mut self, encoded: &[u8]) -> usize {
        let hash = self.hasher.hash_one(encoded);
        if let Some(number) = self.table.find(hash, |n| self.all[*n as usize].as_bytes() == encoded) {
            return *number as usize;
        }
        let number = self.all.len();
        self.all.push(Labels::from_encoded(encoded));
        // So many sets would not fit into memory.
        let stored = u32::try_from(number).unwrap_or(u32::MAX);
        self.table.insert_unique(hash, stored, |n| self.hasher.hash_one(self.all[*n as usize].as_bytes()));
        number
    }

    /// The number of a set that was inserted.
    pub fn find(&self, encoded: &[u8]) -> Option<usize> {
        let hash = self.hasher.hash_one(encoded);
        self.table.find(hash, |n| self.all[*n as usize].as_bytes() == encoded).map(|n| *n as usize)
    }

    /// The set of a number.
    pub fn labels(&self, number: usize) -> &Labels {
        &self.all[number]
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_keeps_its_number() {
        let mut keys = Keys::default();
        let sets: Vec<Labels> = (0..100).map(|i: i32| Labels::from_pairs([("i", i.to_string().as_str())])).collect();
        for round in 0..2 {
            for (i, set) in sets.iter().enumerate() {
                assert_eq!(keys.insert(set.as_bytes()), i, "round {round}");
            }
        }
        assert_eq!(keys.find(sets[42].as_bytes()), Some(42));
        assert_eq!(keys.find(Labels::empty().as_bytes()), None);
        assert_eq!((keys.len(), keys.labels(7)), (100, &sets[7]));
    }
}
