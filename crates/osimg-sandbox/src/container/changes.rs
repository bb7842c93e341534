//! Changes of files that a process has open, by their paths below /proc/self/fd: a program that
//! writes a file by another name gives it its mode and owner like this.

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::libc;
use nix::sys::stat::{FchmodatFlags, Mode, UtimensatFlags, fchmodat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Pid, Uid, fchownat};
use rustix::fs::{XattrFlags, getxattr, listxattr, removexattr, setxattr};
use std::path::Path;

use super::calls::Request;
use crate::notify::Answer;
use crate::process_memory::{read, text, write};

/// The largest extended attribute, and the longest list of their names; XATTR_SIZE_MAX.
const ATTRIBUTE: usize = 65_536;

/// Whether it is a request of this kind.
pub(super) fn is_change(request: Request) -> bool {
    use Request::{
        GetAttribute, ListAttributes, Mode, Owner, RemoveAttribute, SetAttribute, Times,
    };
    matches!(
        request,
        Mode { .. }
            | Owner { .. }
            | Times
            | SetAttribute
            | GetAttribute
            | ListAttributes
            | RemoveAttribute
    )
}

/// The answer for a file that is not one that the process has open: it is read-only, and has no
/// attributes.
pub(super) fn refused(request: Request) -> Answer {
    match request {
        Request::GetAttribute => Answer::Error(Errno::ENODATA),
        Request::ListAttributes => Answer::Value(0),
        _ => Answer::Error(Errno::EROFS),
    }
}

/// Carries out the request on the file at `path`, a path of this process that no one else can
/// change.
pub(super) fn change(
    path: &Path,
    request: Request,
    thread: Pid,
    argument: &dyn Fn(usize) -> u64,
) -> nix::Result<Answer> {
    let name = || text(thread, argument(1)).ok_or(Errno::EFAULT);
    let size = |index| usize::try_from(argument(index)).unwrap_or(ATTRIBUTE).min(ATTRIBUTE);
    match request {
        Request::Mode { mode, .. } => {
            let mode = Mode::from_bits_truncate(argument(mode) as u32);
            fchmodat(AT_FDCWD, path, mode, FchmodatFlags::FollowSymlink)?;
        }
        Request::Owner { ids, .. } => {
            let (uid, gid) = (argument(ids) as u32, argument(ids + 1) as u32);
            let (uid, gid) = (
                (uid != u32::MAX).then(|| Uid::from_raw(uid)),
                (gid != u32::MAX).then(|| Gid::from_raw(gid)),
            );
            fchownat(AT_FDCWD, path, uid, gid, AtFlags::empty())?;
        }
        Request::Times => {
            let (accessed, modified) = match argument(2) {
                0 => (TimeSpec::UTIME_NOW, TimeSpec::UTIME_NOW),
                address => {
                    times(&read(thread, address, 32).ok_or(Errno::EFAULT)?).ok_or(Errno::EFAULT)?
                }
            };
            utimensat(AT_FDCWD, path, &accessed, &modified, UtimensatFlags::FollowSymlink)?;
        }
        Request::SetAttribute => {
            let value = read(thread, argument(2), size(3))
                .filter(|value| value.len() as u64 == argument(3))
                .ok_or(Errno::EFAULT)?;
            setxattr(path, name()?, &value, XattrFlags::from_bits_retain(argument(4) as u32))
                .map_err(number)?;
        }
        Request::RemoveAttribute => removexattr(path, name()?).map_err(number)?,
        Request::GetAttribute => {
            let mut value = vec![0; size(3)];
            let length = getxattr(path, name()?, value.as_mut_slice()).map_err(number)?;
            return filled(thread, argument(2), &value, length);
        }
        Request::ListAttributes => {
            let mut names = vec![0; size(2)];
            let length = listxattr(path, names.as_mut_slice()).map_err(number)?;
            return filled(thread, argument(1), &names, length);
        }
        _ => return Ok(Answer::Continue),
    }
    Ok(Answer::Value(0))
}

/// Two `struct timespec`.
fn times(bytes: &[u8]) -> Option<(TimeSpec, TimeSpec)> {
    let number = |at: usize| Some(i64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let time = |at| {
        Some(TimeSpec::from_timespec(libc::timespec {
            tv_sec: number(at)?,
            tv_nsec: number(at + 8)?,
        }))
    };
    Some((time(0)?, time(16)?))
}

/// A result in a buffer of the process; one without room asks only for the length.
fn filled(thread: Pid, address: u64, buffer: &[u8], length: usize) -> nix::Result<Answer> {
    let known = buffer.get(..length).unwrap_or_default();
    if known.is_empty() || write(thread, address, known) {
        Ok(Answer::Value(length as i64))
    } else {
        Err(Errno::EFAULT)
    }
}

fn number(error: rustix::io::Errno) -> Errno {
    Errno::from_raw(error.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_times_are_read_from_memory() {
        let bytes: Vec<u8> =
            [1_i64, 2, 3, 4].iter().flat_map(|number| number.to_ne_bytes()).collect();
        let (accessed, modified) = times(&bytes).expect("two times");
        assert_eq!(
            (accessed.tv_sec(), accessed.tv_nsec(), modified.tv_sec(), modified.tv_nsec()),
            (1, 2, 3, 4)
        );
        assert!(times(&bytes[..31]).is_none());
    }

    #[test]
    fn a_file_of_this_process_is_changed() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let thread = nix::unistd::gettid();
        let name = c"user.osimg-test";
        let mode = |index: usize| if index == 1 { 0o640 } else { 0 };
        assert!(matches!(
            change(file.path(), Request::Mode { path: 0, mode: 1 }, thread, &mode),
            Ok(Answer::Value(0))
        ));
        let missing = |index: usize| if index == 1 { name.as_ptr() as u64 } else { 0 };
        assert!(change(file.path(), Request::GetAttribute, thread, &missing).is_err());
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(file.path().metadata().expect("metadata").permissions().mode() & 0o7777, 0o640);
    }
}
