//! Chunks of one series from several sources.

use std::ops::Range;

use super::{Buildable, decode_mixed, holds_floats, push_range};
use crate::storage::{Chunk, ChunkBuilder, Columns, DecodeError, decode_into};

/// Makes chunks of one series, given in order of precedence and overlapping in any way, ascending and free of overlaps.
/// Of samples with one timestamp that of the earlier chunk stays.
pub fn merge_chunks(chunks: Vec<Chunk>) -> Result<Vec<Chunk>, DecodeError> {
    if chunks.is_sorted_by(|a, b| a.max < b.min) {
        return Ok(chunks);
    }
    let mut ordered: Vec<(usize, Chunk)> = chunks.into_iter().enumerate().collect();
    ordered.sort_by_key(|(precedence, chunk)| (chunk.min, chunk.max, *precedence));
    let mut merged = Vec::with_capacity(ordered.len());
    let mut rest = ordered.into_iter().peekable();
    while let Some(first) = rest.next() {
        let mut end = first.1.max;
        let mut cluster = vec![first];
        while let Some(next) = rest.next_if(|(_, chunk)| chunk.min <= end) {
            end = end.max(next.1.max);
            if !is_known(&cluster, &next.1) {
                cluster.push(next);
            }
        }
        match cluster.len() {
            1 => merged.extend(cluster.into_iter().map(|(_, chunk)| chunk)),
            _ => merge_cluster(cluster, &mut merged)?,
        }
    }
    Ok(merged)
}

/// Whether the cluster, sorted by time, has the same chunk already.
fn is_known(cluster: &[(usize, Chunk)], chunk: &Chunk) -> bool {
    let same_times = cluster.iter().rev().take_while(|(_, c)| (c.min, c.max) == (chunk.min, chunk.max));
    same_times.into_iter().any(|(_, c)| c.encoding == chunk.encoding && c.data == chunk.data)
}

/// Encodes chunks that overlap anew.
fn merge_cluster(mut cluster: Vec<(usize, Chunk)>, merged: &mut Vec<Chunk>) -> Result<(), DecodeError> {
    cluster.sort_unstable_by_key(|(precedence, _)| *precedence);
    let mut builder = ChunkBuilder::new().in_place_of(cluster.iter().map(|(_, chunk)| chunk));
    if cluster.iter().all(|(_, chunk)| holds_floats(chunk)) {
        interleave(&runs(&cluster, decode_into)?, &mut builder)?;
    } else {
        interleave(&runs(&cluster, decode_mixed)?, &mut builder)?;
    }
    merged.append(&mut builder.finish());
    Ok(())
}

/// Decodes chunks into as few runs of ascending samples as neighbours in precedence allow: a source's own chunks ascend,
/// so there are about as many runs as sources.
fn runs<V>(
    cluster: &[(usize, Chunk)],
    decode: impl Fn(&Chunk, &mut Columns<V>) -> Result<(), DecodeError>,
) -> Result<Vec<Columns<V>>, DecodeError> {
    let mut runs: Vec<Columns<V>> = Vec::new();
    for (_, chunk) in cluster {
        match runs.last_mut() {
            Some(run) if run.times.last().is_some_and(|last| *last < chunk.min.0) => decode(chunk, run)?,
            _ => {
                let mut run = Columns::default();
                decode(chunk, &mut run)?;
                runs.push(run);
            }
        }
    }
    Ok(runs)
}

fn interleave<V: Buildable>(runs: &[Columns<V>], builder: &mut ChunkBuilder) -> Result<(), DecodeError> {
    let times: Vec<&[i64]> = runs.iter().map(|run| &run.times[..]).collect();
    for Piece { run, samples } in pieces(&times) {
        push_range(builder, &runs[run], samples)?;
    }
    Ok(())
}

/// The next samples of the merged series, all of one run.
#[derive(PartialEq, Eq, Debug)]
struct Piece {
    run: usize,
    samples: Range<usize>,
}

/// Which samples make up the merged series. Its times ascend even if those of a run should not.
fn pieces(times: &[&[i64]]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut next = vec![0; times.len()];
    loop {
        let heads = || times.iter().zip(&next).enumerate().filter_map(|(i, (run, at))| Some((*run.get(*at)?, i)));
        let Some((_, run)) = heads().min() else { return pieces };
        let others = heads().filter(|(_, i)| *i != run).map(|(t, _)| t).min();
        let (start, own) = (next[run], times[run]);
        let goes_on = |pair: &&[i64]| pair[0] < pair[1] && others.is_none_or(|t| pair[1] < t);
        let end = start + 1 + own[start..].windows(2).take_while(goes_on).count();
        pieces.push(Piece { run, samples: start..end });
        let newest = own[end - 1];
        next[run] = end;
        for (run, at) in times.iter().zip(&mut next) {
            *at += run[*at..].iter().take_while(|t| **t <= newest).count();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(run: usize, samples: Range<usize>) -> Piece {
        Piece { run, samples }
    }

    #[test]
    fn a_piece_ends_where_another_run_has_a_sample_and_the_first_run_wins() {
        let found = pieces(&[&[1, 2, 3, 9], &[3, 4, 5], &[]]);
        assert_eq!(found, [piece(0, 0..2), piece(0, 2..3), piece(1, 1..3), piece(0, 3..4)]);
        assert_eq!(pieces(&[&[5], &[5], &[4, 5]]), [piece(2, 0..1), piece(0, 0..1)]);
        assert_eq!(pieces(&[]), []);
    }

    #[test]
    fn times_that_do_not_ascend_are_left_out() {
        assert_eq!(pieces(&[&[1, 5, 5, 3, 6], &[2]]), [piece(0, 0..1), piece(1, 0..1), piece(0, 1..2), piece(0, 4..5)]);
    }
}
