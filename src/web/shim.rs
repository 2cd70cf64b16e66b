use crate::model::Labels;
use crate::storage::{LatestBatch, LatestStream, StreamEnd, StreamStep};
use std::io::Write;
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
