//! The store: a durable head with a write-ahead log in Prometheus's format.
