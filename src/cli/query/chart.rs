//! A range as lines in the terminal.
//!
//! All series share one plot of braille dots, two by four in a cell; below it each has a line of its own with its smallest,
//! largest and newest value and its course in small, so that they can be told apart even without colours.

use std::io::{self, IsTerminal as _, Write};

use jiff::Timestamp;

use super::answer::{Answer, Number, Series};
use super::ask::Range;
use super::text;

/// Cells of a terminal that does not tell how many it has.
const DEFAULT_WIDTH: usize = 80;
const WIDTH_RANGE: std::ops::RangeInclusive<usize> = 40..=240;
/// Rows of the plot; with axis and a few series it stays on one screen.
const HEIGHT: usize = 14;
/// Series that are drawn; more lines in one plot tell nothing.
const SERIES_MAX: usize = 12;
/// Cells of a course in small.
const COURSE: usize = 16;
/// A name gets at least so many cells before its course gets any.
const NAME_MIN: usize = 12;
/// The eight heights of a course in small.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Colours that can be read on dark and on light ground.
const COLOURS: [u8; 6] = [36, 33, 35, 32, 34, 31];

/// Where it is drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Canvas {
    width: usize,
    has_colours: bool,
}

/// One series' numbers.
struct Line {
    name: String,
    /// Time as a part of the range, 0 to 1, and value; only finite ones.
    points: Vec<(f64, f64)>,
}

impl Canvas {
    /// The terminal behind standard output; `COLUMNS` and `NO_COLOR` are heeded.
    pub fn of_terminal() -> Canvas {
        let told = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        let asked = || rustix::termios::tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_col));
        let width = told.or_else(asked).filter(|width| *width > 0).unwrap_or(DEFAULT_WIDTH);
        let has_colours = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Canvas { width: width.clamp(*WIDTH_RANGE.start(), *WIDTH_RANGE.end()), has_colours }
    }

    fn coloured(&self, series: usize, text: &str) -> String {
        match self.has_colours {
            true => format!("\x1b[{}m{text}\x1b[0m", COLOURS[series % COLOURS.len()]),
            false => text.to_owned(),
        }
    }
}

/// Draws the answer to a range query.
pub(super) fn draw(out: &mut impl Write, answer: &Answer, range: &Range, canvas: &Canvas) -> io::Result<()> {
    let Answer::Matrix(all) = answer else { return writeln!(out, "nothing to draw") };
    let lines: Vec<Line> = all.iter().take(SERIES_MAX).map(|series| Line::of(series, range)).collect();
    let values = || lines.iter().flat_map(|line| line.points.iter().map(|(_, v)| *v));
    let (min, max) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
    if min > max {
        return writeln!(out, "no numbers between {} and {}", second(range.start), second(range.end));
    }
    draw_plot(out, &lines, (min, max), range, canvas)?;
    for (index, line) in lines.iter().enumerate() {
        draw_legend(out, index, line, canvas)?;
    }
    match all.len().saturating_sub(lines.len()) {
        0 => Ok(()),
        left_out => writeln!(out, "and {left_out} more series, which are not drawn"),
    }
}

impl Line {
    fn of(series: &Series, range: &Range) -> Line {
        let start = range.start.as_millisecond() as f64 / 1000.0;
        let span = range.end.as_millisecond() as f64 / 1000.0 - start;
        let points = series.values.iter().filter_map(|(t, v)| {
            let Number(v) = *v;
            v.is_finite().then_some((((t.as_f64()? - start) / span).clamp(0.0, 1.0), v))
        });
        Line { name: text::metric(&series.metric), points: points.collect() }
    }

    fn bounds(&self) -> (f64, f64) {
        let values = || self.points.iter().map(|(_, v)| *v);
        (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max))
    }
}

fn draw_plot(
    out: &mut impl Write,
    lines: &[Line],
    (min, max): (f64, f64),
    range: &Range,
    canvas: &Canvas,
) -> io::Result<()> {
    let marks = [(0, short(max)), (HEIGHT / 2, short(f64::midpoint(min, max))), (HEIGHT - 1, short(min))];
    // A flat line gets one mark, in the middle, where it is drawn.
    let marks = if min < max { &marks[..] } else { &marks[1..2] };
    let margin = marks.iter().map(|(_, text)| text.chars().count()).max().unwrap_or(0);
    let mut plot = Plot::new(canvas.width - margin - 2, HEIGHT);
    for (index, line) in lines.iter().enumerate() {
        plot.add(index, &line.points, min, max);
    }
    for row in 0..HEIGHT {
        let mark = marks.iter().find(|(at, _)| *at == row).map_or("", |(_, text)| text);
        writeln!(out, "{mark:>margin$} {}{}", if mark.is_empty() { '│' } else { '┤' }, plot.row(row, canvas))?;
    }
    let (from, mut to) = (second(range.start), second(range.end));
    if from.len() + to.len() >= plot.width {
        // The day stands at the left already.
        to = to.split_off(to.find('T').map_or(0, |at| at + 1));
    }
    let gap = plot.width.saturating_sub(from.len() + to.len());
    writeln!(out, "{:margin$} └{}", "", "─".repeat(plot.width))?;
    writeln!(out, "{:margin$}  {from}{:gap$}{to}", "", "")
}

fn draw_legend(out: &mut impl Write, index: usize, line: &Line, canvas: &Canvas) -> io::Result<()> {
    let mark = canvas.coloured(index, "⣿");
    let Some((_, last)) = line.points.last() else { return writeln!(out, "{mark} {}  no numbers", line.name) };
    let (min, max) = line.bounds();
    let figures = format!("min {}  max {}  last {}", short(min), short(max), short(*last));
    // What tells most goes last: on a narrow terminal first the course is left out, then names are cut short.
    let room = canvas.width.saturating_sub(2 + 2 + figures.len());
    if room < NAME_MIN + 2 + COURSE {
        let room = room.max(1);
        return writeln!(out, "{mark} {:<room$}  {figures}", cut(&line.name, room));
    }
    let room = room - COURSE - 2;
    let course = canvas.coloured(index, &course(line, min, max));
    writeln!(out, "{mark} {:<room$}  {course}  {figures}", cut(&line.name, room))
}

/// The newest value of each part of the range as one of eight heights.
fn course(line: &Line, min: f64, max: f64) -> String {
    let mut cells = [' '; COURSE];
    for (x, v) in &line.points {
        let level = if min < max { (v - min) / (max - min) * 7.0 } else { 3.0 };
        cells[((x * COURSE as f64) as usize).min(COURSE - 1)] = LEVELS[(level.round() as usize).min(7)];
    }
    cells.iter().collect()
}

/// Dots by cell, and who drew last into each.
struct Plot {
    width: usize,
    height: usize,
    cells: Vec<(u8, usize)>,
}

impl Plot {
    fn new(width: usize, height: usize) -> Plot {
        Plot { width, height, cells: vec![(0, 0); width * height] }
    }

    /// Draws lines between points that are less than a twentieth of the range apart; longer gaps stay gaps.
    fn add(&mut self, series: usize, points: &[(f64, f64)], min: f64, max: f64) {
        let (right, bottom) = ((self.width * 2 - 1) as f64, (self.height * 4 - 1) as f64);
        let place = |(x, v): (f64, f64)| {
            let height = if min < max { (v - min) / (max - min) } else { 0.5 };
            ((x * right).round() as i64, ((1.0 - height) * bottom).round() as i64)
        };
        let mut before: Option<(f64, f64)> = None;
        for point in points {
            let to = place(*point);
            match before.filter(|b| point.0 - b.0 < 0.05) {
                Some(b) => self.line(series, place(b), to),
                None => self.dot(series, to),
            }
            before = Some(*point);
        }
    }

    fn line(&mut self, series: usize, from: (i64, i64), to: (i64, i64)) {
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let steps = dx.abs().max(dy.abs()).max(1);
        for step in 0..=steps {
            let part = step as f64 / steps as f64;
            let at = |from: i64, d: i64| from + (d as f64 * part).round() as i64;
            self.dot(series, (at(from.0, dx), at(from.1, dy)));
        }
    }

    fn dot(&mut self, series: usize, (x, y): (i64, i64)) {
        /// Braille counts the dots of a cell in columns, with the fourth row added later.
        const BITS: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
        let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else { return };
        if let Some(cell) = self.cells.get_mut(y / 4 * self.width + x / 2) {
            *cell = (cell.0 | BITS[y % 4][x % 2], series);
        }
    }

    fn row(&self, row: usize, canvas: &Canvas) -> String {
        let cells = &self.cells[row * self.width..(row + 1) * self.width];
        let mut out = String::new();
        // One change of colour for a run of cells of one series.
        for run in cells.chunk_by(|a, b| (a.0 == 0) == (b.0 == 0) && (a.0 == 0 || a.1 == b.1)) {
            let text: String = run.iter().map(|(dots, _)| braille(*dots)).collect();
            out.push_str(&if run[0].0 == 0 { text } else { canvas.coloured(run[0].1, &text) });
        }
        out.truncate(out.trim_end().len());
        out
    }
}

fn braille(dots: u8) -> char {
    match dots {
        0 => ' ',
        dots => char::from_u32(0x2800 + u32::from(dots)).unwrap_or(' '),
    }
}

/// A number in at most some eight characters.
fn short(v: f64) -> String {
    let magnitude = v.abs();
    let scaled = |by: f64, unit: &str| {
        let text = format!("{:.2}", v / by);
        format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
    };
    match magnitude {
        0.0 => "0".to_owned(),
        m if !(0.001..1e15).contains(&m) => format!("{v:.2e}"),
        m if m < 1.0 => {
            let text = format!("{v:.4}");
            text.trim_end_matches('0').to_owned()
        }
        m if m < 1e4 => scaled(1.0, ""),
        m if m < 1e6 => scaled(1e3, "k"),
        m if m < 1e9 => scaled(1e6, "M"),
        m if m < 1e12 => scaled(1e9, "G"),
        _ => scaled(1e12, "T"),
    }
}

fn cut(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let kept: String = text.chars().take(room - 1).collect();
    format!("{kept}…")
}

fn second(t: Timestamp) -> String {
    Timestamp::from_second(t.as_second()).unwrap_or(t).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DurationMs;

    fn range() -> Range {
        let at = |s: i64| Timestamp::from_second(1_700_000_000 + s).unwrap();
        Range { start: at(0), end: at(100), step: DurationMs(1000) }
    }

    fn drawn(series: &[(&str, &[(i64, &str)])], width: usize) -> String {
        let all: Vec<String> = series
            .iter()
            .map(|(name, values)| {
                let values: Vec<String> =
                    values.iter().map(|(t, v)| format!("[{},\"{v}\"]", 1_700_000_000 + t)).collect();
                format!(r#"{{"metric":{{"__name__":"{name}"}},"values":[{}]}}"#, values.join(","))
            })
            .collect();
        let answer = format!(r#"{{"resultType":"matrix","result":[{}]}}"#, all.join(","));
        let mut out = Vec::new();
        let canvas = Canvas { width, has_colours: false };
        draw(&mut out, &serde_json::from_str(&answer).unwrap(), &range(), &canvas).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_chart_fits_the_terminal_and_tells_its_series_apart() {
        let rising: Vec<(i64, String)> = (0..=100).map(|t| (t, t.to_string())).collect();
        let rising: Vec<(i64, &str)> = rising.iter().map(|(t, v)| (*t, v.as_str())).collect();
        let text = drawn(&[("rising", &rising), ("flat_one_with_a_very_long_name", &[(0, "50"), (4, "50")])], 60);
        assert!(text.lines().all(|line| line.chars().count() <= 60), "\n{text}");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), HEIGHT + 2 + 2, "\n{text}");
        assert!(lines[0].starts_with("100 ┤") && lines[HEIGHT - 1].starts_with("  0 ┤"), "\n{text}");
        // From the lower left to the upper right.
        assert!(lines[0].ends_with('⠉') || lines[0].ends_with('⠁') || lines[0].ends_with('⠊'), "\n{text}");
        assert!(lines[HEIGHT - 1].chars().nth(5).is_some_and(|c| c != ' '), "\n{text}");
        assert!(
            lines[HEIGHT + 1].contains("2023-11-14T22:13:20Z") && lines[HEIGHT + 1].ends_with("22:15:00Z"),
            "\n{text}"
        );
        assert!(
            lines[HEIGHT + 2].contains("rising") && lines[HEIGHT + 2].contains("min 0  max 100  last 100"),
            "\n{text}"
        );
        assert!(lines[HEIGHT + 2].contains('▁') && lines[HEIGHT + 2].contains('█'), "\n{text}");
        let narrow = drawn(&[("rising", &rising)], 40);
        assert!(narrow.lines().all(|line| line.chars().count() <= 40), "\n{narrow}");
        assert!(lines[HEIGHT + 3].contains('…') && lines[HEIGHT + 3].contains("last 50"), "\n{text}");
    }

    #[test]
    fn what_cannot_be_drawn_is_said() {
        assert!(drawn(&[], 80).starts_with("no numbers between 2023-11-14T22:13:20Z"));
        assert!(drawn(&[("a", &[(1, "NaN"), (2, "+Inf")])], 80).starts_with("no numbers"));
        let one = drawn(&[("a", &[(50, "7")]), ("b", &[(1, "NaN")])], 80);
        assert!(one.contains("7 ┤") && one.contains("b  no numbers"), "\n{one}");
        let many: Vec<(&str, &[(i64, &str)])> = vec![("a", &[(1, "1")]); SERIES_MAX + 3];
        assert!(drawn(&many, 80).ends_with("and 3 more series, which are not drawn\n"));
    }

    #[test]
    fn numbers_are_short() {
        for (v, text) in [
            (0.0, "0"),
            (-0.25, "-0.25"),
            (0.123_456, "0.1235"),
            (3.0, "3"),
            (1234.5, "1234.5"),
            (12_345.0, "12.35k"),
            (-5e6, "-5M"),
            (7.25e9, "7.25G"),
            (1.5e-7, "1.50e-7"),
            (2e20, "2.00e20"),
        ] {
            assert_eq!(short(v), text);
        }
    }
}
