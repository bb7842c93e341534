//! `osimg deploy` and `osimg doctor --cloud` with a real Ironic: nodes of fake hardware, and a
//! simulated Anaconda that runs its real kickstart file.

mod anaconda;
mod demo;
mod lab;
mod modes;
mod nodes;
mod refusals;
mod standalone;
mod templates;
