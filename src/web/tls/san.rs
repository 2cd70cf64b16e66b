//! The names in a certificate: its subject alternative names (RFC 5280, section 4.2.1.6).

use std::net::{IpAddr, Ipv6Addr};

/// Tags of DER.
const SEQUENCE: u8 = 0x30;
const OBJECT_ID: u8 = 0x06;
const OCTETS: u8 = 0x04;
/// The extensions of a certificate: `[3]`, constructed.
const EXTENSIONS: u8 = 0xa3;
/// 2.5.29.17.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// Kinds of names: `[1]`, `[2]`, `[6]`, `[7]`.
const EMAIL: u8 = 0x81;
const DNS: u8 = 0x82;
const URI: u8 = 0x86;
const IP: u8 = 0x87;

/// A walk over elements of DER that stand one after the other.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element's tag and content; `None` at the end or where the bytes are no DER.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (tag, rest) = self.0.split_first()?;
        // Tags of more than one byte do not occur in certificates.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (first, rest) = rest.split_first()?;
        let (len, rest) = match first {
            short @ 0..=0x7f => (usize::from(*short), rest),
            // Up to four bytes: no certificate is longer.
            long @ 0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
                (bytes.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some((*tag, content))
    }

    /// The content of the next element if it has this tag.
    fn content(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }
}

/// The e-mail addresses, DNS names, addresses and URIs that a certificate bears, as the reference writes them. None where the
/// certificate cannot be read.
pub fn certificate_names(certificate: &[u8]) -> Vec<String> {
    extension(certificate).map_or_else(Vec::new, |content| {
        let mut names = Der(Der(content).content(SEQUENCE).unwrap_or_default());
        std::iter::from_fn(|| names.next()).filter_map(|(tag, name)| text(tag, name)).collect()
    })
}

/// The content of the extension that holds the names.
fn extension(certificate: &[u8]) -> Option<&[u8]> {
    let mut parts = Der(Der(Der(certificate).content(SEQUENCE)?).content(SEQUENCE)?);
    let extensions = std::iter::from_fn(|| parts.next()).find(|(tag, _)| *tag == EXTENSIONS)?.1;
    let mut extensions = Der(Der(extensions).content(SEQUENCE)?);
    while let Some(extension) = extensions.content(SEQUENCE) {
        let mut fields = Der(extension);
        if fields.content(OBJECT_ID)? != SUBJECT_ALT_NAME {
            continue;
        }
        // Between the two may stand whether it is critical.
        return std::iter::from_fn(|| fields.next()).find(|(tag, _)| *tag == OCTETS).map(|(_, content)| content);
    }
    None
}

fn text(tag: u8, name: &[u8]) -> Option<String> {
    match tag {
        EMAIL | DNS | URI => std::str::from_utf8(name).ok().map(str::to_owned),
        IP => {
            let address = match name.len() {
                4 => IpAddr::from(<[u8; 4]>::try_from(name).ok()?),
                _ => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(name).ok()?)),
            };
            Some(address.to_canonical().to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::string::Ia5String;
    use rcgen::{CertificateParams, KeyPair, SanType};

    fn certificate() -> Vec<u8> {
        let ia5 = |text: &str| Ia5String::try_from(text).expect("ASCII");
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![
            SanType::DnsName(ia5("a.example")),
            SanType::Rfc822Name(ia5("me@a.example")),
            SanType::URI(ia5("spiffe://a.example/x")),
            SanType::IpAddress("127.0.0.1".parse().expect("an address")),
            SanType::IpAddress("2001:db8::1".parse().expect("an address")),
        ];
        let key = KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("a certificate").der().to_vec()
    }

    #[test]
    fn every_kind_of_name_is_found() {
        let expected = ["a.example", "me@a.example", "spiffe://a.example/x", "127.0.0.1", "2001:db8::1"];
        assert_eq!(certificate_names(&certificate()), expected);
    }

    #[test]
    fn damaged_certificates_are_read_as_far_as_they_can_be() {
        let whole = certificate();
        let all = certificate_names(&whole);
        for end in 0..whole.len() {
            assert!(certificate_names(&whole[..end]).is_empty(), "a certificate of {end} bytes is cut off");
        }
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut damaged = whole.clone();
                damaged[at] ^= 1 << bit;
                assert!(certificate_names(&damaged).len() <= all.len() + 1);
            }
        }
        assert!(certificate_names(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]).is_empty());
    }
}
