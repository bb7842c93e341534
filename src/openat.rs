//! Names below an open directory; the rules are `osimg-sandbox`'s.

pub(crate) use osimg_sandbox::openat::{OpenDirectory, is_single, openat2};
