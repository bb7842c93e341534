//! A writer that counts and hashes everything on its way to the sink.

use sha2::{Digest, Sha256, Sha512};
use std::io::{self, Write};

/// Passes bytes on to a sink, counting and hashing those that arrived there.
pub(super) struct Digesting<W> {
    sink: W,
    bytes: u64,
    sha256: Sha256,
    sha512: Sha512,
}

/// What went through a [`Digesting`] writer.
pub(super) struct Digests {
    pub(super) bytes: u64,
    pub(super) sha256: String,
    pub(super) sha512: String,
}

impl<W: Write> Digesting<W> {
    pub(super) fn new(sink: W) -> Self {
        Self { sink, bytes: 0, sha256: Sha256::new(), sha512: Sha512::new() }
    }

    /// Flushes the sink and returns what was written.
    pub(super) fn finish(mut self) -> io::Result<Digests> {
        self.sink.flush()?;
        Ok(Digests {
            bytes: self.bytes,
            sha256: hex::encode(self.sha256.finalize()),
            sha512: hex::encode(self.sha512.finalize()),
        })
    }
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.sink.write(bytes)?;
        let written = bytes.get(..count).unwrap_or(bytes);
        self.bytes += written.len() as u64;
        self.sha256.update(written);
        self.sha512.update(written);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes three bytes at a time, as a full pipe does.
    struct Sip(Vec<u8>);

    impl Write for Sip {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let sip = &bytes[..bytes.len().min(3)];
            self.0.extend_from_slice(sip);
            Ok(sip.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn short_writes_are_hashed_once() {
        let mut writer = Digesting::new(Sip(Vec::new()));
        writer.write_all(b"hello, world").unwrap();
        let digests = writer.finish().unwrap();
        assert_eq!(digests.bytes, 12);
        // printf 'hello, world' | sha256sum
        assert_eq!(
            digests.sha256,
            "09ca7e4eaa6e8ae9c7d261167129184883644d07dfba7cbfbc4c8a2e08360d5b"
        );
        assert!(digests.sha512.starts_with("8710339dcb6814d0"));
    }
}
