//! Bodies: streaming in, unpacked, capped.

use std::time::Duration;

use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};
use tokio::time::Instant;
use url::Url;
use zstd::stream::raw::{DParameter, Decoder as ZstdDecoder, InBuffer, Operation as _, OutBuffer};

use super::{BodyError, ClientError};

/// The most that a body may hold when its reader sets no limit of its own: 512 MiB, several times the largest
/// exposition seen in the field, and small enough for a 32-bit address space.
pub const MAX_BODY_BYTES: u64 = 512 << 20;
/// Of a declared length no more than this is believed; beyond it the buffer grows with what really comes.
const MAX_RESERVE: usize = 1 << 20;
/// How much room the unpacked bytes get at least when the buffer is full.
const MIN_ROOM: usize = 64 << 10;
/// Unpacked bytes after which the thread is offered to other tasks: well below a millisecond of work.
const SLICE: usize = 256 << 10;
/// Largest window that a zstd frame may ask for, as a power of two; 8 MiB is what RFC 8878 tells decoders to support.
pub(crate) const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// A body that is still arriving. Dropping it closes the connection unless it was read to its end.
pub struct Body {
    response: reqwest::Response,
    url: Url,
    deadline: Option<(Instant, Duration)>,
}

impl Body {
    pub(super) fn new(response: reqwest::Response, url: Url, deadline: Option<(Instant, Duration)>) -> Body {
        Body { response, url, deadline }
    }

    /// The next piece as it came over the wire; `None` at the end. Cancel safe.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        let next = self.response.chunk();
        let result = match self.deadline {
            None => next.await,
            Some((at, after)) => tokio::time::timeout_at(at, next).await.map_err(|_| ClientError::Timeout { after })?,
        };
        result.map_err(|error| ClientError::from_http(&error, &self.url))
    }

    /// The length that the peer declared.
    pub fn declared_len(&self) -> Option<u64> {
        self.response.content_length()
    }
}

/// What reading a body showed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BodyInfo {
    /// Bytes as they came, before unpacking.
    pub wire_bytes: u64,
}

/// Reads a whole body into `out`, which is cleared first, and unpacks it by its `Content-Encoding` (`gzip`, `zstd`, or
/// none). The unpacked size is checked while it grows: a body of `limit` bytes or more is an error, just as in
/// Prometheus, and costs `limit` bytes of memory, not more; without a limit [`MAX_BODY_BYTES`] holds. After an error `out` holds
/// what came until then.
pub async fn read_body(
    body: Body,
    content_encoding: &str,
    limit: Option<u64>,
    out: &mut Vec<u8>,
) -> Result<BodyInfo, BodyError> {
    read_body_watched(body, content_encoding, limit, out, |_| Ok(())).await
}

/// As [`read_body`]; `watch` is told how much has been unpacked so far whenever that has grown, and can end the reading.
pub async fn read_body_watched<E: From<BodyError>>(
    mut body: Body,
    content_encoding: &str,
    limit: Option<u64>,
    out: &mut Vec<u8>,
    mut watch: impl FnMut(usize) -> Result<(), E>,
) -> Result<BodyInfo, E> {
    out.clear();
    let mut unpack = Unpack::new(content_encoding)?;
    let limit = limit.unwrap_or(MAX_BODY_BYTES).min(MAX_BODY_BYTES);
    if let (Unpack::Identity, Some(len)) = (&unpack, body.declared_len()) {
        out.reserve(usize::try_from(len).unwrap_or(MAX_RESERVE).min(MAX_RESERVE));
    }
    let mut info = BodyInfo::default();
    while let Some(chunk) = body.chunk().await.map_err(BodyError::from)? {
        info.wire_bytes += chunk.len() as u64;
        let mut input = &chunk[..];
        while unpack.step(&mut input, limit, out)? == Step::More {
            watch(out.len())?;
            tokio::task::yield_now().await;
        }
        watch(out.len())?;
    }
    if unpack.ended() {
        Ok(info)
    } else {
        Err(BodyError::Truncated { encoding: unpack.name(), wire_bytes: info.wire_bytes }.into())
    }
}

/// Unpacks a whole body that is there already, as [`read_body`] does one that arrives.
pub fn unpack(packed: &[u8], content_encoding: &str, limit: u64, out: &mut Vec<u8>) -> Result<(), BodyError> {
    out.clear();
    let mut unpack = Unpack::new(content_encoding)?;
    let mut input = packed;
    while unpack.step(&mut input, limit, out)? == Step::More {}
    if unpack.ended() {
        return Ok(());
    }
    Err(BodyError::Truncated { encoding: unpack.name(), wire_bytes: packed.len() as u64 })
}

/// What is left to do for one chunk.
#[derive(PartialEq, Eq, Debug)]
enum Step {
    Done,
    More,
}

enum Unpack {
    Identity,
    /// `ended` is true between two members.
    Gzip {
        inflate: Decompress,
        ended: bool,
    },
    /// `ended` is true between two frames.
    Zstd {
        decoder: ZstdDecoder<'static>,
        ended: bool,
    },
}

impl Unpack {
    fn new(content_encoding: &str) -> Result<Unpack, BodyError> {
        let name = content_encoding.trim();
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if name.is_empty() || is("identity") {
            Ok(Unpack::Identity)
        } else if is("gzip") || is("x-gzip") {
            Ok(Unpack::Gzip { inflate: Decompress::new_gzip(15), ended: false })
        } else if is("zstd") {
            let broken = |e: std::io::Error| BodyError::Corrupt { encoding: "zstd", reason: e.to_string() };
            let mut decoder = ZstdDecoder::new().map_err(broken)?;
            decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX)).map_err(broken)?;
            Ok(Unpack::Zstd { decoder, ended: false })
        } else {
            // Capped: the text comes from the peer and goes into a log line.
            Err(BodyError::Encoding(name.chars().take(40).collect()))
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Unpack::Identity => "identity",
            Unpack::Gzip { .. } => "gzip",
            Unpack::Zstd { .. } => "zstd",
        }
    }

    fn ended(&self) -> bool {
        match self {
            Unpack::Identity => true,
            Unpack::Gzip { ended, .. } | Unpack::Zstd { ended, .. } => *ended,
        }
    }

    /// Unpacks from `input` into `out` until the input is used up or [`SLICE`] bytes have been written.
    fn step(&mut self, input: &mut &[u8], limit: u64, out: &mut Vec<u8>) -> Result<Step, BodyError> {
        if let Unpack::Identity = self {
            if (out.len() as u64).saturating_add(input.len() as u64) >= limit {
                return Err(BodyError::TooLarge { limit });
            }
            out.extend_from_slice(input);
            *input = &[];
            return Ok(Step::Done);
        }
        let start = out.len();
        loop {
            make_room(out, limit)?;
            let (before_in, before_out) = (input.len(), out.len());
            match self {
                Unpack::Identity => return Ok(Step::Done),
                Unpack::Gzip { inflate, ended } => gunzip(inflate, ended, input, out)?,
                Unpack::Zstd { decoder, ended } => unzstd(decoder, ended, input, out)?,
            }
            if out.len() as u64 >= limit {
                return Err(BodyError::TooLarge { limit });
            }
            // A full buffer may hide bytes that the decoder still holds back, so it is asked again with new room.
            let stuck = input.len() == before_in && out.len() == before_out;
            if stuck || (input.is_empty() && out.len() < out.capacity()) {
                return Ok(Step::Done);
            }
            if out.len() - start >= SLICE {
                return Ok(Step::More);
            }
        }
    }
}

/// Makes sure that `out` can take at least one byte, and that its capacity never exceeds `limit` by that.
fn make_room(out: &mut Vec<u8>, limit: u64) -> Result<(), BodyError> {
    if out.len() < out.capacity() {
        return Ok(());
    }
    let limit_len = usize::try_from(limit).unwrap_or(usize::MAX);
    let target = out.len().saturating_mul(2).max(MIN_ROOM).min(limit_len);
    if target <= out.len() {
        return Err(BodyError::TooLarge { limit });
    }
    out.reserve_exact(target - out.len());
    Ok(())
}

fn gunzip(inflate: &mut Decompress, ended: &mut bool, input: &mut &[u8], out: &mut Vec<u8>) -> Result<(), BodyError> {
    if *ended && input.is_empty() {
        return Ok(());
    }
    if *ended {
        // A gzip file may hold several members one after the other.
        *inflate = Decompress::new_gzip(15);
        *ended = false;
    }
    let before = inflate.total_in();
    let status = inflate
        .decompress_vec(input, out, FlushDecompress::None)
        .map_err(|e| BodyError::Corrupt { encoding: "gzip", reason: e.to_string() })?;
    let used = usize::try_from(inflate.total_in() - before).unwrap_or(input.len());
    *input = &input[used.min(input.len())..];
    *ended |= status == Status::StreamEnd;
    Ok(())
}

fn unzstd(
    decoder: &mut ZstdDecoder<'static>,
    ended: &mut bool,
    input: &mut &[u8],
    out: &mut Vec<u8>,
) -> Result<(), BodyError> {
    if *ended && input.is_empty() {
        return Ok(());
    }
    let mut from = InBuffer::around(input);
    let start = out.len();
    let hint = {
        let mut to = OutBuffer::around_pos(out, start);
        decoder.run(&mut from, &mut to).map_err(|e| BodyError::Corrupt { encoding: "zstd", reason: e.to_string() })?
    };
    let used = from.pos();
    *input = &input[used..];
    *ended = hint == 0;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).expect("writing to memory");
        encoder.finish().expect("writing to memory")
    }

    fn unpack(encoding: &str, packed: &[u8], chunk: usize, limit: u64, out: &mut Vec<u8>) -> Result<bool, BodyError> {
        let mut unpack = Unpack::new(encoding)?;
        for piece in packed.chunks(chunk) {
            let mut input = piece;
            while unpack.step(&mut input, limit, out)? == Step::More {}
            assert!(input.is_empty(), "nothing of a chunk may be left over");
        }
        Ok(unpack.ended())
    }

    #[test]
    fn every_encoding_gives_the_same_bytes_for_any_chunking() {
        let text: Vec<u8> = (0..40_000u32).flat_map(|i| format!("metric_{} {}\n", i % 97, i).into_bytes()).collect();
        let two_members = [gzip(&text[..1000]), gzip(&text[1000..])].concat();
        let zstd = zstd::encode_all(&text[..], 3).expect("packing");
        let two_frames = [zstd::encode_all(&text[..1000], 3), zstd::encode_all(&text[1000..], 3)]
            .map(|f| f.expect("packing"))
            .concat();
        for (encoding, packed) in
            [("", &text), ("GZIP", &gzip(&text)), ("gzip", &two_members), ("zstd", &zstd), ("zstd", &two_frames)]
        {
            for chunk in [1, 7, 4096, usize::MAX] {
                let mut out = Vec::new();
                assert_eq!(unpack(encoding, packed, chunk, MAX_BODY_BYTES, &mut out), Ok(true), "{encoding} {chunk}");
                assert!(out == text, "{encoding} in chunks of {chunk}");
            }
        }
    }

    #[test]
    fn a_bomb_costs_its_limit_and_no_more() {
        let zeros = vec![0u8; 50 << 20];
        for (encoding, packed) in [("gzip", gzip(&zeros)), ("zstd", zstd::encode_all(&zeros[..], 3).expect("packing"))]
        {
            let mut out = Vec::new();
            let limit = 1_000_000;
            assert_eq!(
                unpack(encoding, &packed, 8192, limit, &mut out),
                Err(BodyError::TooLarge { limit }),
                "{encoding}"
            );
            assert!(out.capacity() <= 1_000_000, "{encoding} reserved {}", out.capacity());
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_unpacking_panic_or_exceed_the_limit(
            packed in proptest::collection::vec(proptest::num::u8::ANY, 0..300),
            zeros in 0usize..5000,
            from in 0usize..64,
        ) {
            for encoding in ["gzip", "zstd", ""] {
                // Garbage, and a good beginning that turns into garbage.
                let good = match encoding {
                    "gzip" => gzip(&vec![0; zeros]),
                    _ => zstd::encode_all(&vec![0; zeros][..], 1).expect("packing"),
                };
                let mixed = [&good[..from.min(good.len())], &packed].concat();
                for bytes in [&packed, &mixed] {
                    let mut out = Vec::new();
                    let _ = unpack(encoding, bytes, 50, 2000, &mut out);
                    proptest::prop_assert!(out.len() <= 2000);
                }
            }
        }
    }

    #[test]
    fn the_limit_is_the_first_size_that_fails() {
        for encoding in ["", "gzip", "zstd"] {
            let packed = match encoding {
                "gzip" => gzip(&[7; 100]),
                "zstd" => zstd::encode_all(&[7u8; 100][..], 3).expect("packing"),
                _ => vec![7; 100],
            };
            let mut out = Vec::new();
            assert_eq!(unpack(encoding, &packed, 9, 101, &mut out), Ok(true), "{encoding}");
            let mut out = Vec::new();
            assert_eq!(unpack(encoding, &packed, 9, 100, &mut out), Err(BodyError::TooLarge { limit: 100 }));
        }
    }

    #[test]
    fn cut_and_garbled_bytes_are_noticed() {
        let text = b"up 1\n".repeat(5000);
        for (encoding, packed) in [("gzip", gzip(&text)), ("zstd", zstd::encode_all(&text[..], 3).expect("packing"))] {
            for cut in [0, 1, 5, packed.len() / 2, packed.len() - 1] {
                let mut out = Vec::new();
                let ended = unpack(encoding, &packed[..cut], 100, MAX_BODY_BYTES, &mut out);
                assert_ne!(ended, Ok(true), "{encoding} cut after {cut} bytes");
            }
            for garbage in [&b"HTTP is not compressed"[..], &[0u8; 64], &[packed.clone(), b"tail!".to_vec()].concat()] {
                let mut out = Vec::new();
                let result = unpack(encoding, garbage, 100, MAX_BODY_BYTES, &mut out);
                assert_ne!(result, Ok(true), "{encoding} of {garbage:?}");
            }
        }
        assert_eq!(Unpack::new("br").map(|_| ()), Err(BodyError::Encoding("br".into())));
    }
}
