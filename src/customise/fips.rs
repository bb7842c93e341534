//! `fips`: the system-wide policy of cryptography, and dracut's module; the kernel's argument
//! `fips=1` is added with the others.

use super::image::Image;
use crate::error::Result;

const KEY: &str = "customizations.fips";
/// EL 8 takes the file as the sign that the modules are installed.
const SIGN: &str = "/etc/system-fips";
/// The initramfs that a node makes checks the kernel's integrity.
const DRACUT: &str = "/etc/dracut.conf.d/40-fips.conf";

pub(super) fn apply(image: &Image<'_>, fips: bool) -> Result<()> {
    if !fips {
        return Ok(());
    }
    let program = image.need("update-crypto-policies", KEY, "crypto-policies-scripts")?;
    image.run(KEY, &[&program, "--no-reload", "--set", "FIPS"])?;
    image.write(SIGN, b"# FIPS module installation complete\n", 0o644)?;
    if image.program("dracut")?.is_some() {
        image.write(DRACUT, b"add_dracutmodules+=\" fips \"\n", 0o644)?;
    }
    Ok(())
}
