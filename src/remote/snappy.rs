//! Snappy's block format, which remote read and remote write pack their messages in.
//!
//! Source: google/snappy, "format_description.txt": a length as a varint, then literals and copies. The declared length is
//! held against a limit before memory is taken for it.

/// Why bytes cannot be unpacked.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SnappyError {
    /// The message would be larger than allowed.
    #[error("the unpacked message would have {declared} bytes, more than the {max} that are allowed")]
    TooLarge {
        /// As the block's head says.
        declared: u64,
        /// The limit.
        max: u64,
    },
    /// It is not snappy, or damaged.
    #[error("not a block of snappy: {0}")]
    Damaged(String),
}

/// Unpacks a block into `out`, which is emptied first and keeps its memory for the next.
#[expect(clippy::disallowed_methods, reason = "the declared length is held against the limit before it is believed")]
pub fn decode(block: &[u8], max: usize, out: &mut Vec<u8>) -> Result<(), SnappyError> {
    out.clear();
    let damaged = |e: snap::Error| SnappyError::Damaged(e.to_string());
    let declared = snap::raw::decompress_len(block).map_err(damaged)?;
    if declared > max {
        return Err(SnappyError::TooLarge { declared: declared as u64, max: max as u64 });
    }
    out.resize(declared, 0);
    let written = snap::raw::Decoder::new().decompress(block, out).map_err(damaged)?;
    out.truncate(written);
    Ok(())
}

/// Packs a message into `out`, replacing what it holds.
pub fn encode(message: &[u8], out: &mut Vec<u8>) -> Result<(), SnappyError> {
    out.clear();
    out.resize(snap::raw::max_compress_len(message.len()), 0);
    let written = snap::raw::Encoder::new().compress(message, out);
    out.truncate(written.map_err(|e| SnappyError::Damaged(e.to_string()))?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_comes_back_and_a_bomb_is_refused_by_its_head() {
        let (mut block, mut message) = (Vec::new(), Vec::new());
        encode(&[7; 100_000], &mut block).unwrap();
        decode(&block, 100_000, &mut message).unwrap();
        assert_eq!(message, [7; 100_000]);
        let refused = decode(&block, 99_999, &mut message);
        assert_eq!(refused, Err(SnappyError::TooLarge { declared: 100_000, max: 99_999 }));
        assert!(matches!(decode(&[0xff; 9], 10, &mut message), Err(SnappyError::Damaged(_))));
        assert!(matches!(decode(&block[..50], 100_000, &mut message), Err(SnappyError::Damaged(_))));
    }
}
