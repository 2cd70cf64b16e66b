//! Mutation without coverage: for compilers that cannot measure it. What is found goes to a file, so that it can be kept.

use std::time::{Duration, Instant};

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// Bytes that parsers treat in a way of their own, and numbers at borders.
const TOKENS: [&[u8]; 16] = [
    b"\0",
    b"\xff",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
    b"\xff\xff\xff\xff\x0f",
    b"{",
    b"}",
    b"\"",
    b"\\",
    b"\n",
    b"#",
    b"NaN",
    b"-9223372036854775808",
    b"1e309",
    b"(",
    b"[5m]",
    b"\xc3\x28",
];

/// Mutates inputs of a corpus for so long; returns how often `target` was run.
pub fn run(target: fn(&[u8]), corpus: &[Vec<u8>], seconds: u64, random: &mut Random, last: &mut Vec<u8>) -> u64 {
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut count = 0;
    while Instant::now() < end {
        for _ in 0..50 {
            last.clone_from(&corpus[random.below(corpus.len())]);
            for _ in 0..1 + random.below(8) {
                mutate(last, corpus, random);
            }
            last.truncate(8192);
            target(last);
            count += 1;
        }
    }
    count
}

fn mutate(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    let at = random.below(input.len() + 1);
    let length = 1 + random.below(8.max(input.len() / 4));
    let end = (at + length).min(input.len());
    match random.below(9) {
        0 | 1 => input[at..end].iter_mut().take(1).for_each(|byte| *byte = random.next() as u8),
        2 => input[at..end].iter_mut().take(1).for_each(|byte| *byte ^= 1 << (random.next() % 8)),
        3 => drop(input.drain(at..end)),
        4 => {
            let part = input[at..end].to_vec();
            input.splice(at..at, part);
        }
        5 => {
            let token = TOKENS[random.below(TOKENS.len())];
            input.splice(at..at, token.iter().copied());
        }
        6 => {
            let other = &corpus[random.below(corpus.len())];
            let from = random.below(other.len() + 1);
            let part = other[from..(from + length).min(other.len())].to_vec();
            input.splice(at..end, part);
        }
        7 => input[at..end].iter_mut().take(1).for_each(|byte| *byte = byte.wrapping_add(1)),
        _ => input.truncate(at),
    }
}
