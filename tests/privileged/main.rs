//! What the sandbox promises, tried for real: needs root, and makes no mount in the host's
//! namespace.

mod confinement;
mod devices;
mod ending;
mod hostile;
mod inheritance;
mod memory;
#[allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "as in the tiers that it is made for")]
#[path = "../support/mod.rs"]
mod shared;
mod support;
mod trees;
