//! The addresses behind a name: who is next, who is out, who is back.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backend_url::BackendUrl;
use super::dns::{self, Resolved};
use super::metrics::{BackendMetrics, Exchange};
use crate::runtime::Tasks;
use crate::telemetry::Counter;

/// So many requests in a row must break off or get no answer, or what is none, before an address is taken out. One that cannot be
/// connected to is taken out at once.
const FAULTS_MAX: u32 = 3;
/// The first probe of an address that was taken out, and the longest pause between probes.
const PROBE_FIRST: Duration = Duration::from_millis(250);
const PROBE_LAST: Duration = Duration::from_secs(15);
/// Failures ask for the addresses anew, but not more often than this.
const RESOLVE_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause after failures to resolve.
const RESOLVE_PAUSE_MAX: Duration = Duration::from_secs(30);

/// How an address is talked to.
pub(super) trait Link: Send + Sync + 'static {
    /// Connects ahead of requests; says whether the address can be connected to.
    fn probe(&self, address: SocketAddr) -> impl Future<Output = io::Result<()>> + Send;
}

/// One address.
pub(super) struct Endpoint<L> {
    pub(super) address: SocketAddr,
    pub(super) link: L,
    pub(super) requests: Counter,
    is_down: AtomicBool,
    faults: AtomicU32,
    /// Times in a row that it was taken out.
    ejected: AtomicU32,
    /// Cancelled when the name stands for it no more.
    gone: CancellationToken,
}

type Shared<L> = Arc<Endpoint<L>>;

/// All addresses, and those that get requests.
struct Rotation<L> {
    all: Vec<Shared<L>>,
    live: Vec<Shared<L>>,
}

/// When addresses join the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Join {
    /// At once; they are connected to when a request comes.
    AtOnce,
    /// Once they are connected to.
    Connected,
}

/// Hands requests out to the addresses in turn. Clones share it.
pub(super) struct Balancer<L>(Arc<Inner<L>>);

impl<L> Clone for Balancer<L> {
    fn clone(&self) -> Balancer<L> {
        Balancer(self.0.clone())
    }
}

struct Inner<L> {
    url: BackendUrl,
    join: Join,
    make: Box<dyn Fn(SocketAddr) -> L + Send + Sync>,
    rotation: ArcSwap<Rotation<L>>,
    /// Held while the rotation is replaced.
    changing: Mutex<()>,
    turn: AtomicUsize,
    /// Becomes true with the first answer or failure of the resolver.
    asked: watch::Sender<bool>,
    /// Asks for the addresses anew.
    doubt: Notify,
    tasks: Tasks,
    metrics: Arc<BackendMetrics>,
}

impl<L: Link> Balancer<L> {
    /// Begins to resolve. `tasks` end it.
    pub(super) fn new(
        url: BackendUrl,
        join: Join,
        tasks: &Tasks,
        metrics: Arc<BackendMetrics>,
        make: impl Fn(SocketAddr) -> L + Send + Sync + 'static,
    ) -> Balancer<L> {
        let balancer = Balancer::unresolved(url, join, tasks, metrics, make);
        let (resolving, stop) = (balancer.clone(), tasks.stopping());
        tasks.spawn("gateway-resolve", async move {
            stop.run_until_cancelled(resolving.keep_resolving()).await;
        });
        balancer
    }

    /// Without addresses, and without looking for any.
    fn unresolved(
        url: BackendUrl,
        join: Join,
        tasks: &Tasks,
        metrics: Arc<BackendMetrics>,
        make: impl Fn(SocketAddr) -> L + Send + Sync + 'static,
    ) -> Balancer<L> {
        Balancer(Arc::new(Inner {
            url,
            join,
            make: Box::new(make),
            rotation: ArcSwap::from_pointee(Rotation { all: Vec::new(), live: Vec::new() }),
            changing: Mutex::default(),
            // Many gateways that start together shall not all begin with the same address.
            turn: AtomicUsize::new(usize::try_from(RandomState::new().hash_one(0) >> 40).unwrap_or(0)),
            asked: watch::Sender::new(false),
            doubt: Notify::new(),
            tasks: tasks.clone(),
            metrics,
        }))
    }

    /// Waits until it is known whether there are addresses, at most until `deadline`.
    pub(super) async fn known(&self, deadline: Instant) {
        if !self.0.rotation.load().all.is_empty() {
            return;
        }
        let mut asked = self.0.asked.subscribe();
        // Late or never, the caller finds no addresses.
        drop(tokio::time::timeout_at(deadline, asked.wait_for(|asked| *asked)).await);
    }

    /// Whose turn it is among those that were not `tried` yet. If all are out, all are: then nobody knows better than
    /// the next request.
    pub(super) fn next(&self, tried: &[SocketAddr]) -> Option<Shared<L>> {
        let rotation = self.0.rotation.load();
        let list = if rotation.live.is_empty() { &rotation.all } else { &rotation.live };
        let is_new = |endpoint: &&Shared<L>| !tried.contains(&endpoint.address);
        let turn = || self.0.turn.fetch_add(1, Ordering::Relaxed).checked_rem(list.len()).and_then(|at| list.get(at));
        let in_turn = list.iter().filter_map(|_| turn()).find(is_new);
        // Others take turns meanwhile, so all of ours can have been those of addresses that were tried.
        let endpoint = in_turn.or_else(|| list.iter().find(is_new))?;
        endpoint.requests.inc();
        Some(endpoint.clone())
    }

    /// The addresses that one request is tried at, up to `retries` after the first.
    pub(super) fn round(&self, retries: u32) -> Round<'_, L> {
        Round { balancer: self, left: u64::from(retries) + 1, tried: Vec::new() }
    }

    /// An address has answered.
    pub(super) fn answered(&self, endpoint: &Shared<L>) {
        if endpoint.faults.load(Ordering::Relaxed) != 0 {
            endpoint.faults.store(0, Ordering::Relaxed);
        }
        if endpoint.ejected.load(Ordering::Relaxed) != 0 {
            endpoint.ejected.store(0, Ordering::Relaxed);
        }
    }

    /// An address cannot be connected to, or its connection has ended: it is out until it can be.
    pub(super) fn unreachable(&self, endpoint: &Shared<L>) {
        self.0.doubt.notify_one();
        self.eject(endpoint);
    }

    /// An address has taken a request and not answered it, or with what is no answer.
    pub(super) fn failed(&self, endpoint: &Shared<L>) {
        self.0.doubt.notify_one();
        if endpoint.faults.fetch_add(1, Ordering::Relaxed).saturating_add(1) >= FAULTS_MAX {
            // Back in, its next failure is one too many; an answer makes it as good as any.
            endpoint.faults.store(FAULTS_MAX - 1, Ordering::Relaxed);
            self.eject(endpoint);
        }
    }

    fn eject(&self, endpoint: &Shared<L>) {
        if endpoint.is_down.swap(true, Ordering::AcqRel) {
            return;
        }
        self.0.metrics.ejections.inc();
        tracing::warn!(url = self.0.url.text, address = %endpoint.address, "an address gets no requests until it is reachable");
        let times = endpoint.ejected.fetch_add(1, Ordering::Relaxed).min(16);
        self.rebuild();
        self.probe(endpoint, PROBE_FIRST.saturating_mul(1 << times).min(PROBE_LAST));
    }

    /// Tries to connect to an address until that succeeds, and then lets it in.
    fn probe(&self, endpoint: &Shared<L>, first: Duration) {
        let (balancer, endpoint, mut pause) = (self.clone(), endpoint.clone(), first);
        let (stop, gone) = (self.0.tasks.stopping(), endpoint.gone.clone());
        let probing = async move {
            loop {
                tokio::time::sleep(pause).await;
                match endpoint.link.probe(endpoint.address).await {
                    Ok(()) => break,
                    Err(error) => {
                        tracing::debug!(address = %endpoint.address, %error, "an address is still not reachable");
                        pause = pause.saturating_mul(2).clamp(PROBE_FIRST, PROBE_LAST);
                    }
                }
            }
            endpoint.is_down.store(false, Ordering::Release);
            balancer.rebuild();
        };
        self.0.tasks.spawn("gateway-probe", async move {
            tokio::select! {
                () = probing => {}
                () = stop.cancelled() => {}
                () = gone.cancelled() => {}
            }
        });
    }

    fn rebuild(&self) {
        let _one_at_a_time = self.0.changing.lock();
        let all = self.0.rotation.load().all.clone();
        self.put(all);
    }

    /// Replaces the addresses; the caller holds the lock.
    fn put(&self, all: Vec<Shared<L>>) {
        let live: Vec<_> = all.iter().filter(|e| !e.is_down.load(Ordering::Acquire)).cloned().collect();
        self.0.metrics.endpoints.set(all.len() as f64);
        self.0.metrics.live_endpoints.set(live.len() as f64);
        self.0.rotation.store(Arc::new(Rotation { all, live }));
    }

    /// Goes over to other addresses. Those that stay keep their connections; requests under way on others end there.
    pub(super) fn update(&self, addresses: &[SocketAddr]) {
        let guard = self.0.changing.lock();
        let before = self.0.rotation.load_full();
        if before.all.iter().map(|e| e.address).eq(addresses.iter().copied()) {
            return;
        }
        let known = |address| before.all.iter().find(|e| e.address == address).cloned();
        let all: Vec<_> = addresses.iter().map(|a| known(*a).unwrap_or_else(|| self.endpoint(*a))).collect();
        let (joined, gone): (Vec<_>, Vec<_>) = (
            all.iter().filter(|e| known(e.address).is_none()).cloned().collect(),
            before.all.iter().filter(|e| !addresses.contains(&e.address)).cloned().collect(),
        );
        self.put(all);
        drop(guard);
        for endpoint in gone {
            endpoint.gone.cancel();
            self.0.metrics.forget(endpoint.address);
        }
        for endpoint in &joined {
            if self.0.join == Join::Connected {
                self.probe(endpoint, Duration::ZERO);
            }
        }
        tracing::info!(url = self.0.url.text, addresses = ?addresses, "the name stands for other addresses now");
    }

    fn endpoint(&self, address: SocketAddr) -> Shared<L> {
        Arc::new(Endpoint {
            address,
            link: (self.0.make)(address),
            requests: self.0.metrics.endpoint(address),
            is_down: AtomicBool::new(self.0.join == Join::Connected),
            faults: AtomicU32::new(0),
            ejected: AtomicU32::new(0),
            gone: CancellationToken::new(),
        })
    }

    async fn keep_resolving(&self) {
        let mut failures: u32 = 0;
        loop {
            let pause = match dns::resolve(&self.0.url).await {
                Ok(Resolved { addresses, valid_for }) => {
                    failures = 0;
                    self.update(&addresses);
                    valid_for
                }
                Err(error) => {
                    self.0.metrics.resolution_failures.inc();
                    tracing::warn!(url = self.0.url.text, %error, "the name cannot be resolved; its last addresses go on");
                    failures = failures.saturating_add(1);
                    Some(RESOLVE_PAUSE.saturating_mul(1 << failures.min(8)).min(RESOLVE_PAUSE_MAX))
                }
            };
            self.0.asked.send_replace(true);
            tokio::time::sleep(RESOLVE_PAUSE).await;
            match pause.map(|pause| pause.saturating_sub(RESOLVE_PAUSE)) {
                Some(rest) => drop(tokio::time::timeout(rest, self.0.doubt.notified()).await),
                // An address written as such never changes.
                None => return,
            }
        }
    }
}

/// The addresses that one request is tried at, none of them twice.
pub(super) struct Round<'b, L> {
    balancer: &'b Balancer<L>,
    left: u64,
    tried: Vec<SocketAddr>,
}

impl<L: Link> Round<'_, L> {
    /// The next one; it is noted as the one that is asked. `None` if all have been, or enough.
    pub(super) fn next(&mut self, exchange: &mut Exchange) -> Option<Shared<L>> {
        self.left = self.left.checked_sub(1)?;
        let endpoint = self.balancer.next(&self.tried)?;
        if !self.tried.is_empty() {
            exchange.metrics().retries.inc();
        }
        exchange.asked(endpoint.address);
        self.tried.push(endpoint.address);
        Some(endpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::config::Component;
    use crate::telemetry::Registry;

    #[derive(Clone, Default)]
    struct Switch(Arc<AtomicBool>);

    impl Link for Switch {
        async fn probe(&self, _: SocketAddr) -> io::Result<()> {
            if self.0.load(Ordering::Relaxed) { Ok(()) } else { Err(io::ErrorKind::ConnectionRefused.into()) }
        }
    }

    fn addresses(ports: &[u16]) -> Vec<SocketAddr> {
        ports.iter().map(|port| SocketAddr::from(([127, 0, 0, 1], *port))).collect()
    }

    fn balancer(join: Join, tasks: &Tasks) -> (Balancer<Switch>, Switch) {
        let (up, metrics) = (Switch::default(), BackendMetrics::new(&Registry::new(), Component::Distributor));
        let link = up.clone();
        let url = BackendUrl::parse("dns:///[::1]:1").expect("a URL");
        (Balancer::unresolved(url, join, tasks, Arc::new(metrics), move |_| link.clone()), up)
    }

    fn ports(balancer: &Balancer<Switch>, times: usize) -> Vec<u16> {
        let mut ports: Vec<u16> = (0..times).map(|_| balancer.next(&[]).expect("an address").address.port()).collect();
        ports.sort_unstable();
        ports
    }

    #[tokio::test(start_paused = true)]
    async fn turns_are_even_and_who_is_out_has_none_until_it_is_reachable() {
        let tasks = Tasks::new();
        let (balancer, up) = balancer(Join::AtOnce, &tasks);
        balancer.update(&addresses(&[1, 2, 3]));
        assert_eq!(ports(&balancer, 6), [1, 1, 2, 2, 3, 3]);
        let out = balancer.next(&addresses(&[1, 3])).expect("the second");
        assert_eq!(out.address.port(), 2);
        balancer.unreachable(&out);
        assert_eq!(ports(&balancer, 6), [1, 1, 1, 3, 3, 3]);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(ports(&balancer, 2), [1, 3]);
        up.0.store(true, Ordering::Relaxed);
        tokio::time::sleep(PROBE_LAST).await;
        assert_eq!(ports(&balancer, 6), [1, 1, 2, 2, 3, 3]);
        tasks.stop();
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_requests_and_does_not_answer_is_out_after_some_and_after_one_once_it_is_back() {
        let tasks = Tasks::new();
        let (balancer, up) = balancer(Join::AtOnce, &tasks);
        up.0.store(true, Ordering::Relaxed);
        balancer.update(&addresses(&[1, 2]));
        let bad = balancer.next(&addresses(&[1])).expect("the second");
        for _ in 0..FAULTS_MAX {
            assert_eq!(ports(&balancer, 2), [1, 2]);
            balancer.failed(&bad);
        }
        assert_eq!(ports(&balancer, 2), [1, 1]);
        tokio::time::sleep(PROBE_LAST).await;
        assert_eq!(ports(&balancer, 2), [1, 2]);
        balancer.failed(&bad);
        assert_eq!(ports(&balancer, 2), [1, 1]);
        tokio::time::sleep(PROBE_LAST).await;
        balancer.answered(&bad);
        balancer.failed(&bad);
        assert_eq!(ports(&balancer, 2), [1, 2]);
        tasks.stop();
    }

    #[tokio::test(start_paused = true)]
    async fn newcomers_wait_for_their_connection_unless_there_is_nobody_else() {
        let tasks = Tasks::new();
        let (balancer, up) = balancer(Join::Connected, &tasks);
        balancer.update(&addresses(&[1, 2]));
        assert_eq!(ports(&balancer, 2), [1, 2], "nobody is connected, so everybody is tried");
        up.0.store(true, Ordering::Relaxed);
        tokio::time::sleep(PROBE_LAST).await;
        up.0.store(false, Ordering::Relaxed);
        let kept = balancer.next(&addresses(&[2])).expect("the first");
        balancer.update(&addresses(&[1, 3]));
        assert_eq!(ports(&balancer, 2), [1, 1], "the third is not connected yet");
        assert!(Arc::ptr_eq(&kept, &balancer.next(&[]).expect("the first")), "who stays keeps its connections");
        up.0.store(true, Ordering::Relaxed);
        tokio::time::sleep(PROBE_LAST).await;
        assert_eq!(ports(&balancer, 2), [1, 3]);
        tasks.stop();
    }
}
