//! Federation out: selector -> exposition.
