//! Whether a name and a password belong together.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use ring::error::Unspecified;
use ring::hmac;
use ring::rand::SystemRandom;
use tokio::sync::watch;
use tokio::time::Instant;

use super::config::PasswordHash;
use super::credentials::Credentials;
use super::failures::Failures;
use super::verdicts::{Digest, Verdicts};
use crate::runtime::CpuPool;
use crate::telemetry::Counter;

/// Passwords that wait for their computation; each is a request that waits.
const WAITING_MAX: usize = 256;

/// What is decided of credentials.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Right,
    Wrong,
    /// The address has failed too often; it may try again after this time.
    TooOften(Duration),
    /// Too many passwords are being computed for others.
    Busy,
}

/// Where passwords are computed, for as long as the process lives.
pub(super) struct Desk {
    pub(super) pool: CpuPool,
    pub(super) failures: Failures,
    /// How often bcrypt was computed.
    pub(super) computed: Counter,
}

/// The users of one web config file, and what is known of the passwords that were tried.
pub(super) struct Passwords {
    key: hmac::Key,
    users: BTreeMap<String, PasswordHash>,
    /// The users' hashes by the digest of their names.
    hashes: HashMap<Digest, PasswordHash>,
    /// What strangers are checked against.
    decoys: Vec<PasswordHash>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    verdicts: Verdicts,
    /// Credentials that are being computed, and where their verdict will be told.
    waiting: HashMap<Digest, watch::Receiver<Option<bool>>>,
}

impl Passwords {
    /// Fails only if the system has no randomness.
    pub(super) fn new(users: &BTreeMap<String, PasswordHash>) -> Result<Passwords, Unspecified> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())?;
        let hashes = users.iter().map(|(name, hash)| (digest(&key, &[b"user", name.as_bytes()]), hash.clone()));
        Ok(Passwords {
            hashes: hashes.collect(),
            decoys: users.values().cloned().collect(),
            users: users.clone(),
            known: Mutex::default(),
            key,
        })
    }

    /// Whom this knows.
    pub(super) fn users(&self) -> &BTreeMap<String, PasswordHash> {
        &self.users
    }

    /// Decides, with a computation only if these credentials were not computed before. Dropping the future leaves a computation
    /// that has begun to its end; its verdict is remembered.
    pub(super) async fn check(self: &Arc<Self>, given: Credentials, client: IpAddr, desk: &Arc<Desk>) -> Verdict {
        let id = digest(&self.key, &[b"credentials", &given.user, &given.password]);
        let (mut verdict, begin) = {
            let mut known = self.known.lock();
            if let Some(right) = known.verdicts.get(&id) {
                return if right { Verdict::Right } else { Verdict::Wrong };
            }
            match known.waiting.get(&id) {
                Some(verdict) => (verdict.clone(), None),
                None if known.waiting.len() >= WAITING_MAX => return Verdict::Busy,
                None => {
                    if let Err(wait) = desk.failures.take(client, Instant::now()) {
                        return Verdict::TooOften(wait);
                    }
                    let (tell, verdict) = watch::channel(None);
                    known.waiting.insert(id, verdict.clone());
                    (verdict, Some(Waiting { passwords: self.clone(), id, tell }))
                }
            }
        };
        if let Some(waiting) = begin {
            let desk_too = desk.clone();
            // A lost computation tells nothing to those who wait for it.
            let _ = desk.pool.run(move || waiting.compute(&given, client, &desk_too)).await;
        }
        let right = verdict.wait_for(Option::is_some).await.ok().and_then(|verdict| *verdict);
        match right {
            Some(true) => Verdict::Right,
            Some(false) => Verdict::Wrong,
            None => Verdict::Busy,
        }
    }

    /// The hash to check against, and whether it is that of this user. A stranger always meets the same one.
    fn hash_for(&self, user: &[u8]) -> (Option<&PasswordHash>, bool) {
        let id = digest(&self.key, &[b"user", user]);
        let choice = id.iter().take(8).fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        let decoy = choice.checked_rem(self.decoys.len() as u64).and_then(|i| self.decoys.get(i as usize));
        match self.hashes.get(&id) {
            Some(hash) => (Some(hash), true),
            None => (decoy, false),
        }
    }
}

/// Credentials that are being computed; dropping it takes them off the list, also after a panic.
struct Waiting {
    passwords: Arc<Passwords>,
    id: Digest,
    tell: watch::Sender<Option<bool>>,
}

impl Waiting {
    fn compute(self, given: &Credentials, client: IpAddr, desk: &Desk) {
        let (hash, is_user) = self.passwords.hash_for(&given.user);
        desk.computed.inc();
        let matches = hash.is_some_and(|hash| hash.verify(&given.password));
        let right = matches & is_user;
        if right {
            desk.failures.give_back(client);
        }
        self.passwords.known.lock().verdicts.insert(self.id, right);
        self.tell.send_replace(Some(right));
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.passwords.known.lock().waiting.remove(&self.id);
    }
}

/// A digest that nobody without the key can foresee, of parts that cannot run into each other.
fn digest(key: &hmac::Key, parts: &[&[u8]]) -> Digest {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part);
    }
    let mut digest = Digest::default();
    // SHA-256 has as many bytes as a digest here.
    digest.copy_from_slice(context.sign().as_ref());
    digest
}

#[cfg(test)]
mod tests {
    use super::super::failures::{BURST, REFILL};
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn hash(password: &str, cost: u32) -> PasswordHash {
        let parts = bcrypt::hash_with_salt(password, cost, [9; 16]).expect("a good cost");
        PasswordHash::parse(&parts.to_string()).expect("a hash")
    }

    fn passwords() -> Arc<Passwords> {
        let users = BTreeMap::from([("alice".to_owned(), hash("a", 4)), ("bob".to_owned(), hash("b", 5))]);
        Arc::new(Passwords::new(&users).expect("randomness"))
    }

    fn desk() -> Arc<Desk> {
        let pool = CpuPool::inline();
        Arc::new(Desk { pool, failures: Failures::default(), computed: Counter::default() })
    }

    async fn check(passwords: &Arc<Passwords>, user: &str, password: &str, desk: &Arc<Desk>) -> Verdict {
        let given = Credentials { user: user.into(), password: password.into() };
        passwords.check(given, HERE, desk).await
    }

    #[tokio::test]
    async fn a_wrong_user_a_wrong_password_and_a_right_one_cost_one_computation_each_and_none_when_repeated() {
        let passwords = passwords();
        for (user, password, verdict) in [
            ("alice", "a", Verdict::Right),
            ("alice", "b", Verdict::Wrong),
            ("bob", "b", Verdict::Right),
            ("mallory", "a", Verdict::Wrong),
            ("mallory", "b", Verdict::Wrong),
            ("", "", Verdict::Wrong),
            ("alicea", "", Verdict::Wrong),
        ] {
            let desk = desk();
            for _ in 0..3 {
                assert_eq!(check(&passwords, user, password, &desk).await, verdict, "{user}:{password}");
                assert_eq!(desk.computed.get(), 1, "{user}:{password}");
            }
        }
    }

    #[test]
    fn a_stranger_meets_a_users_hash_and_always_the_same() {
        let passwords = passwords();
        let mut met = [false; 2];
        for i in 0..64 {
            let name = format!("stranger {i}");
            let (hash, is_user) = passwords.hash_for(name.as_bytes());
            assert!(!is_user && hash == passwords.hash_for(name.as_bytes()).0);
            met[usize::from(hash.expect("a hash").cost() == 5)] = true;
        }
        assert_eq!(met, [true, true], "strangers are spread over the users' costs");
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_fails_too_often_waits_but_what_is_known_is_told_at_once() {
        let (passwords, desk) = (passwords(), desk());
        assert_eq!(check(&passwords, "alice", "a", &desk).await, Verdict::Right);
        for i in 0..BURST {
            assert_eq!(check(&passwords, "alice", &format!("guess {i}"), &desk).await, Verdict::Wrong);
        }
        let computed = desk.computed.get();
        for i in 0..50 {
            let verdict = check(&passwords, "bob", &format!("guess {i}"), &desk).await;
            assert!(
                matches!(verdict, Verdict::TooOften(wait) if wait > Duration::ZERO && wait <= REFILL),
                "{verdict:?}"
            );
        }
        assert!(matches!(check(&passwords, "bob", "b", &desk).await, Verdict::TooOften(_)), "nor the right one");
        assert_eq!(check(&passwords, "alice", "a", &desk).await, Verdict::Right, "whom this address knew to be right");
        assert_eq!(check(&passwords, "alice", "guess 3", &desk).await, Verdict::Wrong);
        assert_eq!(desk.computed.get(), computed, "nothing was computed meanwhile");
        let elsewhere = Credentials { user: b"bob".to_vec(), password: b"b".to_vec() };
        let there = "10.0.0.1".parse().expect("an address");
        assert_eq!(passwords.check(elsewhere, there, &desk).await, Verdict::Right);
        tokio::time::advance(REFILL).await;
        assert_eq!(check(&passwords, "bob", "c", &desk).await, Verdict::Wrong);
    }

    #[tokio::test]
    async fn right_passwords_never_use_up_an_address() {
        let (passwords, desk) = (passwords(), desk());
        for i in 0..3 * BURST {
            // Bytes after the 72nd do not count in bcrypt, so each of these is computed and right.
            let long = "x".repeat(72);
            let users = BTreeMap::from([("carol".to_owned(), hash(&long, 4))]);
            let carol = Arc::new(Passwords::new(&users).expect("randomness"));
            assert_eq!(check(&carol, "carol", &format!("{long}{i}"), &desk).await, Verdict::Right);
        }
        assert_eq!(check(&passwords, "alice", "a", &desk).await, Verdict::Right);
    }

    #[tokio::test]
    async fn a_crowd_that_asks_the_same_is_computed_once_and_a_larger_one_of_others_is_refused() {
        let (passwords, registry) = (passwords(), Counter::default());
        let pool = CpuPool::new("test", 1).expect("threads");
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let blocked = pool.clone();
        let desk = Arc::new(Desk { pool, failures: Failures::default(), computed: registry });
        let blocker = blocked.run(move || held.recv().is_ok());
        let mut blocker = Box::pin(blocker);
        assert!(futures_poll(blocker.as_mut()).is_none());
        let mut crowd: Vec<_> = (0..100).map(|_| Box::pin(check(&passwords, "alice", "a", &desk))).collect();
        for asking in &mut crowd {
            assert_eq!(futures_poll(asking.as_mut()), None);
        }
        // The one that began the computation goes away; the others still get their answer.
        drop(crowd.remove(0));
        let mut others: Vec<_> = Vec::new();
        for i in 1..WAITING_MAX as u32 {
            let client = IpAddr::V4(std::net::Ipv4Addr::from_bits(i));
            let given = Credentials { user: b"alice".to_vec(), password: i.to_string().into_bytes() };
            let mut asking = Box::pin(passwords.check(given, client, &desk));
            assert_eq!(futures_poll(asking.as_mut()), None);
            others.push(asking);
        }
        assert_eq!(check(&passwords, "bob", "b", &desk).await, Verdict::Busy);
        drop(hold);
        for asking in crowd {
            assert_eq!(asking.await, Verdict::Right);
        }
        for asking in others {
            assert_eq!(asking.await, Verdict::Wrong);
        }
        assert_eq!(desk.computed.get(), WAITING_MAX as u64);
        assert!(passwords.known.lock().waiting.is_empty());
    }

    /// Polls once.
    fn futures_poll<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        match future.poll(&mut cx) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }
}
