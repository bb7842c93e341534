//! A buffer that blocks are read and compressed into, and that is used again.

/// Bytes in a vector that keeps its length, so that a buffer that is used again is not zeroed
/// again.
#[derive(Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    used: usize,
}

impl Buffer {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self { bytes: vec![0; capacity], used: 0 }
    }

    /// A buffer whose contents are all filled.
    pub(super) fn from_vec(bytes: Vec<u8>) -> Self {
        let used = bytes.len();
        Self { bytes, used }
    }

    /// The filled bytes.
    pub(super) fn into_vec(mut self) -> Vec<u8> {
        self.bytes.truncate(self.used);
        self.bytes
    }

    pub(super) fn filled(&self) -> &[u8] {
        self.bytes.get(..self.used).unwrap_or_default()
    }

    pub(super) fn room(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.used..).unwrap_or_default()
    }

    /// Counts `count` more bytes, written into [`Buffer::room`], as filled.
    pub(super) fn advance(&mut self, count: usize) {
        self.used = self.bytes.len().min(self.used + count);
    }

    /// Forgets the bytes after the first `count`.
    pub(super) fn truncate(&mut self, count: usize) {
        self.used = self.used.min(count);
    }

    pub(super) fn clear(&mut self) {
        self.used = 0;
    }

    pub(super) fn is_full(&self) -> bool {
        self.used == self.bytes.len()
    }

    /// Makes room for at least `count` more bytes.
    pub(super) fn reserve(&mut self, count: usize) {
        let wanted = self.used + count;
        if self.bytes.len() < wanted {
            if self.used == 0 {
                // Fresh zeroed pages come cheaper than a copy.
                self.bytes = vec![0; wanted];
            } else {
                self.bytes.resize(wanted.max(self.bytes.len() * 2), 0);
            }
        }
    }

    /// Appends all of `bytes`.
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        if let Some(room) = self.room().get_mut(..bytes.len()) {
            room.copy_from_slice(bytes);
        }
        self.advance(bytes.len());
    }
}
