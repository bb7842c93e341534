//! Extended attributes, ACLs and capabilities as a file has them and as an archive carries them.

use crate::error::{Context, Reason, Result};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::rc::Rc;
use xattr::FileExt;

/// An open file to read attributes of.
#[derive(Debug)]
pub(super) enum Handle {
    /// Open for reading: a regular file or a directory.
    Open(Rc<File>),
    /// Open only as a place (`O_PATH`): anything else, since opening it to read has effects.
    Place(OwnedFd),
}

impl Handle {
    fn names(&self) -> io::Result<xattr::XAttrs> {
        match self {
            Self::Open(file) => file.list_xattr(),
            Self::Place(fd) => xattr::list_deref(proc_path(fd)),
        }
    }

    fn value(&self, name: &OsStr) -> io::Result<Option<Vec<u8>>> {
        match self {
            Self::Open(file) => file.get_xattr(name),
            Self::Place(fd) => xattr::get_deref(proc_path(fd), name),
        }
    }
}

/// A path to the file of `fd` itself, even if that is a symbolic link: the kernel resolves no name
/// on the way.
fn proc_path(fd: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// The attributes of one file, ready for an archive.
#[derive(Debug, Default)]
pub(super) struct Attributes {
    /// The access ACL as text with numeric ids, when there is one beyond the mode.
    pub(super) acl: Option<String>,
    /// The default ACL of a directory.
    pub(super) default_acl: Option<String>,
    /// The SELinux label that the file system has, without its final NUL.
    pub(super) label: Option<Vec<u8>>,
    /// Every other attribute that is kept, by name.
    pub(super) others: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The root's uid of the user namespace that the file capability is limited to.
    pub(super) foreign_capability: Option<u32>,
    /// Those left out.
    pub(super) dropped: Vec<&'static Dropped>,
}

/// Attributes that do not belong into an image.
#[derive(Debug)]
pub(super) struct Dropped {
    /// The beginning of the names.
    pub(super) prefix: &'static str,
    /// Why they are left out; empty when the archive has the same information in another form.
    pub(super) reason: &'static str,
}

const DROPPED: [Dropped; 7] = [
    // XFS shows every ACL a second time under these names.
    Dropped { prefix: "trusted.SGI_ACL_", reason: "" },
    // What restorecon last saw of file_contexts; it would skip the directory.
    Dropped { prefix: "security.sehash", reason: "" },
    Dropped {
        prefix: "trusted.overlay.",
        reason: "they describe an overlay mount of the build host",
    },
    Dropped { prefix: "user.overlay.", reason: "they describe an overlay mount of the build host" },
    Dropped { prefix: "btrfs.", reason: "they are settings of the build host's file system" },
    Dropped { prefix: "system.", reason: "they are settings of the build host's file system" },
    EVM_HMAC,
];

/// An HMAC of EVM is made with a key that only the build host has; a signature (other first byte)
/// is good anywhere.
const EVM_HMAC: Dropped =
    Dropped { prefix: "security.evm", reason: "they are made with a secret key of the build host" };
const EVM_HMAC_TYPE: u8 = 2;

/// Reads the attributes of the file: none if its file system has none.
///
/// # Errors
/// Fails when they cannot be read, or could not be carried faithfully.
pub(super) fn read(handle: &Handle) -> Result<Attributes> {
    let mut attributes = Attributes::default();
    let names = match handle.names() {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(attributes),
        Err(error) => return Err(error).context("listing extended attributes"),
    };
    for name in names {
        let read = handle
            .value(&name)
            .with_context(|| format!("reading extended attribute {}", name.display()))?;
        if let Some(value) = read {
            attributes.add(name, value)?;
        }
    }
    Ok(attributes)
}

impl Attributes {
    fn add(&mut self, name: OsString, mut value: Vec<u8>) -> Result<()> {
        match name.as_bytes() {
            // In both forms: some readers know only one of them.
            b"system.posix_acl_access" => {
                self.acl = Some(acl_text(&value).context("reading the access ACL")?);
                self.others.insert(name.into_vec(), value);
            }
            b"system.posix_acl_default" => {
                self.default_acl = Some(acl_text(&value).context("reading the default ACL")?);
                self.others.insert(name.into_vec(), value);
            }
            b"security.selinux" => {
                if value.last() == Some(&0) {
                    value.pop();
                }
                self.label = Some(value);
            }
            b"security.capability" => {
                let (value, root) = capability(value);
                self.foreign_capability = root;
                self.others.insert(name.into_vec(), value);
            }
            bytes => match DROPPED.iter().find(|dropped| dropped.applies(bytes, &value)) {
                Some(dropped) => self.dropped.push(dropped),
                None => {
                    self.others.insert(name.into_vec(), value);
                }
            },
        }
        Ok(())
    }
}

impl Dropped {
    fn applies(&self, name: &[u8], value: &[u8]) -> bool {
        name.starts_with(self.prefix.as_bytes())
            && (self.prefix != EVM_HMAC.prefix || value.first() == Some(&EVM_HMAC_TYPE))
    }
}

/// Writes an ACL from the kernel's form (linux/posix_acl_xattr.h) as comma-separated text with
/// numeric ids.
///
/// Names would be looked up in the passwd of the system that unpacks, which is not the image's.
fn acl_text(value: &[u8]) -> Result<String> {
    const VERSION: [u8; 4] = 2_u32.to_le_bytes();
    let (version, entries) = value.split_first_chunk::<4>().ok_or(Reason::Acl)?;
    let (entries, rest) = entries.as_chunks::<8>();
    if *version != VERSION || !rest.is_empty() {
        return Err(Reason::Acl.into());
    }
    let mut text = String::new();
    for [tag_low, tag_high, permissions, _, id @ ..] in entries {
        let id = u32::from_le_bytes(*id);
        let separator = if text.is_empty() { "" } else { "," };
        let who = match u16::from_le_bytes([*tag_low, *tag_high]) {
            0x01 => "user:".to_owned(),
            0x02 => format!("user:{id}"),
            0x04 => "group:".to_owned(),
            0x08 => format!("group:{id}"),
            0x10 => "mask:".to_owned(),
            0x20 => "other:".to_owned(),
            _ => return Err(Reason::Acl.into()),
        };
        let bit = |mask: u8, letter: char| if permissions & mask == 0 { '-' } else { letter };
        // Writing into a String cannot fail.
        let _ = write!(text, "{separator}{who}:{}{}{}", bit(4, 'r'), bit(2, 'w'), bit(1, 'x'));
    }
    Ok(text)
}

/// Changes a capability to version 2, which every kernel knows (linux/capability.h,
/// `vfs_ns_cap_data`). One that is valid only in the user namespace of another root stays as it is,
/// and that root's uid is returned.
fn capability(mut value: Vec<u8>) -> (Vec<u8>, Option<u32>) {
    const VERSION_2: u8 = 2;
    const VERSION_3: u8 = 3;
    let (Some(version), Some(root)) = (value.get(3).copied(), value.get(20..24)) else {
        return (value, None);
    };
    if version != VERSION_3 {
        return (value, None);
    }
    let root = root.iter().rev().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    if root != 0 {
        return (value, Some(root));
    }
    value.truncate(20);
    if let Some(byte) = value.get_mut(3) {
        *byte = VERSION_2;
    }
    (value, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acl_is_written_with_numbers_on_one_line() {
        let mut value = 2_u32.to_le_bytes().to_vec();
        for (tag, permissions, id) in [
            (1_u16, 6_u16, u32::MAX),
            (2, 7, 4_000_000_000),
            (4, 4, u32::MAX),
            (8, 5, 99),
            (16, 7, u32::MAX),
            (32, 0, u32::MAX),
        ] {
            value.extend(tag.to_le_bytes());
            value.extend(permissions.to_le_bytes());
            value.extend(id.to_le_bytes());
        }
        assert_eq!(
            acl_text(&value).unwrap(),
            "user::rw-,user:4000000000:rwx,group::r--,group:99:r-x,mask::rwx,other::---"
        );
        value.pop();
        assert!(acl_text(&value).is_err());
        assert!(acl_text(&[3, 0, 0, 0]).is_err());
        assert!(acl_text(&[]).is_err());
    }

    #[test]
    fn a_capability_of_the_systems_own_root_becomes_version_2() {
        let version_3 = |root: u32| {
            let mut value = vec![1, 0, 0, 3, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            value.extend(root.to_le_bytes());
            value
        };
        assert_eq!(
            capability(version_3(0)),
            (vec![1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], None)
        );
        assert_eq!(capability(version_3(1000)), (version_3(1000), Some(1000)));
        assert_eq!(capability(vec![1, 0, 0, 2]), (vec![1, 0, 0, 2], None));
    }

    #[test]
    fn attributes_of_the_build_host_are_left_out() {
        let mut attributes = Attributes::default();
        for (name, value) in [
            ("trusted.overlay.opaque", b"y".as_slice()),
            ("trusted.SGI_ACL_FILE", b""),
            ("security.evm", b"\x02hmac"),
            ("security.selinux", b"system_u:object_r:etc_t:s0\0"),
            ("user.kept", b"a\0"),
        ] {
            attributes.add(name.into(), value.to_vec()).unwrap();
        }
        assert_eq!(attributes.others, BTreeMap::from([(b"user.kept".to_vec(), b"a\0".to_vec())]));
        assert_eq!(attributes.label.as_deref(), Some(b"system_u:object_r:etc_t:s0".as_slice()));
        assert_eq!(attributes.dropped.len(), 3);
        attributes.add("security.evm".into(), b"\x05signature".to_vec()).unwrap();
        assert_eq!(attributes.others.len(), 2);
    }
}
