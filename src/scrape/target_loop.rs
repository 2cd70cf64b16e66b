//! One target's loop: when it is scraped, and what becomes of what came.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::cache::Cache;
use super::fetch::{FetchError, FetchInfo, FetchRequest};
use super::ingest::{Counts, Ingest, IngestError, IngestOptions};
use super::job::{Env, Job};
use super::metrics::Reason;
use super::report::{ReportValues, append_report, append_report_end};
use super::sample_rules::SampleRules;
use super::status::{TargetHealth, TargetStatus};
use super::target::Target;
use crate::exposition::choose_format;
use crate::model::{DurationMs, Labels, TimestampMs};
use crate::runtime::PoolError;
use crate::storage::{AppendError, AppendReport, Appender, SeriesRef};

/// Larger bodies are worked off on the CPU pool: they take longer than an async thread should be held.
const INLINE_BYTES: usize = 64 * 1024;
/// Scrapes that are late by no more than this, or by a hundredth of the interval if that is less, get the timestamp at
/// which they were due: regular timestamps compress better.
const TOLERANCE_MS: i64 = 2;
/// A target complains about refused samples at most this often.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);
/// Samples further than this from now are in no answer to an instant query: it is how far these look back.
const CLOCK_TOLERANCE_MS: i64 = 5 * 60 * 1000;
/// A target whose clock seems wrong is told about at most this often.
const TELL_CLOCK_EVERY: Duration = Duration::from_secs(10 * 60);

/// Bytes of the longest sentence about a failure: it may repeat what the target said, is kept for each target, and goes
/// to logs, pages and the API.
const SENTENCE_MAX: usize = 1000;

/// How the last scrape went.
#[derive(Clone, Debug, Default)]
pub(super) struct LastScrape {
    health: TargetHealth,
    error: String,
    at: Option<TimestampMs>,
    duration_s: f64,
    samples: u64,
    body_bytes: u64,
}

/// What a loop leaves to the one that takes over its target after a reload.
#[derive(Clone)]
pub(super) struct Heritage {
    pub(super) last: Arc<Mutex<LastScrape>>,
    /// Only if both configurations make the same series of the same body.
    pub(super) cache: Option<Arc<Mutex<Cache>>>,
    /// Completes when the loop before scrapes no more.
    pub(super) stopped: CancellationToken,
}

/// The loop of one target.
pub(super) struct TargetLoop {
    env: Arc<Env>,
    job: Arc<Job>,
    target: Target,
    request: FetchRequest,
    rules: SampleRules,
    discovered: Mutex<Labels>,
    last: Arc<Mutex<LastScrape>>,
    cache: Arc<Mutex<Cache>>,
    /// Fails every scrape before it is sent.
    forced_error: Mutex<Option<Arc<str>>>,
    stop: CancellationToken,
    stopped: CancellationToken,
    /// Set when somebody else goes on with the series.
    no_end_markers: AtomicBool,
    complained: Pause,
    told_clock: Pause,
}

/// Why a scrape failed.
struct Failure {
    reason: Reason,
    sentence: String,
}

impl Failure {
    fn new(reason: Reason, error: &dyn std::fmt::Display) -> Failure {
        let mut sentence = error.to_string();
        if sentence.len() > SENTENCE_MAX {
            sentence.truncate(sentence.floor_char_boundary(SENTENCE_MAX));
            sentence.push_str("...");
        }
        Failure { reason, sentence }
    }
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Failure {
        let reason = match error {
            FetchError::Timeout(_) => Reason::Timeout,
            FetchError::BodySizeLimit => Reason::BodySizeLimit,
            FetchError::Status(_) => Reason::Status,
            FetchError::Transfer(_) | FetchError::Stopped => Reason::Transfer,
        };
        Failure::new(reason, &error)
    }
}

impl From<IngestError> for Failure {
    fn from(error: IngestError) -> Failure {
        let reason = match &error {
            IngestError::Parse(_) | IngestError::Message(_) | IngestError::Key(_) | IngestError::Histogram(_) => {
                Reason::Parse
            }
            IngestError::BucketLimit => Reason::BucketLimit,
            IngestError::Labels(e) if e.is_limit() => Reason::LabelLimit,
            IngestError::Labels(_) => Reason::Labels,
            IngestError::SampleLimit => Reason::SampleLimit,
            IngestError::Append(_) => Reason::Storage,
        };
        Failure::new(reason, &error)
    }
}

/// A scrape between its answer and its place in the storage.
struct Scrape {
    t: TimestampMs,
    started: Instant,
    body: Vec<u8>,
    outcome: Result<FetchInfo, Failure>,
}

impl TargetLoop {
    pub(super) fn new(
        env: Arc<Env>,
        job: Arc<Job>,
        target: Target,
        discovered: Labels,
        heritage: Option<&Heritage>,
    ) -> TargetLoop {
        let request = FetchRequest {
            url: target.url.clone(),
            accept: job.accept.clone(),
            compression: job.config.enable_compression,
            timeout: target.timeout.to_std(),
            body_size_limit: job.config.body_size_limit,
        };
        let cache = heritage.and_then(|h| h.cache.clone());
        TargetLoop {
            rules: SampleRules::new(&job.config, job.sample_rules.clone(), target.labels.clone()),
            cache: cache.unwrap_or_else(|| Arc::new(Mutex::new(Cache::new(job.texts.clone())))),
            last: heritage.map(|h| h.last.clone()).unwrap_or_default(),
            stop: env.tasks.stopping().child_token(),
            env,
            job,
            target,
            request,
            discovered: Mutex::new(discovered),
            forced_error: Mutex::new(None),
            stopped: CancellationToken::new(),
            no_end_markers: AtomicBool::new(false),
            complained: Pause::default(),
            told_clock: Pause::default(),
        }
    }

    /// Labels that the series carry.
    pub(super) fn labels(&self) -> &Labels {
        &self.target.labels
    }

    pub(super) fn set_discovered(&self, labels: Labels) {
        *self.discovered.lock() = labels;
    }

    pub(super) fn force_error(&self, error: Option<Arc<str>>) {
        *self.forced_error.lock() = error;
    }

    /// Tells the loop to scrape no more. What is under way comes to its end.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// What a successor takes over; `same_series` says whether it makes the same series of the same body.
    pub(super) fn bequeath(&self, same_series: bool) -> Heritage {
        if same_series {
            self.no_end_markers.store(true, Ordering::Relaxed);
        }
        let cache = same_series.then(|| self.cache.clone());
        Heritage { last: self.last.clone(), cache, stopped: self.stopped.clone() }
    }

    pub(super) fn status(&self) -> TargetStatus {
        let last = self.last.lock().clone();
        TargetStatus {
            scrape_pool: self.job.config.name.clone(),
            discovered_labels: self.discovered.lock().clone(),
            labels: self.target.labels.clone(),
            scrape_url: self.target.url.clone(),
            health: last.health,
            last_error: last.error,
            last_scrape: last.at,
            last_scrape_duration_s: last.duration_s,
            interval: self.target.interval,
            timeout: self.target.timeout,
            last_samples: last.samples,
            last_body_bytes: last.body_bytes,
        }
    }

    pub(super) fn metadata(&self, metric: Option<&str>) -> Vec<(String, crate::model::Metadata)> {
        self.cache.lock().families.list(metric)
    }

    pub(super) fn family(&self, name: &str) -> Option<crate::model::Metadata> {
        self.cache.lock().families.get(name)
    }

    /// As [`family`](TargetLoop::family), but `None` if that had to wait for a scrape.
    pub(super) fn try_family(&self, name: &str) -> Option<Option<crate::model::Metadata>> {
        Some(self.cache.try_lock()?.families.get(name))
    }

    #[cfg(test)]
    pub(super) fn cache(&self) -> Arc<Mutex<Cache>> {
        self.cache.clone()
    }

    /// The loop itself. It begins when `after` has ended.
    pub(super) async fn run(self: Arc<Self>, after: Option<CancellationToken>) {
        if let Some(stopped) = after {
            stopped.cancelled().await;
        }
        let mut ticks = None;
        let offset = self.target.offset(self.env.offset_seed, self.env.clock.now());
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = tokio::time::sleep(offset.to_std()) => {
                let period = self.target.interval.to_std();
                let mut interval = tokio::time::interval_at(Instant::now() + period, period);
                interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
                self.scrape_until_stopped(&mut interval).await;
                ticks = Some(interval);
            }
        }
        self.stopped.cancel();
        // Without a first scrape there is nothing to end.
        if let Some(ticks) = ticks {
            self.end_series(ticks).await;
        }
    }

    async fn scrape_until_stopped(self: &Arc<Self>, ticks: &mut Interval) {
        let mut due = self.env.clock.now();
        let mut before: Option<Instant> = None;
        while !self.stop.is_cancelled() {
            let t = align(&mut due, self.env.clock.now(), self.target.interval);
            let started = Instant::now();
            if let Some(before) = before {
                self.job.metrics.interval_seconds.observe(started.duration_since(before).as_secs_f64());
            }
            before = Some(started);
            self.scrape(t, started).await;
            tokio::select! {
                () = self.stop.cancelled() => {}
                _ = ticks.tick() => {}
            }
        }
    }

    /// After the last scrape: the target may come back as another loop, so its series end only after more than two
    /// intervals, at the time when the next scrape would have been. If the whole process stops they do not end at all:
    /// it will go on where it was.
    async fn end_series(self: &Arc<Self>, mut ticks: Interval) {
        let shutdown = self.env.tasks.stopping();
        let wait = async {
            ticks.tick().await;
            let at = self.env.clock.now();
            ticks.tick().await;
            tokio::time::sleep(ticks.period() / 10).await;
            at
        };
        let at = tokio::select! {
            () = shutdown.cancelled() => return,
            at = wait => at,
        };
        if self.no_end_markers.load(Ordering::Relaxed) {
            return;
        }
        let this = self.clone();
        let work = move || {
            if let Err(error) = this.write_end(at) {
                tracing::warn!(job = this.job.config.name, target = this.target.url, %error, "ending series failed");
            }
        };
        if let Err(error) = self.env.pool.run(work).await {
            tracing::warn!(job = self.job.config.name, target = self.target.url, %error, "ending series failed");
        }
    }

    async fn scrape(self: &Arc<Self>, t: TimestampMs, started: Instant) {
        let mut body = self.env.bodies.take();
        let forced = self.forced_error.lock().clone();
        let outcome = match forced {
            Some(sentence) => Err(Failure::new(Reason::TargetLimit, &sentence)),
            None => self.fetch(&mut body).await.map_err(Failure::from),
        };
        if outcome.is_err() {
            body.clear();
        }
        let inline = body.len() <= INLINE_BYTES;
        let scrape = Scrape { t, started, body, outcome };
        let body = if inline {
            self.deliver(scrape)
        } else {
            let this = self.clone();
            match self.env.pool.run(move || this.deliver(scrape)).await {
                Ok(body) => body,
                Err(PoolError::Panicked) => {
                    // A walk that ended in the middle leaves marks that would mislead the next one.
                    *self.cache.lock() = Cache::new(self.job.texts.clone());
                    Vec::new()
                }
                Err(PoolError::Stopped) => Vec::new(),
            }
        };
        self.env.bodies.give_back(body);
    }

    async fn fetch(&self, body: &mut Vec<u8>) -> Result<FetchInfo, FetchError> {
        let timeout = self.request.timeout;
        tokio::select! {
            () = self.env.cut.cancelled() => Err(FetchError::Stopped),
            fetched = tokio::time::timeout(timeout, self.job.fetcher.fetch(&self.request, body)) => {
                fetched.unwrap_or(Err(FetchError::Timeout(timeout)))
            }
        }
    }

    /// Stores a scrape and its report in one batch, and gives the body's memory back.
    fn deliver(&self, scrape: Scrape) -> Vec<u8> {
        let Scrape { t, started, body, outcome } = scrape;
        let mut cache = self.cache.lock();
        let body_bytes = match &outcome {
            Ok(_) => body.len() as f64,
            Err(failure) if failure.reason == Reason::BodySizeLimit => -1.0,
            Err(_) => 0.0,
        };
        if let Ok(info) = &outcome {
            self.job.metrics.wire_bytes.add(info.wire_bytes);
            self.job.metrics.body_bytes.add(body.len() as u64);
        }
        let fetch_failed = outcome.is_err();
        let (mut appender, counts, failure) = match outcome {
            Ok(info) if !body.is_empty() => self.ingest(&mut cache, &body, &info.content_type, t),
            outcome => (self.only_ends(&mut cache, &[], t), Counts::default(), outcome.err()),
        };
        let duration_s = started.elapsed().as_secs_f64();
        let values = ReportValues {
            up: failure.is_none(),
            duration_s,
            scraped: counts.scraped,
            after_relabelling: counts.after_relabelling,
            series_added: counts.series_added,
            extra: self.job.config.extra_scrape_metrics.then_some((
                self.target.timeout,
                self.job.config.sample_limit.unwrap_or(0),
                body_bytes,
            )),
        };
        let reported = append_report(&mut *appender, &mut cache.report, &self.rules, &values, t);
        let committed = reported.and_then(|()| appender.commit());
        drop(cache);
        let failure = self.settle(committed, &counts, failure);
        if let Some(failure) = &failure
            && fetch_failed
            && failure.reason != Reason::TargetLimit
            && let Some(log) = &self.job.failure_log
        {
            log.write(self.env.clock.now(), &self.job.config.name, &self.target.url, &failure.sentence);
        }
        *self.last.lock() = LastScrape {
            health: if failure.is_none() { TargetHealth::Up } else { TargetHealth::Down },
            error: failure.map(|f| f.sentence).unwrap_or_default(),
            at: Some(t),
            duration_s,
            samples: counts.scraped,
            body_bytes: body.len() as u64,
        };
        body
    }

    /// Appends a body, or, if it cannot be used, only the ends of the series that were there before.
    fn ingest<'s>(
        &'s self,
        cache: &mut Cache,
        body: &[u8],
        content_type: &str,
        t: TimestampMs,
    ) -> (Box<dyn Appender + 's>, Counts, Option<Failure>) {
        let media = match choose_format(content_type, self.job.fallback) {
            Ok(media) => media,
            Err(error) => {
                let failure = Failure::new(Reason::ContentType, &error);
                return (self.only_ends(cache, &[], t), Counts::default(), Some(failure));
            }
        };
        let mut appender = self.env.storage.appender();
        let options = IngestOptions::new(&self.job.config, self.target.histograms);
        let now = self.env.clock.now();
        let mut ingest = Ingest::new(cache, &mut *appender, &self.rules, options, t, now);
        let mut result = ingest.body(body, media);
        let (counts, untracked) = (ingest.counts, std::mem::take(&mut ingest.untracked));
        if result.is_ok() {
            let ended = cache.ended(&untracked);
            result = append_ends(&mut *appender, &ended, t).map_err(IngestError::from);
        }
        match result {
            Ok(()) => {
                cache.end_success();
                if let Some(newest) = counts.newest_own {
                    self.judge_clock(now.since(newest));
                }
                (appender, counts, None)
            }
            Err(error) => {
                drop(appender);
                (self.only_ends(cache, &untracked, t), counts, Some(error.into()))
            }
        }
    }

    /// A batch for a scrape that brought nothing: what was there before ends, as far as this scrape has not shown it.
    fn only_ends<'s>(&'s self, cache: &mut Cache, untracked: &[SeriesRef], t: TimestampMs) -> Box<dyn Appender + 's> {
        let mut appender = self.env.storage.appender();
        let ended = cache.ended(untracked);
        if let Err(error) = append_ends(&mut *appender, &ended, t) {
            tracing::warn!(job = self.job.config.name, target = self.target.url, %error, "ending series failed");
            drop(appender);
            appender = self.env.storage.appender();
        }
        cache.end_failure();
        appender
    }

    /// The end of the loop's series and of its report.
    fn write_end(&self, t: TimestampMs) -> Result<(), AppendError> {
        let mut cache = self.cache.lock();
        let mut appender = self.env.storage.appender();
        let ended = cache.ended(&[]);
        cache.end_failure();
        append_ends(&mut *appender, &ended, t)?;
        append_report_end(&mut *appender, &cache.report, t)?;
        // Markers of series that have gone on elsewhere are refused; that is as it should be.
        appender.commit().map(drop)
    }

    /// Counts what happened and says what the scrape's failure is, now that everything is known.
    fn settle(
        &self,
        committed: Result<AppendReport, AppendError>,
        counts: &Counts,
        failure: Option<Failure>,
    ) -> Option<Failure> {
        let metrics = &self.job.metrics;
        metrics.scrapes.inc();
        metrics.samples.add(counts.scraped);
        let failure = match committed {
            Ok(mut report) => {
                report.refused.too_far_in_future += counts.too_far_ahead;
                metrics.refuse(&report.refused, counts.repeated);
                self.complain(&report, counts);
                failure
            }
            Err(error) => {
                tracing::error!(job = self.job.config.name, target = self.target.url, %error, "storing a scrape failed");
                Some(Failure::new(Reason::Storage, &format_args!("storing the scrape: {error}")))
            }
        };
        if let Some(failure) = &failure {
            metrics.fail(failure.reason);
            let (job, target, error) = (&self.job.config.name, &self.target.url, &failure.sentence);
            tracing::debug!(job, target, error, "scrape failed");
        }
        failure
    }

    /// A target with a wrong clock looks healthy in everything else: its samples are kept, and nobody sees them.
    fn judge_clock(&self, age_ms: i64) {
        self.job.metrics.newest_age(age_ms);
        if age_ms.saturating_abs() <= CLOCK_TOLERANCE_MS || !self.told_clock.is_over(TELL_CLOCK_EVERY) {
            return;
        }
        let side = if age_ms > 0 { "behind" } else { "ahead of" };
        tracing::warn!(
            job = self.job.config.name,
            target = self.target.url,
            "the newest timestamp in all that this target sent is {} s {side} the clock here, so that they do not \
             show in /federate and instant queries: check the clock of the target and the one of this machine, \
             and whether the target itself still scrapes; this is told every 10 minutes while it lasts",
            age_ms.saturating_abs() / 1000,
        );
    }

    fn complain(&self, report: &AppendReport, counts: &Counts) {
        let refused = &report.refused;
        if refused.total() + counts.repeated == 0 || !self.complained.is_over(COMPLAIN_EVERY) {
            return;
        }
        tracing::warn!(
            job = self.job.config.name,
            target = self.target.url,
            out_of_order = refused.out_of_order,
            duplicate_timestamp = refused.duplicate_timestamp,
            too_old = refused.too_old,
            too_far_in_future = refused.too_far_in_future,
            repeated_in_body = counts.repeated,
            "samples of the last scrape were not kept; this is told once a minute"
        );
    }
}

/// The time since something was told last. It counts by timers: the wall clock may step back.
#[derive(Default)]
struct Pause(Mutex<Option<Instant>>);

impl Pause {
    /// Whether it has lasted; the next one begins then.
    fn is_over(&self, pause: Duration) -> bool {
        let mut told = self.0.lock();
        let over = told.is_none_or(|at| at.elapsed() >= pause);
        if over {
            *told = Some(Instant::now());
        }
        over
    }
}

fn append_ends(appender: &mut dyn Appender, ended: &[SeriesRef], t: TimestampMs) -> Result<(), AppendError> {
    if !ended.is_empty() {
        // A series that the store has forgotten needs no end.
        appender.append_stale(ended, t)?;
    }
    Ok(())
}

/// The timestamp of a scrape that begins `now`; `due` is when the one before was due. A clock that was set back by more
/// than an interval begins anew: waiting for it to come back would give every scrape until then the same timestamp.
fn align(due: &mut TimestampMs, now: TimestampMs, interval: DurationMs) -> TimestampMs {
    if due.since(now) > interval.0 {
        *due = now;
    }
    let missed = now.since(*due) / interval.0.max(1);
    if missed > 0 {
        due.0 += missed * interval.0;
    }
    let tolerance = (interval.0 / 100).min(TOLERANCE_MS);
    if now.since(*due) <= tolerance { *due } else { now }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_aligned_within_the_tolerance() {
        let interval = DurationMs::from_secs(15);
        let mut due = TimestampMs(1000);
        for (now, t) in [(1000, 1000), (16_001, 16_000), (31_002, 31_000), (46_003, 46_003), (91_001, 91_000)] {
            assert_eq!(align(&mut due, TimestampMs(now), interval), TimestampMs(t), "at {now}");
        }
        let mut due = TimestampMs(0);
        assert_eq!(align(&mut due, TimestampMs(101), DurationMs(100)), TimestampMs(100));
        assert_eq!(align(&mut due, TimestampMs(202), DurationMs(100)), TimestampMs(202));
    }

    #[test]
    fn a_clock_that_steps_back_does_not_freeze_the_timestamps() {
        let interval = DurationMs::from_secs(15);
        let mut due = TimestampMs(3_600_000);
        for (now, t) in [(1000, 1000), (16_001, 16_000), (31_050, 31_050)] {
            assert_eq!(align(&mut due, TimestampMs(now), interval), TimestampMs(t), "at {now}");
        }
        // A small step is no reason to leave the rhythm.
        let mut due = TimestampMs(20_000);
        assert_eq!(align(&mut due, TimestampMs(19_000), interval), TimestampMs(20_000));
    }
}
