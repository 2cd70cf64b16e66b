//! YAML -> raw -> checked; every mistake reported at once.
