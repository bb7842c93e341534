//! Tests of the sandbox's guarantees with real namespaces. They need root and make no mount in the
//! host's namespace.

mod confinement;
mod devices;
mod ending;
mod hostile;
mod inheritance;
mod memory;
mod reach;
#[allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "as in the tiers that share it")]
#[path = "../support/mod.rs"]
mod shared;
mod support;
mod trees;
