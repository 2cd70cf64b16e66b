//! What parses bytes from outside, each with the laws that hold for every input. The functions know no fuzzer: `main.rs` gives
//! them to libFuzzer, and `tests/fuzz_corpus` runs them over the kept corpora.

mod block;
mod chunks;
mod cluster;
mod command_line;
mod config;
mod exposition;
mod gateway;
mod numbers;
mod promql;
mod regex;
mod remote;
mod scrape;
mod store;
mod web;
mod wire;

/// A target: it panics where a law is broken.
pub type Target = fn(&[u8]);

/// All of them by name, which is also the name of the corpus.
pub const ALL: &[(&str, Target)] = &[
    ("exposition_text", exposition::text),
    ("exposition_openmetrics", exposition::openmetrics),
    ("exposition_protobuf", exposition::protobuf),
    ("content_type", exposition::content_type),
    ("scrape_text", scrape::text),
    ("scrape_openmetrics", scrape::openmetrics),
    ("scrape_protobuf", scrape::protobuf),
    ("kernel", scrape::kernel),
    ("promql", promql::expression),
    ("selector", promql::selector),
    ("regex", regex::regex),
    ("regex_template", regex::template),
    ("chunks", chunks::decode),
    ("wal", store::wal),
    ("wbl", store::wbl),
    ("checkpoint", store::checkpoint),
    ("head_chunks", store::head_chunks),
    ("block_index", block::index),
    ("block_chunks", block::chunks),
    ("block_meta", block::meta),
    ("tombstones", block::tombstones),
    ("protobuf", wire::protobuf),
    ("snappy", wire::snappy),
    ("gzip", wire::gzip),
    ("zstd", wire::zstd),
    ("remote_write_v1", remote::write_v1),
    ("remote_write_v2", remote::write_v2),
    ("packed_messages", remote::packed),
    ("otlp", remote::otlp),
    ("remote_read_request", remote::read_request),
    ("remote_read_answer", remote::read_answer),
    ("remote_read_frames", remote::read_frames),
    ("config", config::config),
    ("web_config", config::web_config),
    ("rules", config::rules),
    ("target_groups", config::target_groups),
    ("parameters", web::parameters),
    ("headers", web::headers),
    ("cluster_answer", cluster::answer),
    ("cluster_split", cluster::split),
    ("gateway_answer", gateway::answer),
    ("gateway_path", gateway::path),
    ("printed_answer", command_line::answer),
    ("pushed_text", command_line::pushed),
    ("certificate", wire::certificate),
    ("numbers", numbers::numbers),
];

/// The input as text; most parsers are given text that others have found to be UTF-8.
fn text(data: &[u8]) -> &str {
    match std::str::from_utf8(data) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&data[..error.valid_up_to()]).unwrap_or_default(),
    }
}
