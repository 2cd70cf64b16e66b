//! The symbol table: every label pair in use, once.
//!
//! A pair lives exactly as long as its postings are not empty, so series hold the references by being in them and
//! nothing leaks when series come and go. The pair's text is kept in the encoding of
//! [`crate::model::labels`], so that a series' labels are written out by copying.

use std::collections::BTreeMap;

use hashbrown::HashTable;
use memchr::memchr3;
use rapidhash::v3::{RapidSecrets, rapidhash_v3_seeded};

use super::postings::Postings;
use crate::model::labels::{LabelsIter, is_legacy_label_name};

/// One `name="value"`.
#[derive(Debug)]
pub(super) struct Pair {
    text: Box<[u8]>,
    name: u32,
    /// Where the pair is in its name's list.
    at: u32,
    /// See [`Pair::is_plain`].
    plain: bool,
    pub(super) postings: Postings,
}

impl Pair {
    /// The encoded pair.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// See [`Pairs::name_id`].
    pub(super) fn name_id(&self) -> u32 {
        self.name
    }

    /// Whether the text formats write it as it is: a legacy name, and a value without quotes, backslashes and line breaks.
    pub(super) fn is_plain(&self) -> bool {
        self.plain
    }

    pub(super) fn strs(&self) -> (&str, &str) {
        LabelsIter::over(&self.text).next().unwrap_or_default()
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

    pub(super) fn postings_mut(&mut self, id: u32) -> &mut Postings {
        &mut self.pairs[id as usize].postings
    }

    /// One more than the largest id in use.
    pub(super) fn end(&self) -> usize {
        self.pairs.len()
    }

    /// The id of an encoded pair.
    pub(super) fn find(&self, text: &[u8]) -> Option<u32> {
        let hash = rapidhash_v3_seeded(text, &self.secrets);
        self.by_text.find(hash, |id| *self.pairs[*id as usize].text == *text).copied()
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
        let pair = Pair { text: text.into(), name, at: list.len() as u32, plain, postings: Postings::new() };
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
        let hash = |id: &u32| rapidhash_v3_seeded(&pairs[*id as usize].text, secrets);
        self.by_text.insert_unique(hash(&id), id, hash);
        (id, true)
    }

    /// Forgets a pair if no series has it any more; its id goes to the next new pair.
    pub(super) fn release_if_unused(&mut self, id: u32) {
        if !self.pairs[id as usize].postings.is_empty() || self.pairs[id as usize].text.is_empty() {
            return;
        }
        let hash = rapidhash_v3_seeded(&self.pairs[id as usize].text, &self.secrets);
        if let Ok(entry) = self.by_text.find_entry(hash, |other| *other == id) {
            entry.remove();
        }
        let empty = Pair { text: Box::default(), name: 0, at: 0, plain: true, postings: Postings::new() };
        let gone = std::mem::replace(&mut self.pairs[id as usize], empty);
        self.free.push(id);
        let list = &mut self.names[gone.name as usize].pairs;
        list.swap_remove(gone.at as usize);
        if let Some(moved) = list.get(gone.at as usize) {
            self.pairs[*moved as usize].at = gone.at;
        } else if list.is_empty() {
            self.by_name.remove(gone_name(&gone.text));
            self.free_names.push(gone.name);
        }
    }

    /// The names in use, ascending, each with the ids of its pairs.
    pub(super) fn names(&self) -> impl Iterator<Item = (&str, &[u32])> {
        self.by_name.iter().map(|(text, id)| (&**text, &*self.names[*id as usize].pairs))
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

fn gone_name(text: &[u8]) -> &str {
    LabelsIter::over(text).next().unwrap_or_default().0
}
