//! Label sets as runs of pair ids in large blocks: no allocation and no header per series.

/// Ids per block. A run never crosses blocks; a longer one gets a block of its own.
const BLOCK: usize = 4096;

/// Where a run of pair ids lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct SetRef {
    block: u32,
    at: u16,
    len: u16,
}

/// The most labels that one series can have.
pub(super) const MAX_PAIRS: usize = u16::MAX as usize;

/// All label sets of the head.
#[derive(Debug, Default)]
pub(super) struct LabelSets {
    blocks: Vec<Box<[u32]>>,
    /// The block that new runs come from, and where its free end begins.
    open: Option<(u32, usize)>,
    /// Freed runs by length; series come and go with equal shapes, so they are taken again exactly.
    free: Vec<Vec<SetRef>>,
}

impl LabelSets {
    pub(super) fn get(&self, set: SetRef) -> &[u32] {
        match self.blocks.get(set.block as usize) {
            Some(block) => &block[usize::from(set.at)..][..usize::from(set.len)],
            None => &[],
        }
    }

    /// Stores a run of at most [`MAX_PAIRS`] ids.
    pub(super) fn insert(&mut self, ids: &[u32]) -> SetRef {
        let len = ids.len().min(MAX_PAIRS);
        let set = self.free.get_mut(len).and_then(Vec::pop).unwrap_or_else(|| self.carve(len));
        self.blocks[set.block as usize][usize::from(set.at)..][..len].copy_from_slice(&ids[..len]);
        set
    }

    pub(super) fn remove(&mut self, set: SetRef) {
        let len = usize::from(set.len);
        if self.free.len() <= len {
            self.free.resize_with(len + 1, Vec::new);
        }
        self.free[len].push(set);
    }

    /// Lengths are at most [`MAX_PAIRS`] and offsets below [`BLOCK`], so both fit 16 bits.
    fn carve(&mut self, len: usize) -> SetRef {
        let (block, at) = match self.open {
            Some((block, at)) if at + len <= BLOCK => (block, at),
            _ => {
                let block = self.blocks.len() as u32;
                self.blocks.push(vec![0; BLOCK.max(len)].into_boxed_slice());
                (block, 0)
            }
        };
        if at + len <= BLOCK {
            self.open = Some((block, at + len));
        }
        SetRef { block, at: at as u16, len: len as u16 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_any_length_are_kept_and_freed_room_is_taken_again() {
        let mut sets = LabelSets::default();
        let runs: Vec<Vec<u32>> = (0..2000u32).map(|i| (0..i % 40).map(|j| i * 100 + j).collect()).collect();
        let long: Vec<u32> = (0..9000).collect();
        let long_ref = sets.insert(&long);
        let refs: Vec<_> = runs.iter().map(|run| sets.insert(run)).collect();
        for (run, set) in runs.iter().zip(&refs) {
            assert_eq!(sets.get(*set), run);
        }
        assert_eq!(sets.get(long_ref), long);
        let blocks = sets.blocks.len();
        refs.iter().for_each(|set| sets.remove(*set));
        for run in &runs {
            let set = sets.insert(run);
            assert_eq!(sets.get(set), run);
        }
        assert_eq!(sets.blocks.len(), blocks);
    }
}
