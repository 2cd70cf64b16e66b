//! The file seam: every byte that the store writes or reads goes through it, so that tests can run on memory or crash it.
