//! The memory of another process.

use nix::libc;
use nix::sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev};
use nix::unistd::Pid;
use std::ffi::{OsStr, OsString};
use std::io::{IoSlice, IoSliceMut};
use std::os::unix::ffi::OsStrExt;

/// The size of the smallest page of memory.
const PAGE: u64 = 4096;

/// A process's bytes, as many as are there of so many.
pub(crate) fn read(pid: Pid, address: u64, count: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; count];
    let base = usize::try_from(address).ok()?;
    let read = process_vm_readv(
        pid,
        &mut [IoSliceMut::new(&mut bytes)],
        &[RemoteIoVec { base, len: count }],
    )
    .ok()?;
    bytes.truncate(read);
    Some(bytes)
}

/// Writes into a process; whether all of it was written.
pub(crate) fn write(pid: Pid, address: u64, bytes: &[u8]) -> bool {
    let Ok(base) = usize::try_from(address) else { return false };
    process_vm_writev(pid, &[IoSlice::new(bytes)], &[RemoteIoVec { base, len: bytes.len() }])
        == Ok(bytes.len())
}

/// The first bytes of a text, at most so many, and never across the end of a page.
pub(crate) fn start(pid: Pid, address: u64, count: u64) -> Option<Vec<u8>> {
    read(pid, address, count.min(PAGE - address % PAGE) as usize)
}

/// A process's path, up to its NUL.
pub(crate) fn text(pid: Pid, address: u64) -> Option<OsString> {
    let mut text = Vec::new();
    while text.len() < libc::PATH_MAX as usize {
        // Not across the end of a page: there may be nothing.
        let at = address.checked_add(text.len() as u64)?;
        let part = read(pid, at, (PAGE - at % PAGE) as usize)?;
        match part.iter().position(|byte| *byte == 0) {
            Some(end) => {
                text.extend_from_slice(part.get(..end)?);
                return Some(OsStr::from_bytes(&text).to_owned());
            }
            None if part.is_empty() => return None,
            None => text.extend_from_slice(&part),
        }
    }
    None
}
