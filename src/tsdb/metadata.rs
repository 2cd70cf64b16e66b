//! What series say of themselves: type, unit and help of their metric.
//!
//! Kept apart from the series, because most stores never learn any: such a store pays nothing. Thousands of series share
//! one text, so a series holds a reference to it, and the text goes with the last of them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::RwLock;

use super::Tsdb;
use super::head::PageCursor;
use crate::model::Metadata;
use crate::storage::SeriesRef;

impl Tsdb {
    /// What has been noted of a series; `None` if that is nothing or the series is gone.
    pub fn metadata_of(&self, series: SeriesRef) -> Option<Arc<Metadata>> {
        let pages = self.head.pages();
        let wal_ref = PageCursor::new(&pages).known(series).map(|(_, known)| known.wal_ref)?;
        drop(pages);
        self.metadata.get(wal_ref)
    }
}

/// The metadata of one store's series, by their references in the log.
#[derive(Debug, Default)]
pub(super) struct SeriesMetadata(RwLock<Inner>);

#[derive(Debug, Default)]
struct Inner {
    series: HashMap<u64, Arc<Metadata>>,
    texts: HashSet<Arc<Metadata>>,
}

impl SeriesMetadata {
    /// Whether nothing is known of any series.
    pub(super) fn is_empty(&self) -> bool {
        self.0.read().series.is_empty()
    }

    /// What is known of a series.
    pub(super) fn get(&self, wal_ref: u64) -> Option<Arc<Metadata>> {
        self.0.read().series.get(&wal_ref).cloned()
    }

    /// Whether it would change anything to note this.
    pub(super) fn is_news(&self, wal_ref: u64, metadata: &Metadata) -> bool {
        self.0.read().series.get(&wal_ref).is_none_or(|known| **known != *metadata)
    }

    /// Notes what is known of a series from now on.
    pub(super) fn set(&self, wal_ref: u64, metadata: &Metadata) {
        let mut inner = self.0.write();
        let text = match inner.texts.get(metadata) {
            Some(text) => text.clone(),
            None => {
                let text = Arc::new(metadata.clone());
                inner.texts.insert(text.clone());
                text
            }
        };
        let before = inner.series.insert(wal_ref, text);
        inner.release(before);
    }

    /// Forgets series that are gone.
    pub(super) fn forget(&self, wal_refs: impl IntoIterator<Item = u64>) {
        let mut inner = self.0.write();
        if inner.series.is_empty() {
            return;
        }
        for wal_ref in wal_refs {
            let before = inner.series.remove(&wal_ref);
            inner.release(before);
        }
    }
}

impl Inner {
    fn release(&mut self, text: Option<Arc<Metadata>>) {
        // Held here and by the set of texts. A reader that holds it, too, leaves it to the next release of its kind.
        if let Some(text) = text.filter(|text| Arc::strong_count(text) <= 2) {
            self.texts.remove(&text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn help(text: &str) -> Metadata {
        Metadata { help: text.to_owned(), ..Metadata::default() }
    }

    #[test]
    fn series_share_their_texts_and_the_last_one_takes_it_along() {
        let metadata = SeriesMetadata::default();
        for wal_ref in 1..4 {
            assert!(metadata.is_news(wal_ref, &help("a")));
            metadata.set(wal_ref, &help("a"));
            assert!(!metadata.is_news(wal_ref, &help("a")) && metadata.is_news(wal_ref, &help("b")));
        }
        assert!(Arc::ptr_eq(&metadata.get(1).unwrap(), &metadata.get(3).unwrap()));
        metadata.set(2, &help("b"));
        metadata.set(2, &help("b"));
        assert_eq!(metadata.0.read().texts.len(), 2);
        metadata.forget([1, 2, 9]);
        assert_eq!((metadata.get(1), metadata.get(2)), (None, None));
        assert_eq!(metadata.get(3).as_deref(), Some(&help("a")));
        metadata.forget([3]);
        assert!(metadata.0.read().texts.is_empty());
    }
}
