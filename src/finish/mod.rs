//! Step 4: makes the filled install root a clone; one small file (or folder) a change.

pub mod selinux;
