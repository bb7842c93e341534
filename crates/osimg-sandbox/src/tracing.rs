//! Owners in a build with a single id: traces the run, records the owner that each file is given,
//! and shows that owner to the run.
//!
//! The kernel cannot give such a build's files to other users. So the first stage, which is outside
//! of the sandbox, traces every process of the run by ptrace(2). A filter stops them only at the
//! chown calls and at the calls that ask for owners. The first become calls that change no owner
//! but have all other effects (the errors; set-user-id bits and capabilities that are lost). The
//! results of the others get the recorded owners. So scriptlets see what they would see as root.

mod call;
mod tracees;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, fstat, makedev};
use nix::unistd::Pid;
use rustix::process::WaitOptions;
use std::collections::{HashMap, HashSet};
use std::mem::offset_of;
use std::os::fd::OwnedFd;
use std::path::Path;

use super::owned_file::OwnedFile;
use super::plan::BUILD_ROOT;
use super::process_memory::{read, write};
use crate::error::{Context, Result, invalid};
use call::Call;
pub(super) use tracees::Tracees;

/// What becomes of chown calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChownCalls {
    /// They are carried out.
    Real,
    /// They do nothing and report success.
    Ignored,
    /// The first stage records them.
    Recorded,
}

/// Has this process and all it will start traced by the first stage, its parent; false when the
/// kernel does not allow it.
pub(super) fn request_tracing() -> Result<bool> {
    if ptrace::traceme().is_err() {
        return Ok(false);
    }
    // The parent sets its options at this stop.
    nix::sys::signal::raise(Signal::SIGSTOP).context("waiting to be traced")?;
    Ok(true)
}

/// Has the first stage, which traces us, record these owners of an earlier run.
pub(super) fn restore(owned: &[OwnedFile]) {
    for file in owned {
        let path = Path::new(BUILD_ROOT)
            .join(Path::new(&file.path).strip_prefix("/").unwrap_or(Path::new(&file.path)));
        // It may have been removed.
        let Ok(place) = open(
            path.as_path(),
            OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
            Mode::empty(),
        ) else {
            continue;
        };
        // The tracer records the owner. The kernel refuses the call itself for an O_PATH
        // descriptor, so set-user-id bits are kept.
        let _ = nix::unistd::fchown(&place, Some(file.uid.into()), Some(file.gid.into()));
    }
}

/// The calls at which a traced run stops. Only the old ones differ between machines.
pub(super) fn calls() -> Vec<i64> {
    let mut calls = chown_calls();
    calls.extend([libc::SYS_fstat, libc::SYS_newfstatat, libc::SYS_statx]);
    #[cfg(target_arch = "x86_64")]
    calls.extend([libc::SYS_stat, libc::SYS_lstat]);
    calls
}

/// The calls that change owners.
pub(super) fn chown_calls() -> Vec<i64> {
    #[cfg(target_arch = "x86_64")]
    return vec![libc::SYS_chown, libc::SYS_lchown, libc::SYS_fchown, libc::SYS_fchownat];
    #[cfg(not(target_arch = "x86_64"))]
    vec![libc::SYS_fchown, libc::SYS_fchownat]
}

/// How pid 1 ended, and the owners that its run gave to files, if it was traced.
pub(super) struct Traced {
    pub code: i32,
    pub owners: Option<Vec<OwnedFile>>,
}

/// Waits for the end of pid 1, and traces its run if it asks for that.
///
/// # Errors
/// When a process cannot be traced any longer. All processes of the run end with us.
pub(super) fn trace(pid1: Pid, tracees: Tracees) -> Result<Traced> {
    let mut tracer = Tracer {
        pid1,
        tracees,
        known: HashSet::new(),
        asked: HashMap::new(),
        ledger: Ledger::default(),
    };
    loop {
        let (pid, event) = match next_event()? {
            Some(event) => event,
            None => return Ok(Traced { code: 1, owners: None }),
        };
        match event {
            Event::Ended(code) if pid == pid1 => {
                return Ok(Traced {
                    code,
                    owners: tracer.known.contains(&pid1).then(|| tracer.owners()),
                });
            }
            Event::Ended(_) => tracer.forget(pid),
            Event::Stopped { signal, event } => match tracer.stopped(pid, signal, event) {
                // Killed while it was stopped.
                Err(error) if error.errno() == Some(Errno::ESRCH) => tracer.forget(pid),
                done => done?,
            },
        }
    }
}

/// What became of a process.
enum Event {
    Ended(i32),
    Stopped { signal: i32, event: i32 },
}

/// The next process that ended or stopped; `None` when there is none left.
fn next_event() -> Result<Option<(Pid, Event)>> {
    // Threads and processes alike: nix has no answer for signals that have no name, so the status
    // is read as it is.
    let all = WaitOptions::from_bits_retain(libc::__WALL.cast_unsigned());
    loop {
        let (pid, status) = match rustix::process::wait(all) {
            Ok(Some(found)) => found,
            Ok(None) | Err(rustix::io::Errno::INTR) => continue,
            Err(rustix::io::Errno::CHILD) => return Ok(None),
            Err(error) => return Err(error).context("waiting for the sandbox's processes"),
        };
        let pid = Pid::from_raw(pid.as_raw_nonzero().get());
        let event = match status.stopping_signal() {
            Some(signal) => Event::Stopped { signal, event: status.as_raw() >> 16 },
            None => Event::Ended(status.exit_status().unwrap_or(1)),
        };
        return Ok(Some((pid, event)));
    }
}

/// A result that a process waits for.
#[derive(Clone, Copy)]
struct Question {
    form: &'static Form,
    address: u64,
}

/// Where a result has the owners of a file.
struct Form {
    size: usize,
    uid: usize,
    gid: usize,
    /// Device and number of the file.
    inode: fn(&[u8]) -> Option<(u64, u64)>,
}

const STAT: Form = Form {
    size: size_of::<libc::stat>(),
    uid: offset_of!(libc::stat, st_uid),
    gid: offset_of!(libc::stat, st_gid),
    inode: |answer| {
        number(answer, offset_of!(libc::stat, st_dev))
            .zip(number(answer, offset_of!(libc::stat, st_ino)))
    },
};

const STATX: Form = Form {
    size: size_of::<libc::statx>(),
    uid: offset_of!(libc::statx, stx_uid),
    gid: offset_of!(libc::statx, stx_gid),
    inode: |answer| {
        let half = |at| number(answer, at).map(|both| both & u64::from(u32::MAX));
        let major = half(offset_of!(libc::statx, stx_dev_major))?;
        let minor = half(offset_of!(libc::statx, stx_dev_minor))?;
        Some((makedev(major, minor), number(answer, offset_of!(libc::statx, stx_ino))?))
    },
};

/// The state of a traced run.
struct Tracer {
    pid1: Pid,
    tracees: Tracees,
    known: HashSet<Pid>,
    asked: HashMap<Pid, Question>,
    ledger: Ledger,
}

impl Tracer {
    fn forget(&mut self, pid: Pid) {
        self.known.remove(&pid);
        self.asked.remove(&pid);
    }

    fn stopped(&mut self, pid: Pid, signal: i32, event: i32) -> Result<()> {
        const AT_CALL: i32 = libc::SIGTRAP | 0x80;
        match (event, signal) {
            (libc::PTRACE_EVENT_SECCOMP, _) => return self.called(pid),
            (0, AT_CALL) => self.answered(pid)?,
            // A process or thread stops before its first step.
            (0, libc::SIGSTOP) if self.known.insert(pid) => self.begin(pid)?,
            (0, signal) => {
                let signal = Signal::try_from(signal).map_err(|_| {
                    invalid(format!(
                        "a process was sent the signal {signal}, which cannot be passed on in a \
                         build with a single id"
                    ))
                })?;
                return Ok(ptrace::cont(pid, signal)?);
            }
            // A new program or process.
            _ => {}
        }
        Ok(ptrace::cont(pid, None)?)
    }

    /// Sets what is traced of pid 1. All processes that it starts inherit that, and end with us.
    fn begin(&self, pid: Pid) -> Result<()> {
        if pid != self.pid1 {
            return Ok(());
        }
        let options = Options::PTRACE_O_EXITKILL
            | Options::PTRACE_O_TRACESECCOMP
            | Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEEXEC;
        ptrace::setoptions(self.pid1, options)?;
        together(self.pid1);
        // A descriptor is kept of each file whose owner changes.
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("raising the limit on open files")
    }

    /// A process is about to change the owner of a file, or to ask for it.
    fn called(&mut self, pid: Pid) -> Result<()> {
        let mut call = Call::of(pid)?;
        let (form, argument) = match call.number() {
            libc::SYS_fstat => (&STAT, 1),
            libc::SYS_newfstatat => (&STAT, 2),
            libc::SYS_statx => (&STATX, 4),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_stat | libc::SYS_lstat => (&STAT, 1),
            _ => {
                let (ids, file) = self.tracees.target(pid, &call);
                match file {
                    Ok(file) => self.ledger.give(
                        file,
                        id(call.argument(ids)),
                        id(call.argument(ids + 1)),
                    )?,
                    Err(Errno::EMFILE | Errno::ENFILE) => {
                        return Err(invalid(format!(
                            "{} files belong to other users, more than a build with a single id \
                             can record; raise `ulimit -Hn`",
                            self.ledger.entries.len()
                        )));
                    }
                    // The call itself reports it to the process.
                    Err(_) => {}
                }
                // No owner changes; the other effects of the call remain.
                call.set_argument(ids, u64::from(u32::MAX));
                call.set_argument(ids + 1, u64::from(u32::MAX));
                call.put(pid)?;
                return Ok(ptrace::cont(pid, None)?);
            }
        };
        if self.ledger.entries.is_empty() {
            return Ok(ptrace::cont(pid, None)?);
        }
        self.asked.insert(pid, Question { form, address: call.argument(argument) });
        Ok(ptrace::syscall(pid, None)?)
    }

    /// The kernel has filled in the result: its owners become the recorded ones.
    fn answered(&mut self, pid: Pid) -> Result<()> {
        let Some(question) = self.asked.remove(&pid) else { return Ok(()) };
        if Call::of(pid)?.result() != 0 {
            return Ok(());
        }
        let Question { form, address } = question;
        let Some(answer) = read(pid, address, form.size) else { return Ok(()) };
        if let Some(owner) = (form.inode)(&answer).and_then(|inode| self.ledger.entries.get(&inode))
        {
            write(pid, address + form.uid as u64, &owner.uid.to_ne_bytes());
            write(pid, address + form.gid as u64, &owner.gid.to_ne_bytes());
        }
        Ok(())
    }

    /// The files of the install root that are still there.
    fn owners(&self) -> Vec<OwnedFile> {
        let mut all: Vec<OwnedFile> = self
            .ledger
            .entries
            .values()
            .filter(|owner| fstat(&owner.file).is_ok_and(|known| known.st_nlink > 0))
            .filter_map(|owner| {
                let path = self.tracees.name(&owner.file).ok()?;
                let inside = Path::new(&path).strip_prefix(BUILD_ROOT).ok()?;
                Some(OwnedFile {
                    path: Path::new("/").join(inside).into_os_string(),
                    uid: owner.uid,
                    gid: owner.gid,
                })
            })
            .collect();
        all.sort_by(|a, b| a.path.cmp(&b.path));
        all
    }
}

/// Puts this process and the run on one processor. At each stop one of them waits for the other,
/// and waking a second processor takes ten times as long as switching. On two virtual processors
/// an installation took 18 s instead of 74 s. If the kernel does not allow it, the run is only
/// slower.
fn together(pid1: Pid) {
    use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
    let mut one = CpuSet::new();
    if sched_getcpu().and_then(|here| one.set(here)).is_ok() {
        let _ =
            sched_setaffinity(Pid::from_raw(0), &one).and_then(|()| sched_setaffinity(pid1, &one));
    }
}

/// The files that do not belong to root, with their owners.
#[derive(Default)]
struct Ledger {
    entries: HashMap<(u64, u64), Owner>,
}

struct Owner {
    /// While it is open the file's number is not given to another.
    file: OwnedFd,
    uid: u32,
    gid: u32,
}

impl Ledger {
    fn give(&mut self, file: OwnedFd, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        let known = fstat(&file).context("examining a file whose owner changes")?;
        let inode = (known.st_dev, known.st_ino);
        let (old_uid, old_gid) =
            self.entries.get(&inode).map_or((0, 0), |owner| (owner.uid, owner.gid));
        match (uid.unwrap_or(old_uid), gid.unwrap_or(old_gid)) {
            (0, 0) => drop(self.entries.remove(&inode)),
            (uid, gid) => drop(self.entries.insert(inode, Owner { file, uid, gid })),
        }
        Ok(())
    }
}

/// An id of a call: all ones means that it stays as it is.
fn id(argument: u64) -> Option<u32> {
    let id = (argument & u64::from(u32::MAX)) as u32;
    (id != u32::MAX).then_some(id)
}

/// A number in an answer; shorter ones are its lower half.
fn number(answer: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(answer.get(at..at + 8)?.try_into().ok()?))
}
