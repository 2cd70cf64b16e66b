//! The server as its clients see it, over a store in memory and made-up targets.

mod api;
mod encrypted;
mod federate;
mod fixture;
mod hostile;
mod pages;
mod protection;
mod query;
mod remote_write;
mod serving;

pub(super) use fixture::Fixture;
