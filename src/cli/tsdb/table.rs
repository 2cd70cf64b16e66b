//! Columns for people.

use std::io::{self, Write};

/// Columns are at least so wide,
const MIN_WIDTH: usize = 13;
/// and have so many spaces between them.
const PADDING: usize = 2;

/// Prints rows of equally many cells; columns are as wide as their widest cell needs. The last column is not padded.
pub(super) fn print(out: &mut impl Write, rows: &[Vec<String>]) -> io::Result<()> {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let widest = rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        (widest + PADDING).max(MIN_WIDTH)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let last = column + 1 == columns;
            write!(out, "{cell:<width$}", width = if last { 0 } else { *width })?;
        }
        writeln!(out)?;
    }
    Ok(())
}
