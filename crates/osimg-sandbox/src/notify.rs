//! Seccomp user notification: system calls of other processes are answered by this one. The only
//! file with `unsafe`: neither `nix` nor `rustix` nor `seccompiler` has these calls.
//!
//! See seccomp_unotify(2). What holds of every unsafe block:
//!
//! - A structure that the kernel fills is plain data, for which every bit pattern is valid, and is
//!   zeroed before the call, as the kernel demands of `seccomp_notif`.
//! - Its size is what the kernel's headers give to the request's number, which has it encoded:
//!   the test `the_sizes_are_those_in_the_numbers` compares them.
//! - No pointer outlives the call that it is passed to.

use nix::errno::Errno;
use nix::libc;
use seccompiler::BpfProgram;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// A call that another process makes, and waits for the answer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call {
    id: u64,
    /// The thread that makes it, by its number in this process's pid namespace.
    pub(crate) thread: i32,
    /// Its number.
    pub(crate) number: i64,
    /// Its arguments.
    pub(crate) arguments: [u64; 6],
}

/// The answer to a call.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The kernel carries it out, as if no one had been asked.
    Continue,
    /// It returns this number.
    Value(i64),
    /// It fails.
    Error(Errno),
    /// It returns a new descriptor of this file.
    Descriptor {
        /// The file.
        file: OwnedFd,
        /// Whether an exec closes it.
        close_on_exec: bool,
    },
}

/// The bits of a filter's answer: another process decides.
const RET_USER_NOTIF: u32 = 0x7fc0_0000;
/// Stands for it in programs of `seccompiler`, which does not know it: `SECCOMP_RET_TRACE` with
/// this number.
pub(crate) const PLACEHOLDER: u32 = 0x4e54;
const RET_TRACE: u32 = 0x7ff0_0000;
/// The instruction that returns a constant: `BPF_RET | BPF_K`.
const RETURN: u16 = 0x06;

const RECEIVE: libc::c_ulong = 0xc050_2100;
const SEND: libc::c_ulong = 0xc018_2101;
const IS_VALID: libc::c_ulong = 0x4008_2102;
const ADD_DESCRIPTOR: libc::c_ulong = 0x4018_2103;
const SET_FLAGS: libc::c_ulong = 0x4008_2104;
/// The thread that is answered runs at once on the processor of the one that answers.
const SYNC_WAKE_UP: libc::c_ulong = 1;
const ADDFD_SEND: u32 = 2;
const CONTINUE: u32 = 1;

/// `struct seccomp_notif`.
#[repr(C)]
#[derive(Default, Clone, Copy)]
struct Notification {
    id: u64,
    pid: u32,
    flags: u32,
    number: i32,
    arch: u32,
    instruction_pointer: u64,
    arguments: [u64; 6],
}

/// `struct seccomp_notif_resp`.
#[repr(C)]
#[derive(Default)]
struct Response {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

/// `struct seccomp_notif_addfd`.
#[repr(C)]
#[derive(Default)]
struct AddDescriptor {
    id: u64,
    flags: u32,
    source: u32,
    new: u32,
    new_flags: u32,
}

/// The calls of the processes behind a filter.
#[derive(Debug)]
pub(crate) struct Listener(OwnedFd);

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Listener {
    /// Of a descriptor that [`install`] returned, perhaps in another process.
    pub(crate) fn new(descriptor: OwnedFd) -> Self {
        let listener = Self(descriptor);
        // Faster, where the kernel can do it: since Linux 6.6.
        // SAFETY: the request takes its argument by value.
        let _ = unsafe { libc::ioctl(listener.0.as_raw_fd(), SET_FLAGS, SYNC_WAKE_UP) };
        listener
    }

    /// The next call; `None` when its process has ended, or a signal arrived.
    pub(crate) fn receive(&self) -> nix::Result<Option<Call>> {
        let mut notification = Notification::default();
        // SAFETY: the kernel fills `notification`, which is zeroed and as large as the request's
        // number says; see the module's documentation.
        let done = unsafe { libc::ioctl(self.0.as_raw_fd(), RECEIVE, &raw mut notification) };
        match Errno::result(done) {
            Ok(_) => Ok(Some(Call {
                id: notification.id,
                thread: notification.pid.cast_signed(),
                number: i64::from(notification.number),
                arguments: notification.arguments,
            })),
            Err(Errno::ENOENT | Errno::EINTR) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the call still waits: what was read of its thread before this was that thread's, and
    /// not of another one that got its number.
    pub(crate) fn is_waiting(&self, call: &Call) -> bool {
        // SAFETY: the kernel reads the id, which outlives the request.
        unsafe { libc::ioctl(self.0.as_raw_fd(), IS_VALID, &raw const call.id) == 0 }
    }

    /// Answers a call. One whose process has ended needs no answer.
    pub(crate) fn answer(&self, call: &Call, answer: Answer) -> nix::Result<()> {
        let mut response = Response { id: call.id, ..Response::default() };
        match answer {
            Answer::Continue => response.flags = CONTINUE,
            Answer::Value(value) => response.value = value,
            Answer::Error(error) => response.error = -(error as i32),
            Answer::Descriptor { file, close_on_exec } => {
                match self.add(call, &file, close_on_exec) {
                    Err(error) if error != Errno::ENOENT => response.error = -(error as i32),
                    _ => return Ok(()),
                }
            }
        }
        // SAFETY: the kernel reads `response`, which outlives the request.
        let done = unsafe { libc::ioctl(self.0.as_raw_fd(), SEND, &raw const response) };
        match Errno::result(done) {
            Ok(_) | Err(Errno::ENOENT) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Adds a descriptor to the process and answers with its number, at once.
    fn add(&self, call: &Call, file: &OwnedFd, close_on_exec: bool) -> nix::Result<()> {
        let request = AddDescriptor {
            id: call.id,
            flags: ADDFD_SEND,
            source: file.as_raw_fd().cast_unsigned(),
            new: 0,
            new_flags: if close_on_exec { libc::O_CLOEXEC.cast_unsigned() } else { 0 },
        };
        // SAFETY: the kernel reads `request`, which outlives the request.
        let done = unsafe { libc::ioctl(self.0.as_raw_fd(), ADD_DESCRIPTOR, &raw const request) };
        Errno::result(done).map(drop)
    }
}

/// Has the calls for which the program returns [`PLACEHOLDER`] answered by the listener, for this
/// process and all that it starts. The calling process must have no privileges to gain.
pub(crate) fn install(program: &BpfProgram) -> nix::Result<OwnedFd> {
    let filter: Vec<libc::sock_filter> = program
        .iter()
        .map(|step| libc::sock_filter {
            code: step.code,
            jt: step.jt,
            jf: step.jf,
            k: if step.code == RETURN && step.k == RET_TRACE | PLACEHOLDER {
                RET_USER_NOTIF
            } else {
                step.k
            },
        })
        .collect();
    let length = u16::try_from(filter.len()).map_err(|_| Errno::E2BIG)?;
    let program = libc::sock_fprog { len: length, filter: filter.as_ptr().cast_mut() };
    // SAFETY: the kernel copies the program, whose steps outlive the call.
    let descriptor = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        )
    };
    let descriptor = RawFd::try_from(Errno::result(descriptor)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just made this descriptor, and no one else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// A structure that has no padding and no pointers, as the kernel writes it into a process.
pub(crate) trait KernelStruct: Copy {}
impl KernelStruct for libc::stat {}
impl KernelStruct for libc::statx {}
impl KernelStruct for libc::statfs {}

/// Its bytes.
pub(crate) fn bytes_of<T: KernelStruct>(value: &T) -> &[u8] {
    // SAFETY: the kernel has filled all of it, the reserved fields too; it is plain data.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

/// statx(2) of an open file.
pub(crate) fn statx(file: &impl AsFd, mask: u32) -> nix::Result<libc::statx> {
    // SAFETY: zeroes are a valid value.
    let mut found: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: the path is a constant string with its end, and the kernel fills `found`.
    let done = unsafe {
        libc::statx(
            file.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            mask,
            &raw mut found,
        )
    };
    Errno::result(done).map(|_| found)
}

/// fstatfs(2).
pub(crate) fn statfs(file: &impl AsFd) -> nix::Result<libc::statfs> {
    // SAFETY: zeroes are a valid value.
    let mut found: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel fills `found`.
    let done = unsafe { libc::fstatfs(file.as_fd().as_raw_fd(), &raw mut found) };
    Errno::result(done).map(|_| found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sizes_are_those_in_the_numbers() {
        // _IOC of the kernel's ioctl.h: the size is in 14 bits above the lower 16.
        let size = |request: libc::c_ulong| (request >> 16 & 0x3fff) as usize;
        assert_eq!(size(RECEIVE), size_of::<Notification>());
        assert_eq!(size(SEND), size_of::<Response>());
        assert_eq!(size(ADD_DESCRIPTOR), size_of::<AddDescriptor>());
        assert_eq!(size(IS_VALID), size_of::<u64>());
        assert_eq!(size_of::<libc::seccomp_notif>(), size_of::<Notification>());
    }

    #[test]
    fn the_bytes_of_a_structure_are_all_of_it() {
        let file = std::fs::File::open("/proc/self/status").expect("a file");
        let found = nix::sys::stat::fstat(&file).expect("its status");
        assert_eq!(bytes_of(&found).len(), size_of::<libc::stat>());
        assert_eq!(
            statx(&file, libc::STATX_BASIC_STATS).expect("its status").stx_ino,
            found.st_ino
        );
        // PROC_SUPER_MAGIC
        assert_eq!(statfs(&file).expect("its file system").f_type, 0x9fa0);
    }
}
