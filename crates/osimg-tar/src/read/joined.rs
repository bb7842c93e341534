//! Compressed streams that follow each other in one file, and the zeros that may follow the last.
//!
//! gzip and bzip2 accept both, and GNU tar unpacks everything. Writers to tapes add the zeros.

use bzip2::bufread::BzDecoder;
use flate2::bufread::GzDecoder;
use std::io::{self, BufRead, Read};
use std::marker::PhantomData;

/// A decoder of one stream.
pub(super) trait Decoder<R>: Read {
    fn start(source: R) -> Self;
    fn finish(self) -> R;
}

impl<R: BufRead> Decoder<R> for GzDecoder<R> {
    fn start(source: R) -> Self {
        Self::new(source)
    }

    fn finish(self) -> R {
        self.into_inner()
    }
}

impl<R: BufRead> Decoder<R> for BzDecoder<R> {
    fn start(source: R) -> Self {
        Self::new(source)
    }

    fn finish(self) -> R {
        self.into_inner()
    }
}

/// Decodes all streams of a file.
pub(super) struct Joined<R, D> {
    present: Option<D>,
    source: PhantomData<R>,
}

impl<R: BufRead, D: Decoder<R>> Joined<R, D> {
    pub(super) fn new(source: R) -> Self {
        Self { present: Some(D::start(source)), source: PhantomData }
    }
}

impl<R: BufRead, D: Decoder<R>> Read for Joined<R, D> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        if room.is_empty() {
            return Ok(0);
        }
        while let Some(decoder) = &mut self.present {
            let count = decoder.read(room)?;
            if count > 0 {
                return Ok(count);
            }
            let Some(mut source) = self.present.take().map(D::finish) else { break };
            match source.fill_buf()?.first() {
                None => break,
                Some(0) => only_zeros(&mut source)?,
                Some(_) => self.present = Some(D::start(source)),
            }
        }
        Ok(0)
    }
}

fn only_zeros(source: &mut impl BufRead) -> io::Result<()> {
    loop {
        let bytes = source.fill_buf()?;
        if bytes.is_empty() {
            return Ok(());
        }
        if bytes.iter().any(|byte| *byte != 0) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "other bytes than zeros follow its end",
            ));
        }
        let count = bytes.len();
        source.consume(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::read::GzEncoder;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut packed = Vec::new();
        GzEncoder::new(text, Compression::fast()).read_to_end(&mut packed).unwrap();
        packed
    }

    fn unpacked(file: &[u8]) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        Joined::<_, GzDecoder<_>>::new(file).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    #[test]
    fn streams_are_joined_and_zeros_after_them_are_ignored() {
        let two = [gzip(b"one "), gzip(b"two")].concat();
        assert_eq!(unpacked(&two).unwrap(), b"one two");
        assert_eq!(unpacked(&[two.as_slice(), &[0; 700]].concat()).unwrap(), b"one two");
        assert!(unpacked(&[two.as_slice(), &[0, 0, 1]].concat()).is_err());
        assert!(unpacked(&[two.as_slice(), b"x"].concat()).is_err());
        assert_eq!(
            unpacked(&two[..two.len() - 1]).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
    }
}
