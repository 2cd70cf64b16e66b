//! Numbers as the text formats write them.
