//! Cutting a streamed answer into its frames.

use crate::net::protobuf::ProtobufError;

/// Bytes of a checksum.
const CRC: usize = 4;
/// Bytes of the longest varint.
const VARINT_MAX: usize = 10;
/// Used bytes that are thrown away once there are so many.
const WASTE_MAX: usize = 64 << 10;

/// Why bytes are no frames.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FrameError {
    /// A frame larger than allowed.
    #[error("a frame of {length} bytes exceeds the limit of {limit} (chunked_read_limit)")]
    TooLarge {
        /// As it declares.
        length: u64,
        /// The limit.
        limit: u64,
    },
    /// The length of a frame is no number.
    #[error("the length of a frame is damaged: {0}")]
    Length(ProtobufError),
    /// A frame's bytes are not those that were sent.
    #[error("a frame is damaged: its checksum is {found:08x} and not {expected:08x}")]
    Checksum {
        /// As it declares.
        expected: u32,
        /// As its bytes have it.
        found: u32,
    },
    /// The stream ends within a frame.
    #[error("the stream ends within a frame")]
    Truncated,
}

/// Takes bytes as they come and gives frames as they are complete. It holds no more than one frame and what came with its end.
#[derive(Debug)]
pub struct Framing {
    limit: u64,
    bytes: Vec<u8>,
    used: usize,
}

impl Framing {
    /// No frame may have more bytes than `limit`.
    pub fn new(limit: u64) -> Framing {
        Framing { limit, bytes: Vec::new(), used: 0 }
    }

    /// Takes the next bytes of the stream. Take out all frames before.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.used == self.bytes.len() {
            self.bytes.clear();
            self.used = 0;
        } else if self.used > WASTE_MAX {
            self.bytes.drain(..self.used);
            self.used = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next frame's message if it has come whole.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, FrameError> {
        let mut rest = &self.bytes[self.used..];
        let head = rest.iter().take(VARINT_MAX).position(|b| *b < 0x80);
        if head.is_none() && rest.len() < VARINT_MAX {
            return Ok(None);
        }
        let declared = prost::encoding::decode_varint(&mut rest);
        let declared = declared.map_err(|_| FrameError::Length(ProtobufError::Varint { field: 0 }))?;
        let too_large = FrameError::TooLarge { length: declared, limit: self.limit };
        if declared > self.limit {
            return Err(too_large);
        }
        let length = usize::try_from(declared).map_err(|_| too_large)?;
        let Some((crc, rest)) = rest.split_first_chunk::<CRC>() else { return Ok(None) };
        let Some(message) = rest.get(..length) else { return Ok(None) };
        let (expected, found) = (u32::from_be_bytes(*crc), crc32c::crc32c(message));
        if expected != found {
            return Err(FrameError::Checksum { expected, found });
        }
        self.used = self.bytes.len() - rest.len() + length;
        Ok(Some(&self.bytes[self.used - length..self.used]))
    }

    /// To be asked at the stream's end: whether it is also the end of a frame.
    pub fn finish(&self) -> Result<(), FrameError> {
        if self.used == self.bytes.len() { Ok(()) } else { Err(FrameError::Truncated) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(message: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        prost::encoding::encode_varint(message.len() as u64, &mut out);
        out.extend_from_slice(&crc32c::crc32c(message).to_be_bytes());
        out.extend_from_slice(message);
        out
    }

    fn cut(stream: &[u8], piece: usize, limit: u64) -> Result<Vec<Vec<u8>>, FrameError> {
        let (mut framing, mut frames) = (Framing::new(limit), Vec::new());
        for bytes in stream.chunks(piece) {
            framing.push(bytes);
            while let Some(frame) = framing.next_frame()? {
                frames.push(frame.to_vec());
            }
        }
        framing.finish().map(|()| frames)
    }

    #[test]
    fn frames_come_out_however_the_stream_is_cut() {
        let messages: Vec<Vec<u8>> = [0, 1, 127, 128, 300, 100_000].iter().map(|n| vec![*n as u8; *n]).collect();
        let stream: Vec<u8> = messages.iter().flat_map(|m| frame(m)).collect();
        for piece in [1, 2, 7, 1000, stream.len()] {
            assert_eq!(cut(&stream, piece, 100_000).unwrap(), messages, "pieces of {piece}");
        }
        let too_large = FrameError::TooLarge { length: 100_000, limit: 99_999 };
        assert_eq!(cut(&stream, 1000, 99_999), Err(too_large));
    }

    #[test]
    fn damage_is_told() {
        let mut stream = frame(b"message");
        assert_eq!(cut(&stream[..stream.len() - 1], 3, 100), Err(FrameError::Truncated));
        assert_eq!(cut(&stream[..3], 3, 100), Err(FrameError::Truncated));
        stream[7] ^= 1;
        assert!(matches!(cut(&stream, 3, 100), Err(FrameError::Checksum { .. })));
        assert!(matches!(cut(&[0xff; 20], 3, u64::MAX), Err(FrameError::Length(_))));
        // A length that nobody could hold is refused by its head.
        let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
        assert!(matches!(cut(&huge, 9, 1 << 20), Err(FrameError::TooLarge { .. })));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(stream: Vec<u8>, piece in 1usize..20) {
            drop(cut(&stream, piece, 1000));
        }
    }
}
