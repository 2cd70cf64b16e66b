//! An OpenMetrics text of any length, read piece by piece in constant memory.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::import::ImportError;
use crate::exposition::{Event, Format, ParseError, Parser, Sample};
use crate::model::MetricType;

/// Bytes read at once.
const PIECE: usize = 1 << 20;
/// No line is longer.
const MAX_LINE: usize = 64 << 20;

/// A text that can be read several times.
pub(super) struct Input {
    path: PathBuf,
    from: From,
}

enum From {
    File(File),
    /// What comes out of a pipe comes once, so it has to be kept.
    Memory(Vec<u8>),
}

impl Input {
    pub(super) fn open(path: &Path) -> Result<Input, ImportError> {
        let failed = |source| ImportError::Read { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        if meta.is_dir() {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        }
        let from = if meta.is_file() {
            From::File(file)
        } else {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).map_err(failed)?;
            From::Memory(bytes)
        };
        Ok(Input { path: path.to_owned(), from })
    }

    /// Reads from the beginning to `# EOF`. An error of `f` is told with the line it came from.
    pub(super) fn each_sample(
        &mut self,
        f: &mut dyn FnMut(&Sample<'_>, MetricType) -> Result<(), String>,
    ) -> Result<(), ImportError> {
        let path = self.path.clone();
        let failed = |source| ImportError::Read { path: path.clone(), source };
        match &mut self.from {
            From::Memory(bytes) => Pieces::new(&path, bytes.as_slice()).each_sample(f),
            From::File(file) => {
                file.seek(SeekFrom::Start(0)).map_err(failed)?;
                Pieces::new(&path, file).each_sample(f)
            }
        }
    }
}

/// Where a piece's lines have led.
enum Reached {
    /// To the end of the piece, in a family of that type.
    PieceEnd(MetricType),
    /// To `# EOF`.
    TextEnd,
}

/// Whole lines, some at a time.
struct Pieces<'a, R> {
    path: &'a Path,
    source: R,
    buffer: Vec<u8>,
    /// So much of the buffer has been parsed.
    done: usize,
    /// Lines and bytes before the buffer.
    lines: usize,
    bytes: usize,
    ended: bool,
}

impl<'a, R: Read> Pieces<'a, R> {
    fn new(path: &'a Path, source: R) -> Pieces<'a, R> {
        Pieces { path, source, buffer: Vec::new(), done: 0, lines: 0, bytes: 0, ended: false }
    }

    fn each_sample(
        mut self,
        f: &mut dyn FnMut(&Sample<'_>, MetricType) -> Result<(), String>,
    ) -> Result<(), ImportError> {
        let mut family = MetricType::Unknown;
        loop {
            let whole = self.fill()?;
            match self.lines_of(whole, family, f)? {
                Reached::PieceEnd(last) => family = last,
                Reached::TextEnd if whole == self.buffer.len() && self.at_end()? => return Ok(()),
                Reached::TextEnd => return Err(self.refused(whole, "unexpected data after # EOF".to_owned())),
            }
            self.done = whole;
        }
    }

    fn lines_of(
        &self,
        whole: usize,
        family: MetricType,
        f: &mut dyn FnMut(&Sample<'_>, MetricType) -> Result<(), String>,
    ) -> Result<Reached, ImportError> {
        let mut parser = Parser::new(&self.buffer[..whole], Format::OpenMetrics);
        parser.set_family_type(family);
        while self.ended || !parser.rest().is_empty() {
            match parser.next().map_err(|error| self.parse_error(error))? {
                Some(Event::Series(sample)) => {
                    let done = f(&sample, parser.family_type());
                    done.map_err(|problem| self.refused(parser.line_start(), problem))?;
                }
                Some(_) => {}
                None => return Ok(Reached::TextEnd),
            }
        }
        Ok(Reached::PieceEnd(parser.family_type()))
    }

    /// Drops what has been parsed and reads on; says how many bytes of the buffer are whole lines. At the end of the text
    /// all are.
    fn fill(&mut self) -> Result<usize, ImportError> {
        self.lines += memchr::memchr_iter(b'\n', &self.buffer[..self.done]).count();
        self.bytes += self.done;
        self.buffer.drain(..self.done);
        self.done = 0;
        loop {
            let before = self.buffer.len();
            let read = self.read(PIECE)?;
            if read == 0 {
                self.ended = true;
                return Ok(before);
            }
            if let Some(last) = memchr::memrchr(b'\n', &self.buffer[before..]) {
                return Ok(before + last + 1);
            }
            if self.buffer.len() > MAX_LINE {
                return Err(self.refused(0, format!("a line of more than {MAX_LINE} bytes")));
            }
        }
    }

    fn read(&mut self, limit: usize) -> Result<usize, ImportError> {
        let source = self.source.by_ref().take(limit as u64).read_to_end(&mut self.buffer);
        source.map_err(|source| ImportError::Read { path: self.path.to_owned(), source })
    }

    /// Whether nothing follows what has been parsed, which was the whole buffer.
    fn at_end(&mut self) -> Result<bool, ImportError> {
        Ok(self.ended || self.read(1)? == 0)
    }

    fn parse_error(&self, error: ParseError) -> ImportError {
        let ParseError { line, offset, .. } = error;
        let error = ParseError { line: self.lines + line, offset: self.bytes + offset, ..error };
        ImportError::Parse { path: self.path.to_owned(), error }
    }

    fn refused(&self, at: usize, problem: String) -> ImportError {
        let line = self.lines + memchr::memchr_iter(b'\n', &self.buffer[..at]).count() + 1;
        ImportError::Line { path: self.path.to_owned(), line, problem }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn read(text: &str) -> Result<Vec<(String, f64, Option<i64>)>, String> {
        let mut found = Vec::new();
        let done = Pieces::new(Path::new("in"), text.as_bytes()).each_sample(&mut |sample, family| {
            if sample.value == 13.0 {
                return Err("thirteen".to_owned());
            }
            let series = format!("{family:?} {}", String::from_utf8_lossy(sample.series));
            found.push((series, sample.value, sample.timestamp.map(|t| t.0)));
            Ok(())
        });
        done.map(|()| found).map_err(|error| error.to_string())
    }

    /// Longer than several pieces, with a family that reaches over their borders.
    fn long(lines: usize) -> String {
        let mut text = String::from("# TYPE a gauge\n");
        for i in 0..lines {
            writeln!(text, "a{{n=\"{}\"}} {i} {i}.5", "x".repeat(i % 300)).unwrap();
        }
        text
    }

    #[test]
    fn a_text_of_many_pieces_is_read_as_one() {
        let text = long(20_000) + "# TYPE b counter\nb_total 1 2\n# EOF\n";
        assert!(text.len() > 2 * PIECE);
        let found = read(&text.replace(" 13 ", " 14 ")).unwrap();
        assert_eq!(found.len(), 20_001);
        assert!(found[..20_000].iter().all(|(series, ..)| series.starts_with("Gauge a{")));
        assert!((0..20_000).all(|i| found[i].2 == Some(i as i64 * 1000 + 500)));
        assert_eq!(found[20_000], ("Counter b_total".to_owned(), 1.0, Some(2000)));
    }

    #[test]
    fn errors_name_the_line_of_the_whole_text() {
        let text = long(20_000).replace(" 13 ", " 14 ");
        for (tail, expected) in [
            ("a nonsense\n# EOF\n", "in: line 20002, byte "),
            ("a 13 1\n# EOF\n", "in: line 20002: thirteen"),
            ("", "in: line 20002, byte "),
            ("a 1 1\n", "in: line 20003, byte "),
        ] {
            let error = read(&(text.clone() + tail)).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
        assert!(read(&text).unwrap_err().contains("data does not end with # EOF"));
        assert!(read("").unwrap_err().contains("data does not end with # EOF"));
    }

    #[test]
    fn the_text_ends_where_it_says() {
        assert_eq!(read("a 1 1\n# EOF").unwrap().len(), 1);
        assert_eq!(read("# EOF\n").unwrap().len(), 0);
        let error = read("a 1 1\n# EOF\nb 1 1\n").unwrap_err();
        assert!(error.contains("unexpected data after # EOF"), "{error}");
        // The same where the end is the last line of a piece.
        let mut text = "# HELP a x\n".repeat(PIECE / 11 - 20);
        text.push_str(&format!("# HELP a {}\n", "y".repeat(PIECE - text.len() - "# HELP a \n# EOF\n".len())));
        text.push_str("# EOF\n");
        assert_eq!(text.len(), PIECE);
        assert_eq!(read(&text).unwrap().len(), 0);
        let error = read(&(text + "b 1 1\n")).unwrap_err();
        assert!(error.contains("unexpected data after # EOF"), "{error}");
    }

    #[test]
    fn a_line_without_end_is_refused_before_it_fills_memory() {
        let endless = Pieces::new(Path::new("in"), io::repeat(b'a'));
        let error = endless.each_sample(&mut |_, _| Ok(())).unwrap_err().to_string();
        assert!(error.starts_with("in: line 1: a line of more than"), "{error}");
    }
}
