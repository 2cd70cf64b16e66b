//! What shipping needs of an object store.

use std::error::Error;
use std::fmt::Debug;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::pace::Pace;
use crate::disk::DiskFile;

/// A flat store of objects whose names have parts between slashes, without one at the start. It is called from a thread
/// that may wait.
///
/// The law: an object is there whole or not at all, and what [`put`](Bucket::put) has returned from is there for good.
pub trait Bucket: Debug + Send + Sync {
    /// The object's length in bytes; `None` if it is not there.
    fn size(&self, object: &str) -> Result<Option<u64>, BucketError>;
    /// The first parts of all names, ascending: with one object `a/b`, that is `a`.
    fn list(&self) -> Result<Vec<String>, BucketError>;
    /// A small object's content; `None` if it is not there.
    fn get(&self, object: &str) -> Result<Option<Vec<u8>>, BucketError>;
    /// Writes an object, replacing one of that name. Nothing of it is visible after an error.
    fn put(&self, object: &str, content: &mut Content<'_>) -> Result<(), BucketError>;
}

/// Why a bucket did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// The bucket failed or cannot be reached.
    #[error("{doing} {object} in the bucket: {source}")]
    Failed {
        /// What was attempted, such as `writing`.
        doing: &'static str,
        /// The object.
        object: String,
        /// What the store said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// What should have been sent cannot be read.
    #[error("reading {path}: {source}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Shipping was told to stop.
    #[error("told to stop")]
    Stopped,
}

impl BucketError {
    pub(super) fn failed(
        doing: &'static str,
        object: &str,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> BucketError {
        BucketError::Failed { doing, object: object.to_owned(), source: source.into() }
    }
}

/// What is to become an object: read front to back in pieces, no faster than allowed.
#[derive(Debug)]
pub struct Content<'a> {
    origin: Origin,
    len: u64,
    at: u64,
    pace: &'a Pace,
}

#[derive(Debug)]
enum Origin {
    File { file: Arc<dyn DiskFile>, path: PathBuf },
    Bytes(Bytes),
}

impl<'a> Content<'a> {
    /// The first `len` bytes of a file.
    pub(super) fn file(file: Arc<dyn DiskFile>, path: PathBuf, len: u64, pace: &'a Pace) -> Content<'a> {
        Content { origin: Origin::File { file, path }, len, at: 0, pace }
    }

    pub(super) fn bytes(bytes: Bytes, pace: &'a Pace) -> Content<'a> {
        Content { len: bytes.len() as u64, origin: Origin::Bytes(bytes), at: 0, pace }
    }

    /// Bytes in all.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The next `max` bytes, or what is left; empty at the end.
    pub fn next(&mut self, max: usize) -> Result<Bytes, BucketError> {
        let left = self.len - self.at;
        let wanted = usize::try_from(left).map_or(max, |left| left.min(max));
        self.pace.spend(wanted as u64)?;
        let piece = match &self.origin {
            // Both ends are within the bytes, whose length is `len`.
            Origin::Bytes(bytes) => bytes.slice(self.at as usize..self.at as usize + wanted),
            Origin::File { file, path } => {
                let fail = |source| BucketError::Content { path: path.clone(), source };
                let mut piece = vec![0; wanted];
                if file.read_at(&mut piece, self.at).map_err(fail)? < wanted {
                    return Err(fail(io::ErrorKind::UnexpectedEof.into()));
                }
                piece.into()
            }
        };
        self.at += wanted as u64;
        Ok(piece)
    }
}
