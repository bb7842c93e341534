//! `osimg deploy` and `osimg doctor --cloud` against a real Ironic: nodes of fake hardware, and
//! Anaconda played from its own kickstart file.

mod anaconda;
mod demo;
mod lab;
mod modes;
mod nodes;
mod refusals;
mod standalone;
mod templates;
