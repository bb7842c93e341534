//! Packages of another architecture: whether the kernel can run their scriptlets by an emulator,
//! and what is missing if it cannot.

use std::path::Path;

use crate::error::{Error, ErrorKind, Result};

/// The kernel's table of interpreters; see binfmt_misc(5) in the kernel's
/// admin-guide.
const HANDLERS: &str = "/proc/sys/fs/binfmt_misc";

/// An architecture's machine number in ELF headers (elf.h's EM_*), and whether its bytes begin at
/// the high end.
fn machine(arch: &str) -> Option<(u16, ByteOrder)> {
    Some(match arch {
        "aarch64" => (183, ByteOrder::Little),
        "ppc64le" => (21, ByteOrder::Little),
        "riscv64" => (243, ByteOrder::Little),
        "s390x" => (22, ByteOrder::Big),
        "x86_64" => (62, ByteOrder::Little),
        _ => return None,
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ByteOrder {
    Little,
    Big,
}

/// A handler in the kernel's table.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Handler {
    /// It is for other programs, or switched off.
    Other,
    /// It would run them, but looks for its interpreter inside the image.
    NotFixed { interpreter: String },
    /// It runs them anywhere.
    Fixed,
}

/// Reads a file of binfmt_misc.
fn handler(text: &str, arch: &str) -> Handler {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let Some((number, order)) = machine(arch) else { return Handler::Other };
    let bytes = match order {
        ByteOrder::Little => number.to_le_bytes(),
        ByteOrder::Big => number.to_be_bytes(),
    };
    // `e_machine` is at offset 18 of the header, which the magic covers from its beginning.
    let magic = field("magic ").unwrap_or_default();
    let ours = magic.starts_with("7f454c46")
        && magic.get(36..40) == Some(format!("{:02x}{:02x}", bytes[0], bytes[1]).as_str())
        && field("offset ") == Some("0");
    if !ours || !text.starts_with("enabled") {
        return Handler::Other;
    }
    if field("flags:").is_some_and(|flags| flags.contains('F')) {
        return Handler::Fixed;
    }
    Handler::NotFixed { interpreter: field("interpreter ").unwrap_or_default().to_owned() }
}

/// Makes sure that programs of the architecture run here: they are the host's own, or an emulator
/// is registered for them.
///
/// # Errors
/// [`ErrorKind::Host`] with the name of what is missing.
pub fn check_runnable(arch: &str) -> Result<()> {
    check(arch, std::env::consts::ARCH, Path::new(HANDLERS))
}

fn check(arch: &str, host: &str, handlers: &Path) -> Result<()> {
    const FIX: &str = "install it: apt-get install qemu-user-static binfmt-support   (or: dnf \
                       install qemu-user-static)";
    let native = arch == host
        || arch == "noarch"
        || (host == "x86_64" && ["i386", "i486", "i586", "i686"].contains(&arch));
    if native {
        return Ok(());
    }
    let lacking = |what: String| {
        Error::new(ErrorKind::Host, format!("building for {arch} on this {host} host: {what}"))
    };
    if machine(arch).is_none() {
        return Err(lacking("the architecture is not known".into())
            .with_hint("aarch64, ppc64le, riscv64, s390x and x86_64 are"));
    }
    if !handlers.join("register").exists() {
        return Err(lacking(format!(
            "the kernel's binfmt_misc is not mounted at {}",
            handlers.display()
        ))
        .with_hint(
            "mount it: mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc   (systemd does \
             so by itself)",
        ));
    }
    let mut not_fixed = None;
    for entry in std::fs::read_dir(handlers).into_iter().flatten().filter_map(|entry| entry.ok()) {
        match handler(&std::fs::read_to_string(entry.path()).unwrap_or_default(), arch) {
            Handler::Fixed => return Ok(()),
            Handler::NotFixed { interpreter } => not_fixed = Some(interpreter),
            Handler::Other => {}
        }
    }
    Err(match not_fixed {
        Some(interpreter) => lacking(format!(
            "the emulator {interpreter} is registered without the flag F, so that an image does \
             not see it"
        ))
        .with_hint(FIX),
        None => {
            lacking(format!("no emulator for {arch} is registered (qemu-{arch})")).with_hint(FIX)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kernel prints what Debian's qemu-user-static registers.
    const AARCH64: &str = "enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: \
                           POCF\noffset 0\nmagic 7f454c460201010000000000000000000200b700\nmask \
                           ffffffffffffff00fffffffffffffffffeffffff\n";

    fn directory(handlers: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for (name, text) in handlers {
            std::fs::write(directory.path().join(name), text).expect("a handler");
        }
        directory
    }

    #[test]
    fn an_emulator_that_the_kernel_keeps_open_will_do() {
        let directory =
            directory(&[("register", ""), ("status", "enabled"), ("qemu-aarch64", AARCH64)]);
        assert!(check("aarch64", "x86_64", directory.path()).is_ok());
        let other = check("s390x", "x86_64", directory.path())
            .expect_err("another architecture")
            .to_string();
        assert!(other.contains("no emulator for s390x"), "{other}");
    }

    #[test]
    fn each_missing_piece_is_named() {
        let said = |handlers: &[(&str, &str)]| {
            format!(
                "{:#}",
                check("aarch64", "x86_64", directory(handlers).path()).expect_err("refused")
            )
        };
        assert!(said(&[]).contains("binfmt_misc is not mounted"));
        assert!(said(&[("register", "")]).contains("no emulator for aarch64"));
        assert!(
            said(&[("register", ""), ("qemu-aarch64", &AARCH64.replace("enabled", "disabled"))])
                .contains("no emulator")
        );
        let open = said(&[("register", ""), ("qemu-aarch64", &AARCH64.replace("POCF", "POC"))]);
        assert!(
            open.contains("/usr/libexec/qemu-binfmt/aarch64-binfmt-P") && open.contains("flag F"),
            "{open}"
        );
        assert!(
            format!("{:#}", check("vax", "x86_64", Path::new("/nowhere")).expect_err("refused"))
                .contains("not known")
        );
    }

    #[test]
    fn the_hosts_own_programs_need_none() {
        for arch in ["x86_64", "noarch", "i686"] {
            assert!(check(arch, "x86_64", Path::new("/nowhere")).is_ok(), "{arch}");
        }
    }
}
