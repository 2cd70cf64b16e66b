//! Remote read: answering it from a store, and asking other servers as if they were one.
