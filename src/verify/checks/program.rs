//! A program that the image must have for its consumers.

use crate::verify::consumer::Consumer;
use crate::verify::image::Image;

/// A program and where it matters.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) name: &'static str,
    pub(super) when: When,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// With every installer.
    Always,
    /// With Anaconda.
    Anaconda,
    /// With Anaconda of EL 9 and later.
    NewerAnaconda,
}

impl Program {
    pub(super) fn applies(&self, consumer: Consumer) -> bool {
        match self.when {
            When::Always => !consumer.is_container() || self.name == "sh",
            When::Anaconda => consumer.is_anaconda(),
            When::NewerAnaconda => consumer.is_newer_anaconda(),
        }
    }

    pub(super) fn is_missing(&self, image: &Image<'_>) -> bool {
        let needed = self.name != CFG_STUB || calls_cfg_stub(image);
        needed && !image.has_program(self.name)
    }
}

/// Only Anaconda of newer minor releases calls it. Their images have it.
const CFG_STUB: &str = "gen_grub_cfgstub";

/// Whether Anaconda of the image's release calls [`CFG_STUB`]: EL since 9.7 and 10.1, Fedora since
/// 43. CentOS Stream has no minor release and is newer.
fn calls_cfg_stub(image: &Image<'_>) -> bool {
    let value = |key: &str| image.os_release.get(key).map_or("", String::as_str);
    let mut numbers = value("VERSION_ID").split('.').map(str::parse::<u32>);
    let (major, minor) = (numbers.next(), numbers.next());
    match (major, minor) {
        (Some(Ok(major)), _) if value("ID") == "fedora" => major >= 43,
        (Some(Ok(9)), Some(Ok(minor))) => minor >= 7,
        (Some(Ok(10)), Some(Ok(minor))) => minor >= 1,
        _ => true,
    }
}
