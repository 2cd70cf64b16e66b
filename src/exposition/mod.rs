//! Exposition formats: borrowed-cursor parsers and writers.
