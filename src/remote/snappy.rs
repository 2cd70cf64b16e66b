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

/// The length that a block declares, to be held against a limit.
pub fn declared_len(mut block: &[u8]) -> Option<u64> {
    prost::encoding::decode_varint(&mut block).ok()
}

/// Packs a message into `out`, replacing what it holds.
pub fn encode(message: &[u8], out: &mut Vec<u8>) -> Result<(), SnappyError> {
    out.clear();
    out.resize(snap::raw::max_compress_len(message.len()), 0);
    let written = snap::raw::Encoder::new().compress(message, out);
    out.truncate(written.map_err(|e| SnappyError::Damaged(e.to_string()))?);
    Ok(())
}

/// Bytes that are packed at a time: the format's own blocks.
const BLOCK: usize = 64 << 10;

/// Packs a message that is written piece by piece and whose length is known only at its end. Only packed bytes are kept.
///
/// A block is its length and then literals and copies, which reach back no further than 64 KiB; so pieces that were packed
/// one by one, without their lengths, are a block if they stand in a row behind the length of all.
#[derive(Debug)]
pub struct Packer {
    encoder: snap::raw::Encoder,
    pending: Vec<u8>,
    scratch: Vec<u8>,
    pieces: Vec<Vec<u8>>,
    unpacked: u64,
    packed: u64,
}

/// A place in a message that is being packed.
#[derive(Debug)]
pub struct Place {
    piece: usize,
    unpacked: u64,
}

impl Default for Packer {
    fn default() -> Packer {
        Packer::new()
    }
}

impl Packer {
    /// A packer of an empty message.
    pub fn new() -> Packer {
        Packer {
            encoder: snap::raw::Encoder::new(),
            pending: Vec::new(),
            scratch: Vec::new(),
            pieces: Vec::new(),
            unpacked: 0,
            packed: 0,
        }
    }

    /// Appends to the message.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), SnappyError> {
        for part in bytes.chunks(BLOCK) {
            self.pending.extend_from_slice(part);
            if self.pending.len() >= BLOCK {
                self.pack()?;
            }
        }
        Ok(())
    }

    /// Marks the message's end so far, where something may be put in later.
    pub fn place(&mut self) -> Result<Place, SnappyError> {
        self.pack()?;
        self.pieces.push(Vec::new());
        Ok(Place { piece: self.pieces.len() - 1, unpacked: self.unpacked })
    }

    /// Bytes of the message behind a place.
    pub fn since(&self, place: &Place) -> u64 {
        self.unpacked + self.pending.len() as u64 - place.unpacked
    }

    /// Puts a few bytes, at most 60, in at a place.
    pub fn put_in(&mut self, place: Place, bytes: &[u8]) {
        debug_assert!((1..=60).contains(&bytes.len()), "a short literal has one byte of head");
        let piece = &mut self.pieces[place.piece];
        piece.push(((bytes.len() - 1) << 2) as u8);
        piece.extend_from_slice(bytes);
        self.unpacked += bytes.len() as u64;
        self.packed += piece.len() as u64;
    }

    /// Bytes that are kept.
    pub fn held(&self) -> u64 {
        self.packed + self.pending.len() as u64
    }

    /// Bytes that the block has at least.
    pub fn packed(&self) -> u64 {
        self.packed
    }

    /// The pieces of the block. A message of 4 GiB or more has no block.
    pub fn finish(mut self) -> Result<impl Iterator<Item = Vec<u8>>, SnappyError> {
        const MAX: u64 = u32::MAX as u64;
        self.pack()?;
        if self.unpacked > MAX {
            return Err(SnappyError::TooLarge { declared: self.unpacked, max: MAX });
        }
        let mut head = Vec::new();
        prost::encoding::encode_varint(self.unpacked, &mut head);
        Ok(std::iter::once(head).chain(self.pieces))
    }

    fn pack(&mut self) -> Result<(), SnappyError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.scratch.resize(snap::raw::max_compress_len(self.pending.len()), 0);
        let written = self.encoder.compress(&self.pending, &mut self.scratch);
        let written = written.map_err(|e| SnappyError::Damaged(e.to_string()))?;
        let head = prost::encoding::encoded_len_varint(self.pending.len() as u64);
        self.pieces.push(self.scratch[head..written].to_vec());
        self.packed += (written - head) as u64;
        self.unpacked += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }
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

    #[test]
    fn a_message_packed_in_pieces_is_one_block_with_what_was_put_in_later() {
        let mut packer = Packer::new();
        let piece: Vec<u8> = (0..200_000u32).flat_map(|i| (i / 7).to_le_bytes()).collect();
        let mut whole = b"head".to_vec();
        packer.write(b"head").unwrap();
        let place = packer.place().unwrap();
        packer.write(&piece).unwrap();
        assert_eq!(packer.since(&place), piece.len() as u64);
        packer.put_in(place, b"put in");
        packer.write(b"tail").unwrap();
        [&b"put in"[..], &piece, b"tail"].into_iter().for_each(|part| whole.extend_from_slice(part));
        assert!(packer.held() < whole.len() as u64 / 2);
        let (block, mut message) = (packer.finish().unwrap().flatten().collect::<Vec<u8>>(), Vec::new());
        decode(&block, whole.len(), &mut message).unwrap();
        assert!(message == whole);
        let empty: Vec<u8> = Packer::new().finish().unwrap().flatten().collect();
        decode(&empty, 0, &mut message).unwrap();
        assert!(message.is_empty());
    }
}
