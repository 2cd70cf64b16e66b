//! How numbers are spread: a histogram of bars.

use std::io::{self, Write};

/// Prints `numbers` in at most some dozen bars; one `#` stands for a hundredth of `total`.
pub(super) fn print(out: &mut impl Write, what: &str, numbers: &[u64], total: usize) -> io::Result<()> {
    let (Some(&min), Some(&max)) = (numbers.iter().min(), numbers.iter().max()) else {
        return writeln!(out, "{what}: N/A\n");
    };
    let (start, end, step) = bars(min, max);
    let mut counts = vec![0usize; usize::try_from((end - start) / step + 1).unwrap_or(0)];
    for number in numbers {
        if let Some(count) = usize::try_from((number - start) / step).ok().and_then(|bar| counts.get_mut(bar)) {
            *count += 1;
        }
    }
    let average = numbers.iter().sum::<u64>() / numbers.len() as u64;
    writeln!(out, "{what} (min/avg/max): {min}/{average}/{max}")?;
    let digits = |n: u64| n.to_string().len();
    let widest = counts.iter().copied().max().unwrap_or(0) as u64;
    let (left, right, middle) = (digits(end), digits(end + step), digits(widest));
    for (from, count) in (start..).step_by(usize::try_from(step).unwrap_or(usize::MAX)).zip(&counts) {
        let bar = "#".repeat(100 * count / total.max(1));
        writeln!(out, "[{:left$}, {:right$}]: {count:middle$} {bar}", from + 1, from + step)?;
    }
    writeln!(out)
}

/// Start, end and width of bars: a power of ten that gives about ten bars, but no less than 10.
fn bars(min: u64, max: u64) -> (u64, u64, u64) {
    let wanted = (max - min) / 10;
    let mut step = 10;
    while step < wanted && step <= 10_000 {
        step *= 10;
    }
    (min - min % step, max - max % step + step, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(numbers: &[u64], total: usize) -> String {
        let mut out = Vec::new();
        print(&mut out, "samples", numbers, total).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn bars_are_as_long_as_their_share() {
        assert_eq!(printed(&[], 3), "samples: N/A\n\n");
        let text = printed(&[5, 17, 18, 9], 8);
        assert_eq!(
            text,
            "samples (min/avg/max): 5/12/18\n\
             [ 1, 10]: 2 #########################\n\
             [11, 20]: 2 #########################\n\
             [21, 30]: 0 \n\n"
        );
    }
}
