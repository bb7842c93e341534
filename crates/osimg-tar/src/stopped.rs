//! The end of packing before the tree is packed: by a failure, or by request.

/// Packing ended early: by a failure, which the pool keeps, or by request.
#[derive(Debug)]
pub(super) struct Stopped;

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("packing was stopped")
    }
}

impl std::error::Error for Stopped {}

impl From<Stopped> for crate::error::Error {
    fn from(_: Stopped) -> Self {
        crate::error::Reason::Stopped.into()
    }
}
