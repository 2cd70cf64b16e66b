//! What a target says of its metric families, for the metadata API.

use std::collections::HashMap;
use std::sync::Arc;

use hashbrown::HashSet;
use parking_lot::Mutex;

use crate::model::{Metadata, MetricType};

/// Metadata outlives its metric by so many scrapes, as in the reference.
const KEEP_SCRAPES: u32 = 10;

/// Texts that nobody holds any more may take this much before they are looked for.
const MIN_PRUNE_BYTES: usize = 1 << 20;
/// What a text costs besides its own bytes.
const TEXT_OVERHEAD: usize = 64;

/// Texts that many targets of a job have in common, kept once.
#[derive(Default)]
pub(super) struct Texts(Mutex<Known>);

#[derive(Default)]
struct Known {
    texts: HashSet<Arc<str>>,
    bytes: usize,
    /// What was still in use when texts were forgotten last.
    bytes_in_use: usize,
}

impl Known {
    fn prune(&mut self) {
        self.texts.retain(|text| Arc::strong_count(text) > 1);
        self.texts.shrink_to(self.texts.len() * 2);
        self.bytes = self.texts.iter().map(|text| text.len() + TEXT_OVERHEAD).sum();
        self.bytes_in_use = self.bytes;
    }
}

impl Texts {
    fn get(&self, text: &str) -> Arc<str> {
        let mut known = self.0.lock();
        if let Some(shared) = known.texts.get(text) {
            return shared.clone();
        }
        let shared: Arc<str> = text.into();
        known.texts.insert(shared.clone());
        known.bytes += text.len() + TEXT_OVERHEAD;
        // A target that words its help anew in every scrape must not fill the memory with what it said before. Waiting for
        // twice what is in use makes looking through all of them rare.
        if known.bytes > (known.bytes_in_use * 2).max(MIN_PRUNE_BYTES) {
            known.prune();
        }
        shared
    }

    /// Whether this is one of the texts. All names of families are, those of the near past included.
    pub(super) fn has(&self, text: &str) -> bool {
        self.0.lock().texts.contains(text)
    }

    /// Forgets texts that nobody else holds.
    pub(super) fn prune(&self) {
        self.0.lock().prune();
    }
}

struct Family {
    name: Arc<str>,
    help: Arc<str>,
    unit: Arc<str>,
    metric_type: MetricType,
    seen: u32,
}

impl Family {
    fn metadata(&self) -> Metadata {
        Metadata { metric_type: self.metric_type, unit: self.unit.to_string(), help: self.help.to_string() }
    }
}

/// The families of one target. They have stable numbers until [`evict`](Families::evict).
pub(super) struct Families {
    texts: Arc<Texts>,
    list: Vec<Family>,
    by_name: HashMap<Arc<str>, u32>,
}

impl Families {
    pub(super) fn new(texts: Arc<Texts>) -> Families {
        Families { texts, list: Vec::new(), by_name: HashMap::new() }
    }

    /// The number of a family, which is created if it is new.
    pub(super) fn number(&mut self, name: &[u8]) -> u32 {
        let name = String::from_utf8_lossy(name);
        if let Some(&number) = self.by_name.get(&*name) {
            return number;
        }
        let name = self.texts.get(&name);
        // A body of less than 4 GiB cannot hold more families.
        let number = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
        let none = self.texts.get("");
        let family =
            Family { name: name.clone(), help: none.clone(), unit: none, metric_type: MetricType::Unknown, seen: 0 };
        self.list.push(family);
        self.by_name.insert(name, number);
        number
    }

    /// Bytes of a family's name.
    pub(super) fn name_len(&self, number: u32) -> usize {
        self.list.get(number as usize).map_or(0, |family| family.name.len())
    }

    pub(super) fn set_type(&mut self, number: u32, metric_type: MetricType) {
        if let Some(family) = self.list.get_mut(number as usize) {
            family.metric_type = metric_type;
        }
    }

    pub(super) fn set_help(&mut self, number: u32, help: &str) {
        if let Some(family) = self.list.get_mut(number as usize)
            && &*family.help != help
        {
            family.help = self.texts.get(help);
        }
    }

    pub(super) fn set_unit(&mut self, number: u32, unit: &[u8]) {
        let unit = String::from_utf8_lossy(unit);
        if let Some(family) = self.list.get_mut(number as usize)
            && *family.unit != *unit
        {
            family.unit = self.texts.get(&unit);
        }
    }

    /// Notes that a family was mentioned in this scrape.
    #[inline]
    pub(super) fn see(&mut self, number: u32, scrape: u32) {
        if let Some(family) = self.list.get_mut(number as usize) {
            family.seen = scrape;
        }
    }

    /// Forgets families that have not been mentioned for a while. True if the numbers have changed.
    pub(super) fn evict(&mut self, scrape: u32) -> bool {
        let kept = |family: &Family| scrape.saturating_sub(family.seen) <= KEEP_SCRAPES;
        if self.list.iter().all(kept) {
            return false;
        }
        self.list.retain(kept);
        self.by_name.clear();
        for (number, family) in (0..).zip(&self.list) {
            self.by_name.insert(family.name.clone(), number);
        }
        true
    }

    /// The family of that name.
    pub(super) fn get(&self, name: &str) -> Option<Metadata> {
        let number = *self.by_name.get(name)?;
        self.list.get(number as usize).map(Family::metadata)
    }

    /// All families, or the one of that name.
    pub(super) fn list(&self, name: Option<&str>) -> Vec<(String, Metadata)> {
        let wanted = self.list.iter().filter(|f| name.is_none_or(|name| *f.name == *name));
        wanted.map(|f| (f.name.to_string(), f.metadata())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_change_all_the_time_are_forgotten() {
        let texts = Arc::<Texts>::default();
        let mut families = Families::new(texts.clone());
        let number = families.number(b"constant");
        for scrape in 0..20_000 {
            families.set_help(number, &format!("{scrape} {}", "x".repeat(1000)));
        }
        assert!(texts.0.lock().bytes < 2 * MIN_PRUNE_BYTES, "{} bytes are kept", texts.0.lock().bytes);
        let help = format!("19999 {}", "x".repeat(1000));
        assert!(families.list(None).iter().all(|(name, of)| name == "constant" && of.help == help));
    }
}
