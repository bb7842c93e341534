//! Names below an open directory; the rules are `osimg-sandbox`'s.

pub(crate) use osimg_sandbox::openat::{
    DESCRIPTORS, OpenDirectory, directory_at, fd_path, is_single, openat2,
};
