//! Exit codes and hints for the failures of `osimg-tar`.

use osimg_tar::{Error, Reason};

use super::code::ExitCode;

/// The exit code of a failure; `None` if its source decides.
pub(super) fn exit_code(error: &Error) -> Option<ExitCode> {
    Some(match error.reason() {
        Reason::Io(_) => return None,
        Reason::Stopped => ExitCode::Interrupted,
        Reason::Damaged(_)
        | Reason::Zstd
        | Reason::NotTar(_)
        | Reason::NoOutput
        | Reason::Name { .. }
        | Reason::LevelText(_)
        | Reason::Level { .. }
        | Reason::Memory { .. } => ExitCode::Usage,
        Reason::MountPoint | Reason::NoOpenat2 | Reason::Denied | Reason::GroupMemory { .. } => {
            ExitCode::Host
        }
        _ => ExitCode::Unexpected,
    })
}

/// How to fix it.
pub(super) fn hint(error: &Error) -> Option<String> {
    Some(match error.reason() {
        Reason::Damaged(_) => {
            "it is cut off or was altered: fetch or build it again, and compare its checksum".into()
        }
        Reason::NotTar(_) => "use a tarball: a .tgz, .tbz, .txz, .tar or .img file".into(),
        Reason::Zstd => "Anaconda unpacks gzip, bzip2 and xz".into(),
        Reason::MountPoint => {
            "unmount it first: an image contains one tree, without what is mounted on it".into()
        }
        Reason::Changed => "nothing may write to the tree while it is packed".into(),
        Reason::NoOpenat2 => {
            "use Linux 5.6 or later, and a container runtime that allows the call".into()
        }
        Reason::Denied => "a tree with files of many users requires root: sudo osimg pack".into(),
        Reason::Capability(_) => "it was set inside a container; build as the system's root, or \
                                  set it again with setcap"
            .into(),
        Reason::Name { .. } => {
            format!("end the name in one of {}", crate::naming::SUFFIXES.join(" "))
        }
        Reason::LevelText(_) => "use a number, fast, default or best".into(),
        Reason::Level { format, range, .. } => {
            format!(
                "the levels of {format} are {} to {}, fast, default and best",
                range.start(),
                range.end()
            )
        }
        Reason::Memory { needed, .. } => {
            format!(
                "give it --memory {}M or more, or choose a format or a level that needs less",
                needed.div_ceil(1 << 20)
            )
        }
        Reason::GroupMemory { .. } => "allow it more, or choose tgz or a lower --level".into(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use crate::error::{ExitCode, exit_code, explain};
    use anyhow::Context;
    use osimg_tar::{Format, Level};
    use std::path::Path;

    #[test]
    fn failures_of_the_library_have_exit_codes_and_hints() {
        let name =
            Format::from_name(Path::new("rb.zip")).context("packing").expect_err("no tarball");
        assert_eq!(exit_code(&name), ExitCode::Usage);
        let explained = explain(&name);
        assert_eq!(
            explained.message,
            "packing: cannot tell the archive format from the name `rb.zip`"
        );
        assert!(explained.hints[0].contains(".tar.bz2"), "{explained:?}");
        let level =
            anyhow::Error::from(Level::Exact(13).number(Format::Tgz).expect_err("no level"));
        assert!(explain(&level).hints[0].contains("0 to 12"), "{level}");
        let missing =
            osimg_tar::scan_tree(Path::new("/nowhere/at/all"), &osimg_tar::NoLabels, |_, _| {
                anyhow::Ok(())
            });
        let missing = missing.expect_err("no tree");
        assert_eq!(exit_code(&missing), ExitCode::Space);
        assert!(
            explain(&missing)
                .message
                .ends_with("/nowhere/at/all: No such file or directory (os error 2)"),
            "{missing:#}"
        );
    }
}
