//! Which message a request carries and how it is packed.

use std::str::FromStr;

const MEDIA_TYPE: &str = "application/x-protobuf";

/// The messages of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Message {
    /// `prometheus.WriteRequest`, of remote write 1.0.
    V1,
    /// `io.prometheus.write.v2.Request`, of remote write 2.0.
    V2,
}

/// How a message is packed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Packing {
    /// Snappy's block format: what the protocol asks for, and what is meant where no encoding is named.
    Snappy,
    /// Zstandard, as vmagent prefers.
    Zstd,
}

/// What a request's headers say of its body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Content {
    /// The message.
    pub message: Message,
    /// Its packing.
    pub packing: Packing,
}

/// The messages that a receiver takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AcceptedMessages {
    v1: bool,
    v2: bool,
}

/// Content that is not taken: 415.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unsupported(String);

/// A name that is not that of a message.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("unknown remote write message {0:?}, known are prometheus.WriteRequest and io.prometheus.write.v2.Request")]
pub struct UnknownMessage(String);

impl Message {
    /// The message's full name.
    pub fn name(self) -> &'static str {
        match self {
            Message::V1 => "prometheus.WriteRequest",
            Message::V2 => "io.prometheus.write.v2.Request",
        }
    }
}

impl FromStr for Message {
    type Err = UnknownMessage;

    fn from_str(name: &str) -> Result<Message, UnknownMessage> {
        let of_that_name = [Message::V1, Message::V2].into_iter().find(|message| message.name() == name);
        of_that_name.ok_or_else(|| UnknownMessage(name.to_owned()))
    }
}

impl AcceptedMessages {
    /// Both.
    pub const ALL: AcceptedMessages = AcceptedMessages { v1: true, v2: true };

    /// Those that are named.
    pub fn only(messages: &[Message]) -> AcceptedMessages {
        AcceptedMessages { v1: messages.contains(&Message::V1), v2: messages.contains(&Message::V2) }
    }

    fn has(self, message: Message) -> bool {
        match message {
            Message::V1 => self.v1,
            Message::V2 => self.v2,
        }
    }

    fn names(self) -> String {
        let names = [Message::V1, Message::V2].into_iter().filter(|m| self.has(*m)).map(Message::name);
        names.collect::<Vec<_>>().join(", ")
    }
}

impl Content {
    /// Reads `Content-Type` and `Content-Encoding`; an empty text stands for a header that is not there.
    pub fn negotiate(media_type: &str, encoding: &str, accepted: AcceptedMessages) -> Result<Content, Unsupported> {
        let packing = match encoding.trim() {
            "" => Packing::Snappy,
            name if name.eq_ignore_ascii_case("snappy") => Packing::Snappy,
            name if name.eq_ignore_ascii_case("zstd") => Packing::Zstd,
            other => {
                let why = format!("{other} encoding is not accepted by this server; only snappy and zstd are");
                return Err(Unsupported(why));
            }
        };
        let message = message_of(media_type)?;
        if !accepted.has(message) {
            let (name, accepted) = (message.name(), accepted.names());
            return Err(Unsupported(format!("{name} is not accepted by this server; only {accepted} is")));
        }
        Ok(Content { message, packing })
    }
}

/// What the content type names; without a name it is that of 1.0.
fn message_of(media_type: &str) -> Result<Message, Unsupported> {
    let mut parts = media_type.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    if !media.is_empty() && !media.eq_ignore_ascii_case(MEDIA_TYPE) {
        return Err(Unsupported(format!("expected content type {MEDIA_TYPE}, got {media_type}")));
    }
    for parameter in parts {
        let Some((key, value)) = parameter.split_once('=') else {
            return Err(Unsupported(format!("{parameter:?} in content type {media_type} is no parameter")));
        };
        if key.eq_ignore_ascii_case("proto") {
            // A parameter's value may be quoted; RFC 9110, section 5.6.6.
            return value.trim_matches('"').parse().map_err(|e: UnknownMessage| Unsupported(e.to_string()));
        }
    }
    Ok(Message::V1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn negotiate(media_type: &str, encoding: &str) -> Option<(Message, Packing)> {
        let content = Content::negotiate(media_type, encoding, AcceptedMessages::ALL).ok()?;
        Some((content.message, content.packing))
    }

    #[test]
    fn headers_name_the_message_and_its_packing() {
        use Message::{V1, V2};
        use Packing::{Snappy, Zstd};
        let v2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
        for (media_type, encoding, expected) in [
            ("", "", Some((V1, Snappy))),
            ("application/x-protobuf", "snappy", Some((V1, Snappy))),
            ("application/x-protobuf;proto=prometheus.WriteRequest", "snappy", Some((V1, Snappy))),
            ("application/x-protobuf; charset=x; proto=\"prometheus.WriteRequest\"", "", Some((V1, Snappy))),
            (v2, "snappy", Some((V2, Snappy))),
            (v2, "zstd", Some((V2, Zstd))),
            (" application/x-protobuf", "ZSTD", Some((V1, Zstd))),
            (v2, "gzip", None),
            (v2, "snappy, zstd", None),
            ("application/json", "snappy", None),
            ("application/x-protobuf;proto", "snappy", None),
            ("application/x-protobuf;proto=prometheus.ReadRequest", "snappy", None),
        ] {
            assert_eq!(negotiate(media_type, encoding), expected, "{media_type:?} {encoding:?}");
        }
    }

    #[test]
    fn messages_can_be_excluded() {
        let only = AcceptedMessages::only(&[Message::V2]);
        let refused = Content::negotiate("application/x-protobuf", "snappy", only).unwrap_err();
        let expected = "prometheus.WriteRequest is not accepted by this server; only io.prometheus.write.v2.Request is";
        assert_eq!(refused.to_string(), expected);
    }
}
