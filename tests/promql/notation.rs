//! The notation of a series: labels, then values, such as `up{job="a"} 1 _ 2+3x4 stale {{schema:1 count:2}}x3`.

use watershed::model::{CounterResetHint, FloatHistogram, Labels, STALE_NAN, Span};

use super::histograms::plus;
use super::text::{number, quoted};

/// What stands at one place of a series.
#[derive(Clone, Debug)]
pub enum Item {
    /// Nothing.
    Gap,
    /// A float; the staleness marker, too.
    Float(f64),
    /// A histogram.
    Histogram {
        /// The histogram.
        value: Box<FloatHistogram>,
        /// Whether its hint was written, so that it is to be compared.
        has_hint: bool,
    },
}

/// Reads a whole line.
pub fn series(line: &str) -> Result<(Labels, Vec<Item>), String> {
    let (labels, rest) = labels(line)?;
    let mut reader = Reader { rest };
    let mut items = Vec::new();
    while !reader.rest.is_empty() {
        if reader.skip_spaces() == 0 {
            return Err(format!("a space is missing before {:?}", reader.rest));
        }
        if !reader.rest.is_empty() {
            reader.item(&mut items)?;
        }
    }
    Ok((labels, items))
}

/// The labels that a line begins with, and what follows them.
pub fn labels(line: &str) -> Result<(Labels, &str), String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let end = line.find(|c| !is_name(c)).unwrap_or(line.len());
    let (name, mut rest) = line.split_at(end);
    let mut pairs = Vec::new();
    if !name.is_empty() {
        pairs.push(("__name__".to_owned(), name.to_owned()));
    }
    if let Some(inside) = rest.strip_prefix('{') {
        rest = label_list(inside, &mut pairs)?;
    }
    Ok((Labels::from_pairs(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))), rest))
}

fn label_list<'a>(mut rest: &'a str, pairs: &mut Vec<(String, String)>) -> Result<&'a str, String> {
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix('}') {
            return Ok(after);
        }
        let name;
        let is_quoted = rest.starts_with(['"', '\'', '`']);
        if is_quoted {
            (name, rest) = quoted(rest)?;
        } else {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            name = rest[..end].to_owned();
            rest = &rest[end..];
        }
        rest = rest.trim_start();
        match rest.strip_prefix('=') {
            Some(after) => {
                let (value, after) = quoted(after.trim_start())?;
                pairs.push((name, value));
                rest = after.trim_start();
            }
            None if is_quoted => pairs.push(("__name__".to_owned(), name)),
            None => return Err(format!("a label at {rest:?} has no value")),
        }
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None if rest.starts_with('}') => {}
            None => return Err(format!("neither , nor }} at {rest:?}")),
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn skip_spaces(&mut self) -> usize {
        let trimmed = self.rest.trim_start();
        let skipped = self.rest.len() - trimmed.len();
        self.rest = trimmed;
        skipped
    }

    fn eats(&mut self, prefix: &str) -> bool {
        self.rest.strip_prefix(prefix).map(|rest| self.rest = rest).is_some()
    }

    fn take_while(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !belongs(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn item(&mut self, items: &mut Vec<Item>) -> Result<(), String> {
        if self.eats("_") {
            let count = self.times()?.unwrap_or(1);
            items.extend((0..count).map(|_| Item::Gap));
            return Ok(());
        }
        if self.eats("{{") {
            return self.histograms(items);
        }
        let mut value = self.value()?;
        let increment = match self.rest.starts_with(['+', '-']) {
            true => Some(self.value()?),
            false => None,
        };
        match (self.times()?, increment) {
            (None, None) => items.push(Item::Float(value)),
            (None, Some(_)) => return Err(format!("x is missing before {:?}", self.rest)),
            (Some(times), increment) => {
                for _ in 0..=times {
                    items.push(Item::Float(value));
                    value += increment.unwrap_or(0.0);
                }
            }
        }
        Ok(())
    }

    /// `xN`
    fn times(&mut self) -> Result<Option<u64>, String> {
        if !self.eats("x") {
            return Ok(None);
        }
        let digits = self.take_while(|c| c.is_ascii_digit());
        digits.parse().map(Some).map_err(|_| format!("no count at {digits:?}{:?}", self.rest))
    }

    /// A float, perhaps with a sign.
    fn value(&mut self) -> Result<f64, String> {
        let is_negative = match self.rest.as_bytes().first() {
            Some(b'+' | b'-') => self.take_sign(),
            _ => false,
        };
        let word = self.take_while(|c| c.is_ascii_alphabetic());
        let value = match word.to_ascii_lowercase().as_str() {
            "" => number(self.digits())?,
            "stale" => STALE_NAN,
            "inf" => f64::INFINITY,
            "nan" => f64::NAN,
            _ => return Err(format!("{word:?} is no value")),
        };
        Ok(if is_negative { -value } else { value })
    }

    fn take_sign(&mut self) -> bool {
        let is_negative = self.rest.starts_with('-');
        self.rest = &self.rest[1..];
        is_negative
    }

    /// The digits of a number without a sign.
    fn digits(&mut self) -> &'a str {
        let all = self.rest;
        self.take_while(|c| c.is_ascii_digit() || c == '.');
        let before = self.rest;
        if self.eats("e") || self.eats("E") {
            let _ = self.eats("+") || self.eats("-");
            if self.take_while(|c| c.is_ascii_digit()).is_empty() {
                self.rest = before;
            }
        }
        &all[..all.len() - self.rest.len()]
    }

    /// A histogram behind its `{{`, perhaps with another that is added again and again.
    fn histograms(&mut self, items: &mut Vec<Item>) -> Result<(), String> {
        let (mut value, mut has_hint) = self.histogram()?;
        let increment = match (self.eats("+{{"), self.eats("-{{")) {
            (false, false) => None,
            (is_plus, _) => {
                let (increment, hint) = self.histogram()?;
                // The reference looks at the last histogram that it read.
                has_hint = hint;
                Some((increment, if is_plus { 1.0 } else { -1.0 }))
            }
        };
        for step in 0..=self.times()?.unwrap_or(0) {
            if let (Some((increment, factor)), 1..) = (&increment, step) {
                value = plus(&value, increment, *factor)?;
            }
            items.push(Item::Histogram { value: Box::new(value.clone()), has_hint });
        }
        Ok(())
    }

    fn histogram(&mut self) -> Result<(FloatHistogram, bool), String> {
        let mut h = FloatHistogram::default();
        let mut has_hint = false;
        let (mut offset, mut negative_offset) = (0, 0);
        loop {
            self.skip_spaces();
            if self.eats("}}") {
                break;
            }
            let key = self.take_while(|c| c.is_ascii_alphabetic() || c == '_').to_ascii_lowercase();
            if !self.eats(":") {
                return Err(format!("no : behind {key:?}"));
            }
            match key.as_str() {
                "schema" => h.layout.schema = self.value()? as i32,
                "sum" => h.sum = self.value()?,
                "count" => h.count = self.value()?,
                "z_bucket" => h.zero_count = self.value()?,
                "z_bucket_w" => h.layout.zero_threshold = self.value()?,
                "custom_values" => h.layout.custom_values = self.list()?,
                "buckets" => h.positive_buckets = self.list()?,
                "n_buckets" => h.negative_buckets = self.list()?,
                "offset" => offset = self.value()? as i32,
                "n_offset" => negative_offset = self.value()? as i32,
                "counter_reset_hint" => (h.counter_reset_hint, has_hint) = (self.hint()?, true),
                _ => return Err(format!("{key:?} belongs to no histogram")),
            }
        }
        h.layout.positive_spans = spans(offset, &h.positive_buckets);
        h.layout.negative_spans = spans(negative_offset, &h.negative_buckets);
        Ok((h, has_hint))
    }

    fn list(&mut self) -> Result<Vec<f64>, String> {
        if !self.eats("[") {
            return Err(format!("no [ at {:?}", self.rest));
        }
        let mut all = Vec::new();
        loop {
            self.skip_spaces();
            if self.eats("]") {
                return Ok(all);
            }
            all.push(self.value()?);
        }
    }

    fn hint(&mut self) -> Result<CounterResetHint, String> {
        match self.take_while(|c| c.is_ascii_alphabetic() || c == '_') {
            "unknown" => Ok(CounterResetHint::Unknown),
            "reset" => Ok(CounterResetHint::Reset),
            "not_reset" => Ok(CounterResetHint::NotReset),
            "gauge" => Ok(CounterResetHint::Gauge),
            other => Err(format!("{other:?} is no hint")),
        }
    }
}

fn spans(offset: i32, counts: &[f64]) -> Vec<Span> {
    let length = u32::try_from(counts.len()).expect("a line is not that long");
    if length == 0 { Vec::new() } else { vec![Span { offset, length }] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(line: &str) -> Vec<Option<f64>> {
        let (_, items) = series(line).expect(line);
        let float = |item| match item {
            Item::Float(v) => Some(v),
            _ => None,
        };
        items.into_iter().map(float).collect()
    }

    #[test]
    fn values_repeat_and_grow() {
        let line = "m 1 2x1 _ _x2 0+2.5x2 10-5x1 -1-1x1 -Inf 1e3 1e+2x0";
        let expected = [1.0, 2.0, 2.0, -9.0, -9.0, -9.0, 0.0, 2.5, 5.0, 10.0, 5.0, -1.0, -2.0, f64::NEG_INFINITY];
        let expected: Vec<_> =
            expected.iter().chain(&[1000.0, 100.0]).map(|v| Some(*v).filter(|v| *v != -9.0)).collect();
        assert_eq!(floats(line), expected);
        assert_eq!(floats("m stale")[0].map(f64::to_bits), Some(STALE_NAN.to_bits()));
        for bad in ["m 1+1", "m x", "m 1x", "m1 2,3", "m stalex3", "m{a=1} 1", "m{{}"] {
            assert!(series(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn labels_may_be_quoted_and_nameless() {
        for (line, expected) in [
            (r#"{"a.b", "c d"="x",e='y',} 1"#, vec![("__name__", "a.b"), ("c d", "x"), ("e", "y")]),
            ("{} 1", vec![]),
            (r#"up{job="a}"} 1"#, vec![("__name__", "up"), ("job", "a}")]),
        ] {
            assert_eq!(series(line).map(|(labels, _)| labels), Ok(Labels::from_pairs(expected)), "{line}");
        }
    }

    #[test]
    fn histograms_are_added_up() {
        let line = "m {{schema:0 count:2 sum:1.5 buckets:[1 1] counter_reset_hint:gauge}}+{{count:1 sum:-1 buckets:[1] offset:1}}x1 {{}}";
        let (_, items) = series(line).expect(line);
        let [_, Item::Histogram { value, has_hint: false }, Item::Histogram { value: empty, .. }] = &items[..] else {
            panic!("{items:?}")
        };
        assert_eq!(value.to_string(), "{count:3, sum:0.5, (0.5,1]:1, (1,2]:2}");
        assert_eq!(value.counter_reset_hint, CounterResetHint::Gauge);
        assert_eq!(empty.to_string(), "{count:0, sum:0}");
    }
}
