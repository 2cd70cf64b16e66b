use crate::model::{Labels, MatchOp, Matcher};
use crate::storage::{LatestBatch, LatestStream, Selector, StreamEnd, StreamStep};
use std::io::Write;
#[derive(Debug, thiserror::Error)]
#[error("1:1: parse error: {0}")]
pub struct ParseError(String);
pub fn parse_selector(text: &str) -> Result<Selector, ParseError> {
    let (name, rest) = text.split_once('{').unwrap_or((text, "}"));
    let rest = rest.strip_suffix('}').ok_or_else(|| ParseError("unclosed".into()))?;
    let mut out = Selector::new();
    if !name.is_empty() {
        out.push(Matcher::equal("__name__", name));
    }
    for part in rest.split(',').filter(|p| !p.is_empty()) {
        let at = part.find(['=', '!']).ok_or_else(|| ParseError("op".into()))?;
        let (n, r) = part.split_at(at);
        let (op, r) = if let Some(r) = r.strip_prefix("=~") {
            (MatchOp::Regex, r)
        } else if let Some(r) = r.strip_prefix("!~") {
            (MatchOp::NotRegex, r)
        } else if let Some(r) = r.strip_prefix("!=") {
            (MatchOp::NotEqual, r)
        } else if let Some(r) = r.strip_prefix("=") {
            (MatchOp::Equal, r)
        } else {
            return Err(ParseError("op".into()));
        };
        out.push(Matcher::new(op, n.trim(), r.trim_matches('"')).map_err(|e| ParseError(e.to_string()))?);
    }
    if out.is_empty() {
        return Err(ParseError("empty".into()));
    }
    Ok(out)
}
pub fn write_text(
    stream: &mut dyn LatestStream,
    external: &Labels,
    out: &mut dyn Write,
) -> Result<StreamEnd, super::stream::WriteError> {
    let mut batch = LatestBatch::default();
    loop {
        match stream.next(&mut batch)? {
            StreamStep::End(end) => return Ok(end),
            StreamStep::Batch => {
                for row in &batch.rows {
                    writeln!(out, "{} {} {} {external}", Labels::from_encoded(batch.labels(row)), row.v, row.t.0)?;
                }
            }
        }
    }
}
