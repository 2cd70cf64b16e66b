//! Answers as promtool prints them.

use std::cmp::Ordering;
use std::fmt::Display;
use std::io::Write;

use serde::Serialize;

use super::Failure;
use super::answer::{Answer, At, Histogram, LabelSet, Number, Sample};
use crate::model::json::{Escaping, append};
use crate::model::number::General;
use crate::model::{GoQuoted, METRIC_NAME};

/// One JSON value in one line.
pub(super) fn json(out: &mut impl Write, data: &impl Serialize) -> Result<(), Failure> {
    let mut line = Vec::new();
    append(&mut line, data, Escaping::Value);
    line.push(b'\n');
    Ok(out.write_all(&line)?)
}

/// The answer to a query; an empty one is an empty line.
pub(super) fn value(out: &mut impl Write, answer: &Answer) -> Result<(), Failure> {
    match answer {
        Answer::Scalar((t, v)) => writeln!(out, "scalar: {v} @[{t}]")?,
        Answer::String((_, text)) => writeln!(out, "{text}")?,
        Answer::Vector(all) => {
            all.iter().try_for_each(|sample| self::sample(out, sample))?;
            if all.is_empty() {
                writeln!(out)?;
            }
        }
        Answer::Matrix(all) => {
            let mut sorted: Vec<_> = all.iter().collect();
            sorted.sort_by(|a, b| order(&a.metric, &b.metric));
            for series in sorted {
                writeln!(out, "{} =>", metric(&series.metric))?;
                series.values.iter().try_for_each(|at| point(out, at))?;
                series.histograms.iter().try_for_each(|(t, h)| writeln!(out, "{} @[{t}]", histogram(h)))?;
            }
            if all.is_empty() {
                writeln!(out)?;
            }
        }
    }
    Ok(())
}

/// promtool's order: fewer labels first; of two label sets that part at a name, the one without it first.
fn order(a: &LabelSet, b: &LabelSet) -> Ordering {
    let pairs = a.iter().zip(b).map(|((a, av), (b, bv))| b.cmp(a).then_with(|| av.cmp(bv)));
    a.len().cmp(&b.len()).then_with(|| pairs.fold(Ordering::Equal, Ordering::then))
}

/// One label set a line.
pub(super) fn series(out: &mut impl Write, all: &[LabelSet]) -> Result<(), Failure> {
    Ok(all.iter().try_for_each(|labels| writeln!(out, "{{{}}}", pairs(labels.iter())))?)
}

/// One text a line.
pub(super) fn lines(out: &mut impl Write, all: &[String]) -> Result<(), Failure> {
    Ok(all.iter().try_for_each(|line| writeln!(out, "{line}"))?)
}

/// `name{label="value"}`
pub(super) fn metric(labels: &LabelSet) -> String {
    let name = labels.get(METRIC_NAME).map_or("", String::as_str);
    let others = pairs(labels.iter().filter(|(label, _)| *label != METRIC_NAME));
    match (name, others.as_str()) {
        ("", "") => "{}".to_owned(),
        (name, "") => name.to_owned(),
        (name, others) => format!("{name}{{{others}}}"),
    }
}

fn pairs<'a>(labels: impl Iterator<Item = (&'a String, &'a String)>) -> String {
    let pairs: Vec<String> = labels.map(|(name, value)| format!("{name}={}", GoQuoted(value))).collect();
    pairs.join(", ")
}

fn sample(out: &mut impl Write, sample: &Sample) -> std::io::Result<()> {
    write!(out, "{} => ", metric(&sample.metric))?;
    match (&sample.value, &sample.histogram) {
        (Some(at), _) => point(out, at),
        (None, Some((t, h))) => writeln!(out, "{} @[{t}]", histogram(h)),
        (None, None) => writeln!(out),
    }
}

fn point(out: &mut impl Write, (t, v): &At<impl Display>) -> std::io::Result<()> {
    writeln!(out, "{v} @[{t}]")
}

fn histogram(h: &Histogram) -> String {
    let bucket = |(kind, lower, upper, count): &(u8, Number, Number, Number)| {
        let open = if matches!(kind, 1 | 3) { '[' } else { '(' };
        let close = if matches!(kind, 0 | 3) { ']' } else { ')' };
        format!("{open}{},{}{close}:{count}", General(lower.0), General(upper.0))
    };
    let buckets: Vec<String> = h.buckets.iter().map(bucket).collect();
    format!("Count: {:.6}, Sum: {:.6}, Buckets: [{}]", h.count.0, h.sum.0, buckets.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(answer: &str) -> String {
        let mut out = Vec::new();
        value(&mut out, &serde_json::from_str(answer).unwrap()).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn answers_are_printed_as_promtool_prints_them() {
        assert_eq!(printed(r#"{"resultType":"scalar","result":[1.5,"3"]}"#), "scalar: 3 @[1.5]\n");
        assert_eq!(printed(r#"{"resultType":"string","result":[1,"a b"]}"#), "a b\n");
        assert_eq!(printed(r#"{"resultType":"vector","result":[]}"#), "\n");
        assert_eq!(
            printed(
                r#"{"resultType":"vector","result":[{"metric":{"a":"\"","__name__":"up"},"value":[1700000000.125,"NaN"]},
                    {"metric":{},"histogram":[7,{"count":"3","sum":"1.25","buckets":[[3,"-0.001","0.001","1"],[0,"1","2000000","2"]]}]}]}"#
            ),
            "up{a=\"\\\"\"} => NaN @[1700000000.125]\n\
             {} => Count: 3.000000, Sum: 1.250000, Buckets: [[-0.001,0.001]:1 (1,2e+06]:2] @[7]\n"
        );
        assert_eq!(
            printed(
                r#"{"resultType":"matrix","result":[{"metric":{"__name__":"b"},"values":[[1,"2"],[2,"+Inf"]]},
                    {"metric":{"__name__":"a"},"values":[[1,"1"]]}]}"#
            ),
            "a =>\n1 @[1]\nb =>\n2 @[1]\n+Inf @[2]\n"
        );
    }

    #[test]
    fn json_is_the_result_alone() {
        let text = r#"[{"metric":{"a":"b"},"values":[[1.5,"1"]]}]"#;
        let answer: Answer = serde_json::from_str(&format!(r#"{{"resultType":"matrix","result":{text}}}"#)).unwrap();
        let mut out = Vec::new();
        json(&mut out, &answer).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), format!("{text}\n"));
    }
}
