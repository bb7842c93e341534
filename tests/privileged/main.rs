//! What the sandbox promises, tried for real: needs root, and makes no mount in the host's namespace.

mod confinement;
mod devices;
mod ending;
mod hostile;
mod inheritance;
mod support;
mod trees;
