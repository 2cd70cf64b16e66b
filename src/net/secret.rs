//! Texts from the config or from files that may change under us.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

use super::{ClientError, SecretSource};

/// Larger than any bundle of authorities in use; what is larger is a mistake in the path.
const MAX_FILE_BYTES: u64 = 8 << 20;
/// A change within the granularity of a file's times cannot be seen in them, so a young reading is not trusted.
const SETTLING: Duration = Duration::from_secs(1);

/// A text and when it changes.
///
/// A file is asked for its times, size and inode at each use (a microsecond) and read again when they differ. In the
/// first second after a reading it is read at each use, because two quick changes may carry the same times.
pub(super) struct Watched {
    what: &'static str,
    source: SecretSource,
    file: Mutex<Option<Reading>>,
}

struct Reading {
    stamp: Stamp,
    text: Arc<str>,
    version: u64,
    at: Instant,
    settled: bool,
}

#[derive(PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    len: u64,
    inode: u64,
}

impl Stamp {
    fn of(meta: &Metadata) -> Stamp {
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(meta);
        #[cfg(not(unix))]
        let inode = 0;
        Stamp { modified: meta.modified().ok(), len: meta.len(), inode }
    }
}

impl Watched {
    pub(super) fn new(what: &'static str, source: SecretSource) -> Watched {
        Watched { what, source, file: Mutex::new(None) }
    }

    /// The text as it is now, without surrounding white space, and a number that grows whenever it has changed.
    /// Reads a file synchronously: secrets are small and local.
    pub(super) fn get(&self) -> Result<(Arc<str>, u64), ClientError> {
        match &self.source {
            SecretSource::Inline(secret) => Ok((Arc::from(secret.reveal()), 0)),
            SecretSource::File(path) => self.get_file(path).map_err(|error| ClientError::File {
                what: self.what,
                path: path.clone(),
                reason: io_reason(&error),
            }),
        }
    }

    fn get_file(&self, path: &Path) -> io::Result<(Arc<str>, u64)> {
        let mut slot = self.file.lock();
        let meta = std::fs::metadata(path)?;
        if !meta.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        let stamp = Stamp::of(&meta);
        if let Some(known) = slot.as_ref().filter(|r| r.settled && r.stamp == stamp) {
            return Ok((known.text.clone(), known.version));
        }
        let text = read_text(path)?;
        let reading = match slot.take() {
            // Same text: only the trust in the stamp grows. The age is taken from the first reading under this stamp.
            Some(old) if *old.text == *text => {
                let at = if old.stamp == stamp { old.at } else { Instant::now() };
                Reading { stamp, at, settled: at.elapsed() > SETTLING, ..old }
            }
            old => Reading {
                stamp,
                text: Arc::from(text),
                version: old.map_or(1, |o| o.version + 1),
                at: Instant::now(),
                settled: false,
            },
        };
        let result = (reading.text.clone(), reading.version);
        *slot = Some(reading);
        Ok(result)
    }
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if read as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other(format!("it is larger than {MAX_FILE_BYTES} bytes")));
    }
    Ok(text.trim().to_owned())
}

/// The error's own words without the number that Rust appends.
fn io_reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_again_when_it_has_changed_and_its_version_grows() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("token");
        let watched = Watched::new("credentials", SecretSource::File(path.clone()));
        let error = watched.get().expect_err("there is no file yet").to_string();
        assert!(error.contains("cannot use credentials file") && error.contains("No such file"), "{error}");

        std::fs::write(&path, " one\n").expect("write");
        assert_eq!(watched.get().expect("read"), (Arc::from("one"), 1));
        assert_eq!(watched.get().expect("read"), (Arc::from("one"), 1));
        // Same length at once: within the granularity of the file's times.
        std::fs::write(&path, " two\n").expect("write");
        assert_eq!(watched.get().expect("read"), (Arc::from("two"), 2));
    }
}
