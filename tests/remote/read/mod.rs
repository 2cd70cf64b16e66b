//! Remote read beside a real Prometheus, in both directions.

mod answers;
mod clients;
mod data;
