//! The web config file: loaded at start, and again whenever it or a file that it names has changed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::AppError;
use super::reload::digest;
use crate::config;
use crate::runtime::{CpuPool, Tasks};
use crate::web::Security;

/// How often the files are looked at. They are few and small, and whoever removes a user or renews a certificate does not want
/// to wait.
const LOOK: Duration = Duration::from_secs(1);

/// The rules of the web server and the files that they come from.
pub(super) struct ListenerFile {
    path: Option<PathBuf>,
    security: Security,
    seen: Mutex<Seen>,
}

/// The files as they were when they were loaded or tried last.
struct Seen {
    sources: Vec<PathBuf>,
    /// `None` if they may have changed while they were being loaded.
    digest: Option<u64>,
}

impl ListenerFile {
    /// Loads the file at `path`; without one, everybody may ask.
    pub(super) fn load(path: Option<&Path>, security: Security) -> Result<ListenerFile, AppError> {
        let sources = path.map(Path::to_owned).into_iter().collect();
        let seen = Mutex::new(Seen { sources, digest: None });
        let listener = ListenerFile { path: path.map(Path::to_owned), security, seen };
        listener.refresh()?;
        Ok(listener)
    }

    pub(super) fn security(&self) -> &Security {
        &self.security
    }

    /// Loads the files again. An error leaves the rules as they were.
    pub(super) fn reload(&self) -> Result<(), AppError> {
        self.seen.lock().digest = None;
        self.refresh().map(drop)
    }

    /// Loads the files again if their content has changed; true if it had. An error leaves the rules as they were, and is told
    /// once for each content of the files.
    fn refresh(&self) -> Result<bool, AppError> {
        let Some(path) = &self.path else { return Ok(false) };
        let mut seen = self.seen.lock();
        let now = digest(&seen.sources);
        if seen.digest == Some(now) {
            return Ok(false);
        }
        let loaded = config::load_web(path);
        // Other files than before were not looked at before they were read, so they will be looked at once more.
        seen.digest = (loaded.sources == seen.sources).then_some(now);
        seen.sources = loaded.sources;
        let (rules, warnings) = loaded.outcome.map_err(AppError::WebConfig)?;
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        self.security.apply(rules)?;
        Ok(true)
    }

    /// Looks for changes for as long as the tasks go on.
    pub(super) fn watch(self: Arc<Self>, pool: &CpuPool, tasks: &Tasks) {
        if self.path.is_none() {
            return;
        }
        let (pool, stop) = (pool.clone(), tasks.stopping());
        tasks.spawn("web-config", async move {
            while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
                let listener = self.clone();
                match pool.run(move || listener.refresh()).await {
                    Ok(Ok(false)) => {}
                    Ok(Ok(true)) => tracing::info!("loaded the web config file"),
                    Ok(Err(error)) => {
                        tracing::error!(%error, "the web config file was not loaded; the one before goes on");
                    }
                    Err(error) => tracing::error!(%error, "the web config file could not be looked at"),
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Registry;

    #[test]
    fn a_change_is_loaded_once_and_a_mistake_is_told_once_and_changes_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("web.yml");
        let write = |text: &str| std::fs::write(&path, text).expect("a file");
        write("rate_limit: {interval: 1s, burst: 5}\n");
        let listener = ListenerFile::load(Some(&path), Security::new(&Registry::new())).expect("a good file");
        assert!(matches!(listener.refresh(), Ok(false)));
        write("rate_limit: {interval: 1s, burst: 6}\n");
        assert!(matches!(listener.refresh(), Ok(true)));
        assert!(matches!(listener.refresh(), Ok(false)));
        let key = dir.path().join("key.pem");
        write("tls_server_config: {cert_file: cert.pem, key_file: key.pem}\n");
        assert!(matches!(listener.refresh(), Err(AppError::WebConfig(_))));
        // The files that it names are new, so they are looked at once more.
        assert!(listener.refresh().is_err());
        assert!(matches!(listener.refresh(), Ok(false)));
        std::fs::write(key, "no key").expect("a file");
        assert!(listener.refresh().is_err(), "a file that it names has changed");
        assert!(matches!(listener.refresh(), Ok(false)));
        assert!(listener.reload().is_err(), "who asks for it is told again");
        assert!(ListenerFile::load(Some(&path), Security::new(&Registry::new())).is_err());
        assert!(matches!(
            ListenerFile::load(None, Security::new(&Registry::new())).expect("none").refresh(),
            Ok(false)
        ));
    }
}
