//! The caller's standard input, on its way to a command that shares the caller's terminal: the
//! stages have the supervisor's socket as theirs, and it comes over that.

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::error::{Context, Error, ErrorKind, Result};

/// Sends the descriptor, if there is one, before anything else goes over the socket.
pub(super) fn send(socket: impl AsFd, input: Option<BorrowedFd<'_>>) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors: Vec<BorrowedFd<'_>> = input.into_iter().collect();
    if !descriptors.is_empty() {
        refuse_directory(&descriptors)?;
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
    }
    // A stage that has already ended shows itself as an ended socket later, with its message on
    // stderr.
    let _ = sendmsg(socket, &[IoSlice::new(b"i")], &mut control, SendFlags::NOSIGNAL);
    Ok(())
}

/// An open directory of the host would be a way out of the sandbox.
fn refuse_directory(descriptors: &[BorrowedFd<'_>]) -> Result<()> {
    for descriptor in descriptors {
        let stat = nix::sys::stat::fstat(descriptor).context("examining standard input")?;
        if super::directories::is(stat.st_mode, nix::sys::stat::SFlag::S_IFDIR) {
            return Err(Error::new(ErrorKind::Usage, "standard input is a directory")
                .with_hint("redirect it from a file, a pipe or /dev/null"));
        }
    }
    Ok(())
}

/// Receives it in pid 1.
pub(super) fn receive(socket: impl AsFd) -> Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)
        .context("receiving standard input")?;
    let mut received = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut descriptors) = message {
            received = descriptors.next();
        }
    }
    Ok(received)
}
