//! What the web config file says about who may ask.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};

use crate::web::tls::TlsServer;

/// The checked content of a web config file; its default asks nobody for anything and speaks no TLS.
#[derive(Clone, Debug, Default)]
pub struct ListenerConfig {
    /// How connections are encrypted; `None` for not at all.
    pub tls: Option<TlsServer>,
    /// Headers of every answer, unless a handler sets its own.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Who may ask, with the hash of the password; if empty, everybody may.
    pub users: BTreeMap<String, PasswordHash>,
    /// The paths that only those users may ask for, with all below them; `None` is every path.
    pub protected: Option<Vec<String>>,
    /// How many requests may come.
    pub rate_limit: Option<RateLimit>,
}

/// A limit of requests over all clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RateLimit {
    /// Time in which one more request is allowed; above zero.
    pub interval: Duration,
    /// Requests allowed at once.
    pub burst: u32,
}

/// A password as bcrypt has hashed it. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    /// With the version that the library knows; all versions are computed alike, as in the reference.
    text: String,
    cost: u32,
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<bcrypt hash of cost {}>", self.cost)
    }
}

impl PasswordHash {
    /// Reads `$2y$10$...`. The reason of a refusal does not contain the text.
    pub fn parse(text: &str) -> Result<PasswordHash, String> {
        let refuse = |why: &str| Err(format!("{why}; make a hash with htpasswd -nBC 10 USER"));
        if text.len() < 59 {
            return refuse("crypto/bcrypt: hashedSecret too short to be a bcrypted password");
        }
        let Some(rest) = text.strip_prefix('$') else {
            return refuse("crypto/bcrypt: bcrypt hashes must start with '$'");
        };
        let Some(rest) = rest.strip_prefix('2') else { return refuse("the hash is not one of bcrypt, version 2") };
        let Some((_minor @ ("" | "a" | "b" | "x" | "y"), rest)) = rest.split_once('$') else {
            return refuse("the hash is of an unknown minor version of bcrypt");
        };
        let text = format!("$2b${rest}");
        let Ok(parts) = text.parse::<bcrypt::HashParts>() else { return refuse("the hash is not a whole bcrypt hash") };
        let cost = parts.get_cost();
        if !(4..=31).contains(&cost) {
            return Err(format!("crypto/bcrypt: cost {cost} is outside allowed inclusive range 4..31"));
        }
        Ok(PasswordHash { text, cost })
    }

    /// The binary logarithm of the number of rounds; each more doubles the time.
    pub fn cost(&self) -> u32 {
        self.cost
    }

    /// Computes; takes from some to many milliseconds.
    pub(super) fn verify(&self, password: &[u8]) -> bool {
        // The hash was parsed before; nothing else can fail.
        bcrypt::verify(password, &self.text).unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_version_2_is_the_same_hash() {
        let hash =
            bcrypt::hash_with_salt("right", 4, [7; 16]).expect("a good cost").format_for_version(bcrypt::Version::TwoB);
        for version in ["$2$", "$2a$", "$2b$", "$2x$", "$2y$"] {
            let hash = PasswordHash::parse(&hash.replace("$2b$", version)).expect(version);
            assert_eq!(hash.cost(), 4);
            assert!(hash.verify(b"right") && !hash.verify(b"wrong") && !hash.verify(b""));
        }
    }

    #[test]
    fn what_is_no_hash_is_refused_without_being_repeated() {
        let whole = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG";
        for bad in [
            "",
            "secret",
            &whole[..58],
            &whole.replacen('$', "_", 1),
            &whole.replace("$2y", "$3y"),
            &whole.replace("$2y", "$2z"),
            &whole.replace("$10$", "$03$"),
            &whole.replace("$10$", "$32$"),
            &whole.replace("$10$", "$xx$"),
            &format!("{whole}x"),
            &whole.replace('X', "!"),
        ] {
            let why = PasswordHash::parse(bad).expect_err(bad);
            assert!(!why.contains("X0h1") && !why.contains("secret;"), "{why}");
        }
        assert_eq!(format!("{:?}", PasswordHash::parse(whole)), "Ok(<bcrypt hash of cost 10>)");
    }
}
