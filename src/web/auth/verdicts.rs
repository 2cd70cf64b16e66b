//! Verdicts that are remembered.

use std::collections::{HashSet, VecDeque};

/// A keyed digest.
pub(super) type Digest = [u8; 32];

/// Right passwords remembered; as many users as anybody writes into a file.
const RIGHT_MAX: usize = 1024;
/// Wrong passwords remembered: a client that was never told of a new password asks with one and the same.
const WRONG_MAX: usize = 4096;

/// Which credentials were right and which were wrong. The two are apart, so that a flood of wrong ones drives out no
/// right one.
pub(super) struct Verdicts {
    right: Recent,
    wrong: Recent,
}

impl Default for Verdicts {
    fn default() -> Verdicts {
        Verdicts { right: Recent::new(RIGHT_MAX), wrong: Recent::new(WRONG_MAX) }
    }
}

impl Verdicts {
    pub(super) fn get(&self, credentials: &Digest) -> Option<bool> {
        // Both are looked at in any case: the time must not tell them apart.
        let (right, wrong) = (self.right.set.contains(credentials), self.wrong.set.contains(credentials));
        (right | wrong).then_some(right)
    }

    pub(super) fn insert(&mut self, credentials: Digest, right: bool) {
        let recent = if right { &mut self.right } else { &mut self.wrong };
        recent.insert(credentials);
    }
}

/// The newest digests.
struct Recent {
    set: HashSet<Digest>,
    order: VecDeque<Digest>,
    max: usize,
}

impl Recent {
    fn new(max: usize) -> Recent {
        Recent { set: HashSet::new(), order: VecDeque::new(), max }
    }

    fn insert(&mut self, digest: Digest) {
        if !self.set.insert(digest) {
            return;
        }
        self.order.push_back(digest);
        if self.order.len() > self.max
            && let Some(oldest) = self.order.pop_front()
        {
            self.set.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_wrong_passwords_is_bounded_and_drives_out_no_right_one() {
        let digest = |i: u64| {
            let mut digest = Digest::default();
            digest[..8].copy_from_slice(&i.to_le_bytes());
            digest
        };
        let mut verdicts = Verdicts::default();
        verdicts.insert(digest(0), true);
        for i in 1..=3 * WRONG_MAX as u64 {
            verdicts.insert(digest(i), false);
        }
        assert_eq!(verdicts.get(&digest(0)), Some(true));
        assert_eq!(verdicts.get(&digest(1)), None, "the oldest are forgotten");
        assert_eq!(verdicts.get(&digest(3 * WRONG_MAX as u64)), Some(false));
        assert_eq!((verdicts.wrong.set.len(), verdicts.wrong.order.len()), (WRONG_MAX, WRONG_MAX));
    }
}
