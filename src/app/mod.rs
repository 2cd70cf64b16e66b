//! Wiring only: build order, reload, drain.
