//! How many passwords an address may try.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Passwords that an address may try at once.
pub(super) const BURST: u32 = 10;
/// Time after which an address may try one more. With bcrypt's usual cost of 10 that is a twentieth of one core.
pub(super) const REFILL: Duration = Duration::from_secs(1);
/// Addresses remembered; some 60 bytes each.
const ADDRESSES_MAX: usize = 4096;

/// Counts tries by address.
#[derive(Default)]
pub(super) struct Failures(Mutex<HashMap<IpAddr, Account>>);

/// What an address has used.
#[derive(Clone, Copy)]
struct Account {
    used: f64,
    at: Instant,
}

impl Account {
    fn used_at(&self, now: Instant) -> f64 {
        let refilled = now.saturating_duration_since(self.at).as_secs_f64() / REFILL.as_secs_f64();
        (self.used - refilled).max(0.0)
    }
}

impl Failures {
    /// Takes one try, or says how long to wait for the next one.
    pub(super) fn take(&self, client: IpAddr, now: Instant) -> Result<(), Duration> {
        let mut accounts = self.0.lock();
        let client = household(client);
        if accounts.len() >= ADDRESSES_MAX && !accounts.contains_key(&client) {
            forget(&mut accounts, now);
        }
        let account = accounts.entry(client).or_insert(Account { used: 0.0, at: now });
        let used = account.used_at(now);
        let over = used + 1.0 - f64::from(BURST);
        if over > 0.0 {
            return Err(REFILL.mul_f64(over));
        }
        *account = Account { used: used + 1.0, at: now };
        Ok(())
    }

    /// A try was right, so it does not count.
    pub(super) fn give_back(&self, client: IpAddr) {
        if let Some(account) = self.0.lock().get_mut(&household(client)) {
            account.used = (account.used - 1.0).max(0.0);
        }
    }
}

/// Drops the addresses that have nothing used any more, or else the one that was quiet for longest.
fn forget(accounts: &mut HashMap<IpAddr, Account>, now: Instant) {
    accounts.retain(|_, account| account.used_at(now) > 0.0);
    if accounts.len() >= ADDRESSES_MAX
        && let Some(quiet) = accounts.iter().min_by_key(|(_, account)| account.at).map(|(client, _)| *client)
    {
        accounts.remove(&quiet);
    }
}

/// Who has one IPv6 address has 2^64 of them.
fn household(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[tokio::test]
    async fn after_a_burst_an_address_waits_and_others_do_not() {
        let (failures, now) = (Failures::default(), Instant::now());
        for _ in 0..BURST {
            assert_eq!(failures.take(HERE, now), Ok(()));
        }
        assert_eq!(failures.take(HERE, now), Err(REFILL));
        assert_eq!(failures.take(HERE, now + REFILL / 2), Err(REFILL / 2));
        assert_eq!(failures.take("10.0.0.1".parse().expect("an address"), now), Ok(()));
        assert_eq!(failures.take(HERE, now + REFILL), Ok(()), "waiting is rewarded although it was tried meanwhile");
        assert!(failures.take(HERE, now + REFILL).is_err());
        failures.give_back(HERE);
        assert_eq!(failures.take(HERE, now + REFILL), Ok(()));
    }

    #[tokio::test]
    async fn addresses_of_one_network_are_one_and_the_table_is_bounded() {
        let (failures, now) = (Failures::default(), Instant::now());
        for i in 0..BURST {
            let neighbour = format!("2001:db8::{i:x}").parse().expect("an address");
            assert_eq!(failures.take(neighbour, now), Ok(()));
        }
        assert!(failures.take("2001:db8::ffff:1".parse().expect("an address"), now).is_err());
        for i in 0..2 * ADDRESSES_MAX as u32 {
            let stranger = IpAddr::V4(std::net::Ipv4Addr::from_bits(i));
            assert_eq!(failures.take(stranger, now + Duration::from_millis(1)), Ok(()));
        }
        assert_eq!(failures.0.lock().len(), ADDRESSES_MAX);
    }
}
