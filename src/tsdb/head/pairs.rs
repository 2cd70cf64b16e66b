//! The symbol table: every label pair in use, once.
//!
//! A pair lives exactly as long as its postings are not empty, so series hold the references by being in them and
//! nothing leaks when series come and go. The pair's text is kept in the encoding of
//! [`crate::model::labels`], so that a series' labels are written out by copying. Of a pair that more than a few series have
//! it is kept also as the text formats write it: `/federate` copies that, and a store full of labels that only one series
//! has pays nothing for it.

use std::collections::BTreeMap;
use std::ops::Range;

use hashbrown::HashTable;
use memchr::memchr3;
use rapidhash::v3::{RapidSecrets, rapidhash_v3_seeded};

use super::postings::Postings;
use crate::exposition::write::text::push_plain_pair;
use crate::model::labels::{LabelsIter, is_legacy_label_name};

/// One `name="value"`.
#[derive(Debug)]
pub(super) struct Pair {
    /// The encoded pair; behind it, if it is kept, the pair as the text formats write it.
    text: Box<[u8]>,
    /// Bytes of the latter.
    written: u32,
    name: u32,
    /// Where the pair is in its name's list.
    at: u32,
    /// Whether the text formats write it as it is: a legacy name, and a value without quotes, backslashes and line breaks.
    plain: bool,
    pub(super) postings: Postings,
}

impl Pair {
    /// The encoded pair.
    pub(super) fn text(&self) -> &[u8] {
        &self.text[..self.text.len() - self.written as usize]
    }

    /// Appends `name="value",` if nothing of it needs escaping.
    #[inline]
    pub(super) fn push_plain(&self, out: &mut Vec<u8>) -> bool {
        if self.written > 0 {
            out.extend_from_slice(&self.text[self.text.len() - self.written as usize..]);
        } else if self.plain {
            let (name, value) = self.strs();
            push_plain_pair(out, name.as_bytes(), value.as_bytes());
        }
        self.plain
    }

    /// Keeps the pair also as it is written, from when more than a few series have it.
    fn keep_written(&mut self) {
        if self.written > 0 || !self.plain || self.postings.is_few() {
            return;
        }
        let mut text = Vec::with_capacity(2 * self.text.len() + 2);
        text.extend_from_slice(&self.text);
        self.push_plain(&mut text);
        // A pair that is longer is none that anybody writes often.
        if let Ok(written) = u32::try_from(text.len() - self.text.len()) {
            (self.text, self.written) = (text.into(), written);
        }
    }

    /// See [`Pairs::name_id`].
    pub(super) fn name_id(&self) -> u32 {
        self.name
    }

    pub(super) fn strs(&self) -> (&str, &str) {
        LabelsIter::over(self.text()).next().unwrap_or_default()
    }

    pub(super) fn value(&self) -> &str {
        self.strs().1
    }
}

#[derive(Debug, Default)]
struct Name {
    pairs: Vec<u32>,
}

/// All pairs by id, by text and by name.
#[derive(Debug)]
pub(super) struct Pairs {
    pairs: Vec<Pair>,
    free: Vec<u32>,
    by_text: HashTable<u32>,
    names: Vec<Name>,
    free_names: Vec<u32>,
    by_name: BTreeMap<Box<str>, u32>,
    secrets: RapidSecrets,
}

impl Pairs {
    pub(super) fn new() -> Pairs {
        Pairs {
            pairs: Vec::new(),
            free: Vec::new(),
            by_text: HashTable::new(),
            names: Vec::new(),
            free_names: Vec::new(),
            by_name: BTreeMap::new(),
            // Values come from outside; a fixed seed would let them be chosen to collide.
            secrets: RapidSecrets::random(),
        }
    }

    pub(super) fn get(&self, id: u32) -> &Pair {
        &self.pairs[id as usize]
    }

    /// Adds a series to those that have a pair.
    pub(super) fn post(&mut self, id: u32, slot: u32) {
        let pair = &mut self.pairs[id as usize];
        pair.postings.insert(slot);
        pair.keep_written();
    }

    /// As [`Pairs::post`], of neighbours.
    pub(super) fn post_range(&mut self, id: u32, slots: Range<u32>) {
        let pair = &mut self.pairs[id as usize];
        pair.postings.insert_range(slots);
        pair.keep_written();
    }

    /// Takes a series from those that have a pair, whose id stays until [`Pairs::release_if_unused`].
    pub(super) fn withdraw(&mut self, id: u32, slot: u32) {
        self.pairs[id as usize].postings.remove(slot);
    }

    /// One more than the largest id in use.
    pub(super) fn end(&self) -> usize {
        self.pairs.len()
    }

    /// The id of an encoded pair.
    pub(super) fn find(&self, text: &[u8]) -> Option<u32> {
        let hash = rapidhash_v3_seeded(text, &self.secrets);
        self.by_text.find(hash, |id| self.pairs[*id as usize].text() == text).copied()
    }

    /// The id of an encoded pair, which is new if the flag says so. The caller gives it postings.
    pub(super) fn intern(&mut self, text: &[u8]) -> (u32, bool) {
        if let Some(id) = self.find(text) {
            return (id, false);
        }
        let (name, value) = LabelsIter::over(text).next().unwrap_or_default();
        let plain = is_legacy_label_name(name) && memchr3(b'"', b'\\', b'\n', value.as_bytes()).is_none();
        let name = self.intern_name(name);
        let list = &mut self.names[name as usize].pairs;
        let at = list.len() as u32;
        let pair = Pair { text: text.into(), written: 0, name, at, plain, postings: Postings::new() };
        let id = match self.free.pop() {
            Some(id) => {
                self.pairs[id as usize] = pair;
                id
            }
            None => {
                self.pairs.push(pair);
                self.pairs.len() as u32 - 1
            }
        };
        list.push(id);
        let (pairs, secrets) = (&self.pairs, &self.secrets);
        let hash = |id: &u32| rapidhash_v3_seeded(pairs[*id as usize].text(), secrets);
        self.by_text.insert_unique(hash(&id), id, hash);
        (id, true)
    }

    /// Forgets a pair if no series has it any more; its id goes to the next new pair.
    pub(super) fn release_if_unused(&mut self, id: u32) {
        if !self.pairs[id as usize].postings.is_empty() || self.pairs[id as usize].text.is_empty() {
            return;
        }
        let hash = rapidhash_v3_seeded(self.pairs[id as usize].text(), &self.secrets);
        if let Ok(entry) = self.by_text.find_entry(hash, |other| *other == id) {
            entry.remove();
        }
        let empty = Pair { text: Box::default(), written: 0, name: 0, at: 0, plain: true, postings: Postings::new() };
        let gone = std::mem::replace(&mut self.pairs[id as usize], empty);
        self.free.push(id);
        let list = &mut self.names[gone.name as usize].pairs;
        list.swap_remove(gone.at as usize);
        if let Some(moved) = list.get(gone.at as usize) {
            self.pairs[*moved as usize].at = gone.at;
        } else if list.is_empty() {
            self.by_name.remove(gone.strs().0);
            self.free_names.push(gone.name);
        }
    }

    /// The names in use, ascending, each with the ids of its pairs.
    pub(super) fn names(&self) -> impl Iterator<Item = (&str, &[u32])> {
        self.by_name.iter().map(|(text, id)| (&**text, &*self.names[*id as usize].pairs))
    }

    /// One more than the largest id of a name.
    pub(super) fn names_end(&self) -> usize {
        self.names.len()
    }

    /// The id of a name.
    pub(super) fn name_id(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    /// The ids of the pairs of one name.
    pub(super) fn of_name(&self, name: &str) -> &[u32] {
        self.by_name.get(name).map_or(&[], |id| &self.names[*id as usize].pairs)
    }

    /// Packs the postings.
    pub(super) fn optimize(&mut self) {
        self.pairs.iter_mut().for_each(|pair| pair.postings.optimize());
    }

    fn intern_name(&mut self, text: &str) -> u32 {
        if let Some(id) = self.by_name.get(text) {
            return *id;
        }
        let id = self.free_names.pop().unwrap_or_else(|| {
            self.names.push(Name::default());
            self.names.len() as u32 - 1
        });
        self.by_name.insert(text.into(), id);
        id
    }
}
