//! The `osimg` program: parse, run, exit code.

fn main() {}
