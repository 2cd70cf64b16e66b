//! Watershed: a Prometheus-compatible agent that federates, stores, queries and serves metrics of many sites.
//!
//! The modules in the order in which data flows; each may import only those of the layers before it:
//!
//! | layer | modules |
//! |---|---|
//! | 1 | [`model`]: labels, matchers, samples, time, annotations |
//! | 2 | [`runtime`], [`telemetry`], [`net`], [`disk`]: tasks and clocks, own metrics and logs, HTTP building blocks, files |
//! | 3 | [`storage`], [`exposition`], [`relabel`]: the contract, the text formats, label rules |
//! | 4 | [`tsdb`], [`promql`], [`discovery`] |
//! | 5 | [`scrape`], [`remote`]: remote read and remote write; [`cluster`]: many servers queried as one |
//! | 6 | [`federate`]; [`gateway`]: one door to the components of a cluster |
//! | 7 | [`web`] |
//! | 8 | [`config`] |
//! | 9 | [`app`] |
//! | 10 | [`cli`] |

pub mod model;

pub mod disk;
pub mod net;
pub mod runtime;
pub mod telemetry;

pub mod exposition;
pub mod relabel;
pub mod storage;

pub mod discovery;
pub mod promql;
pub mod tsdb;

pub mod cluster;
pub mod remote;
pub mod scrape;

pub mod federate;
pub mod gateway;

pub mod web;

pub mod config;

pub mod app;

pub mod cli;
