//! Names of blocks.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::model::TimestampMs;

/// Crockford's digits: no I, L, O, U.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Characters of a written name.
const LEN: usize = 26;

/// A block's name: 48 bits of milliseconds since 1970 and 80 random bits, so names sort by their making.
/// Written as 26 digits of base 32.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Ulid(u128);

/// A text that is not a ULID.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is not a ULID: 26 digits of base 32, the first at most 7")]
pub struct UlidError(String);

impl Ulid {
    /// A new name for something made at `now`. The random part comes from the keys that the system gives each hasher.
    pub fn generate(now: TimestampMs) -> Ulid {
        let random = |salt: u8| u128::from(RandomState::new().hash_one((now.0, salt)));
        let low = random(0) | (random(1) & 0xFFFF) << 64;
        let millis = u128::from(now.0.max(0).cast_unsigned() & 0xFFFF_FFFF_FFFF);
        Ulid(millis << 80 | low)
    }

    /// The next greater name. Its time is the same, unless all random bits are set.
    pub fn successor(self) -> Ulid {
        Ulid(self.0.saturating_add(1))
    }

    /// When it was made.
    pub fn time(self) -> TimestampMs {
        TimestampMs((self.0 >> 80) as i64)
    }
}

impl fmt::Display for Ulid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(LEN);
        for place in (0..LEN).rev() {
            text.push(char::from(DIGITS[(self.0 >> (5 * place)) as usize & 31]));
        }
        f.pad(&text)
    }
}

impl fmt::Debug for Ulid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Ulid {
    type Err = UlidError;

    /// Lower case is taken, too.
    fn from_str(text: &str) -> Result<Ulid, UlidError> {
        let wrong = || UlidError(text.chars().take(2 * LEN).collect());
        if text.len() != LEN || !matches!(text.as_bytes()[0], b'0'..=b'7') {
            return Err(wrong());
        }
        text.bytes().try_fold(Ulid(0), |ulid, byte| {
            let digit = DIGITS.iter().position(|d| *d == byte.to_ascii_uppercase()).ok_or_else(wrong)?;
            Ok(Ulid(ulid.0 << 5 | digit as u128))
        })
    }
}

impl From<Ulid> for String {
    fn from(ulid: Ulid) -> String {
        ulid.to_string()
    }
}

impl TryFrom<String> for Ulid {
    type Error = UlidError;
    fn try_from(text: String) -> Result<Ulid, UlidError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_time_and_survives_being_written() {
        let now = TimestampMs(1_700_000_000_123);
        let (a, b) = (Ulid::generate(now), Ulid::generate(now));
        assert_ne!(a, b);
        assert_eq!(a.time(), now);
        assert_eq!(a.to_string().parse::<Ulid>(), Ok(a));
        assert_eq!(a.to_string().to_lowercase().parse::<Ulid>(), Ok(a));
        let later = Ulid::generate(TimestampMs(now.0 + 1));
        assert!(later > a && later.to_string() > a.to_string());
    }

    #[test]
    fn the_written_form_is_the_known_one() {
        let text = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
        let ulid: Ulid = text.parse().unwrap();
        assert_eq!(ulid.time(), TimestampMs(1_469_922_850_259));
        assert_eq!(ulid.to_string(), text);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "wal", "81ARZ3NDEKTSV4RRFFQ69G5FAV", "01ARZ3NDEKTSV4RRFFQ69G5FAU", "01ARZ3NDEKTSV4RRFFQ69G5FÄ"]
        {
            assert!(text.parse::<Ulid>().is_err(), "{text}");
        }
    }
}
