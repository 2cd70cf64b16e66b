//! A directory as a bucket, such as a mounted share.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::bucket::{Bucket, BucketError, Content};
use super::read_whole;
use crate::disk::Disk;

/// Objects in the making stand here, in the bucket itself: only within a file system can they be put in place in one
/// step. Readers of buckets take no directory for a block whose name is not a block's.
const MAKING_DIR: &str = ".watershed-uploading";
/// Bytes copied at once.
const PIECE: usize = 1 << 20;

/// Objects as files below a directory.
#[derive(Debug)]
pub struct DirBucket {
    disk: Arc<dyn Disk>,
    root: PathBuf,
}

impl DirBucket {
    /// The bucket at `root`, which is made when the first object comes.
    pub fn new(disk: Arc<dyn Disk>, root: &Path) -> DirBucket {
        DirBucket { disk, root: root.to_owned() }
    }

    fn write(&self, object: &str, content: &mut Content<'_>) -> Result<(), WriteError> {
        let place = self.root.join(object);
        let parent = place.parent().unwrap_or(&self.root);
        let making = self.root.join(MAKING_DIR);
        self.disk.create_dir_all(&making)?;
        self.disk.create_dir_all(parent)?;
        let temporary = making.join(object.replace('/', "-"));
        if self.disk.exists(&temporary)? {
            self.disk.remove_file(&temporary)?;
        }
        let file = self.disk.create(&temporary)?;
        loop {
            let piece = content.next(PIECE)?;
            if piece.is_empty() {
                break;
            }
            file.append(&piece)?;
        }
        file.sync()?;
        self.disk.rename(&temporary, &place)?;
        // The directories above may be new as well: an object that comes later must not survive without them.
        for dir in parent.ancestors().take_while(|dir| dir.starts_with(&self.root)) {
            self.disk.sync_dir(dir)?;
        }
        Ok(())
    }
}

enum WriteError {
    Disk(io::Error),
    Other(BucketError),
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> WriteError {
        WriteError::Disk(error)
    }
}

impl From<BucketError> for WriteError {
    fn from(error: BucketError) -> WriteError {
        WriteError::Other(error)
    }
}

/// `None` for what is not there.
fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Bucket for DirBucket {
    fn size(&self, object: &str) -> Result<Option<u64>, BucketError> {
        let size = found(self.disk.open(&self.root.join(object))).and_then(|f| f.map(|f| f.len()).transpose());
        size.map_err(|error| BucketError::failed("looking for", object, error))
    }

    fn list(&self) -> Result<Vec<String>, BucketError> {
        let names = found(self.disk.list(&self.root)).map_err(|error| BucketError::failed("listing", "/", error))?;
        Ok(names.unwrap_or_default().into_iter().filter(|name| name != MAKING_DIR).collect())
    }

    fn get(&self, object: &str) -> Result<Option<Vec<u8>>, BucketError> {
        let content = found(read_whole(&*self.disk, &self.root.join(object)));
        content.map_err(|error| BucketError::failed("reading", object, error))
    }

    fn put(&self, object: &str, content: &mut Content<'_>) -> Result<(), BucketError> {
        self.write(object, content).map_err(|error| match error {
            WriteError::Disk(error) => BucketError::failed("writing", object, error),
            WriteError::Other(error) => error,
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::disk::MemDisk;
    use crate::tsdb::ship::pace::Pace;

    fn bucket() -> (MemDisk, DirBucket) {
        let disk = MemDisk::new();
        (disk.clone(), DirBucket::new(Arc::new(disk), Path::new("/mnt/bucket")))
    }

    fn put(bucket: &DirBucket, object: &str, content: Vec<u8>) -> Result<(), BucketError> {
        let pace = Pace::new(None, CancellationToken::new());
        bucket.put(object, &mut Content::bytes(Bytes::from(content), &pace))
    }

    #[test]
    fn objects_are_files() {
        let (disk, bucket) = bucket();
        assert_eq!(bucket.list().unwrap(), [""; 0]);
        assert_eq!(bucket.size("a/b/c").unwrap(), None);
        assert_eq!(bucket.get("a").unwrap(), None);
        let long = vec![7; PIECE + 5];
        put(&bucket, "a/b/c", long.clone()).unwrap();
        put(&bucket, "z", b"short".to_vec()).unwrap();
        put(&bucket, "z", b"new".to_vec()).unwrap();
        assert_eq!(bucket.size("a/b/c").unwrap(), Some(long.len() as u64));
        assert_eq!(bucket.get("a/b/c").unwrap(), Some(long.clone()));
        assert_eq!(disk.read(Path::new("/mnt/bucket/a/b/c")), Some(long));
        assert_eq!(bucket.get("z").unwrap().unwrap(), b"new");
        assert_eq!(bucket.list().unwrap(), ["a", "z"]);
    }

    #[test]
    fn an_object_that_did_not_fit_is_not_there_and_comes_whole_later() {
        let (disk, bucket) = bucket();
        disk.set_room(Some(10));
        let error = put(&bucket, "a/b", vec![1; 11]).unwrap_err().to_string();
        assert!(error.starts_with("writing a/b in the bucket: "), "{error}");
        assert_eq!(bucket.size("a/b").unwrap(), None);
        disk.set_room(None);
        put(&bucket, "a/b", vec![1; 11]).unwrap();
        assert_eq!(bucket.size("a/b").unwrap(), Some(11));
    }
}
