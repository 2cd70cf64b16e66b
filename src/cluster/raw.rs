//! The samples of one member, under its own labels, as a store.
//!
//! They come by remote read, or by range selectors from servers that do not answer it. What the ways show differently is made
//! the same: external labels, which only remote read shows, are taken off; labels that tell replicas apart as well; and the
//! series of several replicas become one (see [`replicas`](super::replicas)).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::answer::QueryAnswer;
use super::config::{ExternalLabels, Via};
use super::explain::{self, Meter, Notes, Way};
use super::frontend::{Frontend, Reads, RemoteSamples, Source};
use super::hidden::Hidden;
use super::in_hand::{InHand, size_of};
use super::limits::Fetched;
use super::member::{Credentials, Member, MemberError};
use super::probe::{Capabilities, Flavour};
use super::question::{Question, in_braces};
use super::replicas;
use crate::model::{Annotations, Labels, STALE_NAN, TimestampMs};
use crate::runtime::Clock;
use crate::storage::{
    BoxedLatest, BoxedSeries, Cancelled, Chunk, ChunkBuilder, LabelRequest, LabelTexts, Nothing, QueryError, Queryable,
    Scope, SelectRequest, Selector, SeriesBatch, SeriesChunks, StreamStep, TimeRange, TimedValue, decode_values,
};

/// The last instant that range selectors are asked for: a window from 0 until then is about the longest that they can name, as
/// servers count in nanoseconds.
const LAST: TimestampMs = TimestampMs((i64::MAX / 1_000_000_000 - 2) * 1000);
/// Once a replica has answered the others have as long again, and at least this long.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// A member's samples, for one query.
pub(super) struct Raw<'q> {
    pub frontend: &'q Frontend,
    pub source: &'q Source,
    pub credentials: &'q Credentials,
    /// By when the member has to have answered.
    pub deadline: Instant,
    /// Counts the series.
    pub fetched: &'q Fetched,
    pub notes: &'q Notes,
}

/// What one replica has.
struct Share {
    series: Vec<SeriesChunks>,
    annotations: Annotations,
}

impl Raw<'_> {
    fn member(&self) -> &Member {
        &self.source.member
    }

    /// What all replicas have, as one.
    fn of_servers(
        &self,
        endpoints: &[Box<dyn RemoteSamples>],
        scope: &Scope,
        request: &SelectRequest<'_>,
    ) -> Result<InHand, QueryError> {
        let mut held = InHand::new(scope);
        let mut request = request.clone();
        if self.member().config().has_replicas() {
            let TimeRange { min, max } = &mut request.range;
            min.0 = min.0.saturating_sub(replicas::AROUND);
            max.0 = max.0.saturating_add(replicas::AROUND);
        }
        let until = request.range.max.0.min(Clock::system().now().0);
        let request = &request;
        let mut shares = match endpoints {
            [endpoint] => vec![self.of_server(0, &**endpoint, scope, request)?],
            _ => self.of_all(endpoints, scope, request, &mut held.annotations)?,
        };
        for share in &mut shares {
            held.annotations.merge(std::mem::take(&mut share.annotations));
        }
        // All of this is charged already, as streams charge what they hand on.
        let size = shares.iter().map(|share| size_of(&share.series)).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
        held.charged = size;
        held.put(merge(shares, until)?)?;
        Ok(held)
    }

    /// Reads all replicas at once. Who fails, or is much slower than another, is left out if another has answered.
    fn of_all(
        &self,
        endpoints: &[Box<dyn RemoteSamples>],
        scope: &Scope,
        request: &SelectRequest<'_>,
        annotations: &mut Annotations,
    ) -> Result<Vec<Share>, QueryError> {
        let stop = Arc::new(AtomicBool::new(false));
        let started = Instant::now();
        let mut answers: Vec<Option<Result<Share, QueryError>>> = endpoints.iter().map(|_| None).collect();
        let (sender, receiver) = mpsc::channel();
        std::thread::scope(|threads| {
            for (replica, endpoint) in endpoints.iter().enumerate() {
                let (sender, part) = (sender.clone(), scope.part(stop.clone()));
                let failed = sender.clone();
                let work = move || {
                    // Nobody needs the answer of who was too slow.
                    drop(sender.send((replica, self.of_server(replica, &**endpoint, &part, request))));
                };
                if let Err(error) = std::thread::Builder::new().spawn_scoped(threads, work) {
                    drop(failed.send((replica, Err(self.failed(format!("starting a thread: {error}"))))));
                }
            }
            drop(sender);
            let mut patience = None;
            loop {
                let answer = match patience {
                    None => receiver.recv().ok(),
                    Some(end) => receiver.recv_timeout(Instant::saturating_duration_since(&end, Instant::now())).ok(),
                };
                let Some((replica, answer)) = answer else { break };
                if answer.is_ok() && patience.is_none() {
                    patience = Instant::now().checked_add(PATIENCE.max(started.elapsed()));
                }
                answers[replica] = Some(answer);
            }
            stop.store(true, Ordering::Relaxed);
        });
        // Of those who came too late.
        for share in receiver.try_iter().filter_map(|(_, late)| late.ok()) {
            let (samples, bytes) = size_of(&share.series);
            scope.release(samples, bytes);
        }
        let (mut shares, mut failure) = (Vec::new(), None);
        for (replica, answer) in answers.into_iter().enumerate() {
            let why = match answer {
                Some(Ok(share)) => {
                    shares.push(share);
                    continue;
                }
                Some(Err(QueryError::Cancelled(cancelled))) => {
                    // Cancelled as a whole, or at a limit of all: nobody has an answer then.
                    scope.check()?;
                    return Err(cancelled.into());
                }
                Some(Err(error)) => error,
                None => self.failed("it is much slower than the others".to_owned()),
            };
            annotations.add(self.frontend.info(
                self.member(),
                format!("replica {} is left out, so that it fills no gaps of the others: {why}", replica + 1),
            ));
            failure = Some(why);
        }
        match failure {
            Some(failure) if shares.is_empty() => Err(failure),
            _ => Ok(shares),
        }
    }

    fn failed(&self, reason: String) -> QueryError {
        QueryError::Peer { peer: self.member().config().name.clone(), reason }
    }

    /// What one replica has, if it tells that in time. What a failed read has charged is given back.
    fn of_server(
        &self,
        replica: usize,
        endpoint: &dyn RemoteSamples,
        scope: &Scope,
        request: &SelectRequest<'_>,
    ) -> Result<Share, QueryError> {
        let own = scope.within_this(Some(self.deadline));
        let share = self.try_of_server(replica, endpoint, &own, request).and_then(|share| {
            self.fetched.add(share.series.len())?;
            Ok(share)
        });
        match share {
            Ok(_) => own.keep(),
            // It is late, and not the query.
            Err(QueryError::Cancelled(Cancelled::Deadline)) => {
                scope.check()?;
                return Err(self.failed("it did not answer in time".to_owned()));
            }
            Err(_) => {}
        }
        share
    }

    fn try_of_server(
        &self,
        replica: usize,
        endpoint: &dyn RemoteSamples,
        scope: &Scope,
        request: &SelectRequest<'_>,
    ) -> Result<Share, QueryError> {
        let config = self.member().config();
        let note = |way, selectors: &[Selector]| {
            let number = (config.urls.len() > 1).then_some(replica + 1);
            self.notes.ask(&config.name, number, way, || shown(selectors))
        };
        let known = self.known(replica, scope).inspect_err(|error| {
            let way = if config.via == Via::Query { Way::Query } else { Way::RemoteRead };
            note(way, request.selectors).end(|| explain::Outcome::failed(error));
        })?;
        let by_query = self.is_by_query(&known);
        let is_dropped = config.external_labels == ExternalLabels::Drop && !by_query;
        let external = if is_dropped { known.external.clone() } else { Labels::empty() };
        let hidden = Hidden { external, replica: &config.replica_labels };
        let selectors: Vec<Selector> = request.selectors.iter().filter_map(|s| hidden.withheld(s)).collect();
        let mut share = Share { series: Vec::new(), annotations: Annotations::none() };
        if selectors.is_empty() {
            return Ok(share);
        }
        let asked = SelectRequest { selectors: &selectors, sorted: false, limit: None, ..request.clone() };
        let way = if by_query { Way::Query } else { Way::RemoteRead };
        let noted = note(way, &selectors);
        let read = match by_query {
            true => self.by_query(replica, known.flavour, scope, &asked, noted.meter(), &mut share),
            false => self.by_remote_read(endpoint, scope, &asked, noted.meter(), &mut share),
        };
        noted.end(|| explain::Outcome {
            size: Some((share.series.len() as u64, size_of(&share.series).0)),
            error: read.as_ref().err().map(ToString::to_string),
            ..explain::Outcome::default()
        });
        read?;
        if hidden.is_any() {
            hidden.hide(&mut share.series);
            // What was withheld from the server is decided here.
            let meets = |series: &SeriesChunks, s: &Selector| s.iter().all(|m| m.matches_labels(series.labels.iter()));
            let (kept, gone): (Vec<_>, Vec<_>) =
                share.series.drain(..).partition(|series| request.selectors.iter().any(|s| meets(series, s)));
            let (samples, bytes) = size_of(&gone);
            scope.release(samples, bytes);
            share.series = kept;
        }
        Ok(share)
    }

    /// Whether reading does not show where series end. Waits for the member's first answer if it has not been asked.
    pub(super) fn hides_ends(&self, scope: &Scope) -> Result<bool, QueryError> {
        if let Reads::Local(_) = self.source.reads {
            return Ok(false);
        }
        let known = self.known_of_any(scope)?;
        Ok(self.is_by_query(&known) && known.flavour != Flavour::VictoriaMetrics)
    }

    /// Whether samples are read by range selectors.
    fn is_by_query(&self, known: &Capabilities) -> bool {
        let config = self.member().config();
        match config.via {
            Via::Query => true,
            Via::RemoteRead => false,
            Via::Auto | Via::Pushdown => !known.has_remote_read && config.external_labels == ExternalLabels::Drop,
        }
    }

    /// What a replica can do. Waits for its answer if it has not been asked.
    fn known(&self, replica: usize, scope: &Scope) -> Result<Arc<Capabilities>, QueryError> {
        let (member, credentials, deadline) = (self.source.member.clone(), self.credentials.clone(), self.deadline);
        if let Some(known) = member.freshly_known(replica) {
            return Ok(known);
        }
        self.wait_for(async move { member.capabilities(replica, &credentials, deadline).await }, scope)
    }

    /// What some replica can do: the first that tells it, so that one that is down or hangs takes nothing from the others.
    fn known_of_any(&self, scope: &Scope) -> Result<Arc<Capabilities>, QueryError> {
        let (member, credentials, deadline) = (self.source.member.clone(), self.credentials.clone(), self.deadline);
        if let Some(known) = member.any_freshly_known() {
            return Ok(known);
        }
        self.wait_for(async move { member.any_capabilities(&credentials, deadline).await }, scope)
    }

    fn wait_for<T: Send + 'static>(
        &self,
        asked: impl Future<Output = Result<T, MemberError>> + Send + 'static,
        scope: &Scope,
    ) -> Result<T, QueryError> {
        self.frontend.wait(self.frontend.begin(asked), scope)?.map_err(|error| self.failed(error.to_string()))
    }

    fn by_remote_read(
        &self,
        endpoint: &dyn RemoteSamples,
        scope: &Scope,
        request: &SelectRequest<'_>,
        meter: Option<Meter>,
        share: &mut Share,
    ) -> Result<(), QueryError> {
        let samples = endpoint.asked(Arc::new(self.member().headers(self.credentials)), meter);
        let mut stream = samples.select(scope, request)?;
        let mut batch = SeriesBatch::default();
        loop {
            match stream.next(&mut batch)? {
                StreamStep::Batch => share.series.append(&mut batch.series),
                StreamStep::End(end) => {
                    share.annotations.merge(end.annotations);
                    return Ok(());
                }
            }
        }
    }

    fn by_query(
        &self,
        replica: usize,
        flavour: Flavour,
        scope: &Scope,
        request: &SelectRequest<'_>,
        meter: Option<Meter>,
        share: &mut Share,
    ) -> Result<(), QueryError> {
        // No server has samples of other times, and some refuse to be asked for them.
        let range = TimeRange { min: request.range.min.max(TimestampMs(0)), max: request.range.max.min(LAST) };
        if range.min > range.max {
            return Ok(());
        }
        let asked = request.selectors.iter().map(|selector| {
            let question = Question::samples(selector, range).metered(meter.clone());
            let (member, errand) = (self.source.member.clone(), self.frontend.errand(self.credentials, scope));
            self.frontend.begin(async move { member.ask_replica(replica, &question, &errand).await })
        });
        let asked: Vec<_> = asked.collect();
        let mut found: BTreeMap<Labels, SeriesChunks> = BTreeMap::new();
        for answer in asked {
            let answer: Result<QueryAnswer, MemberError> = self.frontend.wait(answer, scope)?;
            let answer = answer.map_err(|error| match error {
                MemberError::Ended(cancelled) => cancelled.into(),
                error => self.failed(error.to_string()),
            })?;
            if answer.has_histograms {
                let why = "it has native histograms, which are read by remote read only";
                return Err(self.failed(why.to_owned()));
            }
            for warning in answer.warnings {
                share.annotations.add(self.frontend.warning(self.member(), warning));
            }
            for series in answer.series {
                let chunks = encode(&series.floats, range.min, flavour);
                if chunks.is_empty() {
                    continue;
                }
                found.entry(series.labels.clone()).or_insert(SeriesChunks { labels: series.labels, chunks });
            }
        }
        share.series.extend(found.into_values());
        let (samples, bytes) = size_of(&share.series);
        Ok(scope.charge(samples, bytes)?)
    }
}

impl Queryable for Raw<'_> {
    fn select(&self, scope: &Scope, request: &SelectRequest<'_>) -> Result<BoxedSeries<'_>, QueryError> {
        let bounds = self.source.range();
        let range = TimeRange { min: request.range.min.max(bounds.min), max: request.range.max.min(bounds.max) };
        if range.min > range.max {
            return Ok(Box::new(Nothing::default()));
        }
        let request = SelectRequest { range, ..request.clone() };
        match &self.source.reads {
            Reads::Local(store) => {
                let noted = self.notes.ask(&self.member().config().name, None, Way::Local, || shown(request.selectors));
                noted.end(explain::Outcome::default);
                store.select(scope, &request)
            }
            Reads::Remote(endpoints) => Ok(Box::new(self.of_servers(endpoints, scope, &request)?)),
        }
    }

    fn select_latest(&self, _: &Scope, _: &SelectRequest<'_>) -> Result<BoxedLatest<'_>, QueryError> {
        Err(QueryError::NotReady("the newest samples of a member are those of the whole cluster".to_owned()))
    }

    fn label_names(&self, _: &Scope, _: &LabelRequest<'_>) -> Result<LabelTexts, QueryError> {
        Err(QueryError::NotReady("labels of a member are lists of their own".to_owned()))
    }

    fn label_values(&self, _: &Scope, _: &str, _: &LabelRequest<'_>) -> Result<LabelTexts, QueryError> {
        Err(QueryError::NotReady("labels of a member are lists of their own".to_owned()))
    }
}

fn shown(selectors: &[Selector]) -> String {
    selectors.iter().map(in_braces).collect::<Vec<_>>().join(" or ")
}

/// Floats from `min` on as chunks. A `NaN` of VictoriaMetrics is the end of a series: it keeps no others.
fn encode(floats: &[(TimestampMs, f64)], min: TimestampMs, flavour: Flavour) -> Vec<Chunk> {
    let mut builder = ChunkBuilder::new();
    let mut last = TimestampMs(min.0.saturating_sub(1));
    for (t, v) in floats {
        // Times that do not ascend are none that a server of samples has.
        if *t <= last {
            continue;
        }
        last = *t;
        let is_end = flavour == Flavour::VictoriaMetrics && v.is_nan();
        builder.push_float(*t, TimestampMs(0), if is_end { STALE_NAN } else { *v });
    }
    builder.finish()
}

/// Puts what replicas have together.
fn merge(shares: Vec<Share>, until: i64) -> Result<Vec<SeriesChunks>, QueryError> {
    let mut found: BTreeMap<Labels, Vec<Vec<Chunk>>> = BTreeMap::new();
    for series in shares.into_iter().flat_map(|share| share.series) {
        found.entry(series.labels).or_default().push(series.chunks);
    }
    let one = |(labels, mut chunks): (Labels, Vec<Vec<Chunk>>)| {
        let chunks = match chunks.len() {
            1 => chunks.swap_remove(0),
            _ => merge_series(&chunks, until).map_err(|reason| QueryError::Corrupt {
                path: labels.to_string(),
                offset: 0,
                reason,
            })?,
        };
        Ok(SeriesChunks { labels, chunks })
    };
    found.into_iter().map(one).collect()
}

fn merge_series(replicas: &[Vec<Chunk>], until: i64) -> Result<Vec<Chunk>, String> {
    let mut decoded = Vec::with_capacity(replicas.len());
    for chunks in replicas {
        let mut samples: Vec<TimedValue> = Vec::new();
        for chunk in chunks {
            decode_values(chunk, &mut samples).map_err(|e| e.to_string())?;
        }
        decoded.push(samples);
    }
    let mut builder = ChunkBuilder::new();
    for sample in replicas::merge(decoded, until) {
        builder.push(sample.t, sample.start, &sample.value).map_err(|e| e.to_string())?;
    }
    Ok(builder.finish())
}
