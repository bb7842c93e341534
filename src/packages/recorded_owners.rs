//! The owners of files, as the runs of a build record them.

use std::cell::RefCell;

use crate::sandbox::{Outcome, OwnedFile};

/// The changes of owners that the installing runs recorded; `None` after a run that could not
/// record.
#[derive(Debug)]
pub struct RecordedOwners(RefCell<Option<Vec<OwnedFile>>>);

impl Default for RecordedOwners {
    fn default() -> Self {
        Self(RefCell::new(Some(Vec::new())))
    }
}

impl RecordedOwners {
    /// The state that the next run needs.
    pub(super) fn current(&self) -> Vec<OwnedFile> {
        self.all().unwrap_or_default()
    }

    /// All owners, if every run recorded them.
    pub(super) fn all(&self) -> Option<Vec<OwnedFile>> {
        self.0.borrow().clone()
    }

    /// Stores the state after a run.
    pub(super) fn update(&self, outcome: &Outcome) {
        let mut known = self.0.borrow_mut();
        *known = known.as_ref().and(outcome.owners.clone());
    }
}
