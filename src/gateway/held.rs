//! How much of bodies is held at the same time.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Of all backends together: requests and answers that are one message of gRPC, and requests that are kept to be sent again.
const HELD_BYTES: usize = 256 << 20;
const UNIT: usize = 1 << 10;

/// Room for bodies; clones share it.
#[derive(Clone)]
pub(super) struct Room(Arc<Semaphore>);

impl Room {
    /// Room for [`HELD_BYTES`].
    pub(super) fn new() -> Room {
        Room(Arc::new(Semaphore::new(HELD_BYTES / UNIT)))
    }

    /// A share of nothing yet.
    pub(super) fn share(&self) -> Held {
        Held { room: self.clone(), bytes: 0, permit: None }
    }
}

/// A share of the room; it is free again when this is dropped.
pub(super) struct Held {
    room: Room,
    bytes: usize,
    permit: Option<OwnedSemaphorePermit>,
}

impl Held {
    /// False if there is no room for so many bytes more.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        let all = self.bytes.saturating_add(bytes);
        let units = all.div_ceil(UNIT).saturating_sub(self.bytes.div_ceil(UNIT));
        let Ok(permit) = self.room.0.clone().try_acquire_many_owned(u32::try_from(units).unwrap_or(u32::MAX)) else {
            return false;
        };
        match &mut self.permit {
            Some(before) => before.merge(permit),
            none => *none = Some(permit),
        }
        self.bytes = all;
        true
    }

    /// Bytes that keep their share until the last piece of them is gone, wherever that is waiting.
    pub(super) fn bytes(self, bytes: Bytes) -> Bytes {
        if bytes.is_empty() { bytes } else { Bytes::from_owner(Owner { bytes, _held: self }) }
    }
}

struct Owner {
    bytes: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(units: usize) -> Room {
        Room(Arc::new(Semaphore::new(units)))
    }

    #[test]
    fn what_is_held_is_bounded_and_freed() {
        let room = room(3);
        let (mut one, mut other) = (room.share(), room.share());
        assert!(one.take(1) && one.take(UNIT) && !one.take(2 * UNIT));
        assert!(other.take(1) && !other.take(UNIT));
        drop(one);
        assert!(other.take(2 * UNIT));
        drop(other);
        assert_eq!(room.0.available_permits(), 3);
    }

    #[test]
    fn single_bytes_are_counted_as_what_they_are() {
        let room = room(2);
        let mut held = room.share();
        assert!((0..2 * UNIT).all(|_| held.take(1)) && !held.take(1));
    }

    #[test]
    fn a_share_is_held_until_the_last_piece_is_gone() {
        let room = room(1);
        let mut held = room.share();
        assert!(held.take(10));
        let mut bytes = held.bytes(Bytes::from_static(b"0123456789"));
        let first = bytes.split_to(1);
        drop(bytes);
        assert_eq!((&first[..], room.0.available_permits()), (&b"0"[..], 0));
        drop(first);
        assert_eq!(room.0.available_permits(), 1);
    }
}
