//! Remote write, the receiving end: what a request says, and taking it into a store.
