//! Owners where a build has one id alone: traces the run, remembers to whom it gives files, and
//! tells it to whoever asks.
//!
//! The kernel gives such a build's files to nobody else. So the first stage, which is outside the
//! sandbox, follows every process of the run by ptrace(2); a filter stops them at the calls that
//! give files away and at those that ask for owners, and nowhere else. The first become calls that
//! change nothing but do what else comes with them (the errors; set-user-id bits and capabilities
//! that are lost), the answers of the others get the remembered owners. So scriptlets see what they
//! would see as root.

mod call;
mod processes;

use anyhow::Context;
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

use super::given::Given;
use super::plan::BUILD_ROOT;
use crate::error::Result;
use call::Call;
pub(super) use processes::Processes;
use processes::{read, write};

/// What the kernel is to do with calls that give files away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Giving {
    /// Carry them out.
    Real,
    /// Nothing, and say that it was done.
    Ignored,
    /// Nothing, and the first stage remembers it.
    Recorded,
}

/// Has this process and all it will start followed by the first stage, its parent; false when the
/// kernel does not let it.
pub(super) fn be_followed() -> Result<bool> {
    if ptrace::traceme().is_err() {
        return Ok(false);
    }
    // The parent says at this stop what it wants to follow.
    nix::sys::signal::raise(Signal::SIGSTOP).context("waiting to be followed")?;
    Ok(true)
}

/// Has the first stage, which follows us, take these files for given away already.
pub(super) fn recall(given: &[Given]) {
    for file in given {
        let path = Path::new(BUILD_ROOT).join(Path::new(&file.path).strip_prefix("/").unwrap_or(Path::new(&file.path)));
        // One that is gone is nobody's.
        let Ok(place) = open(path.as_path(), OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty()) else { continue };
        // It is remembered; the call itself, and with it the loss of set-user-id bits, the kernel
        // refuses for such a descriptor.
        let _ = nix::unistd::fchown(&place, Some(file.uid.into()), Some(file.gid.into()));
    }
}

/// The calls at which a run that is followed stops; they differ between machines in the old ones
/// alone.
pub(super) fn calls() -> Vec<i64> {
    let mut calls = giving_calls();
    calls.extend([libc::SYS_fstat, libc::SYS_newfstatat, libc::SYS_statx]);
    #[cfg(target_arch = "x86_64")]
    calls.extend([libc::SYS_stat, libc::SYS_lstat]);
    calls
}

/// The calls that give files away.
pub(super) fn giving_calls() -> Vec<i64> {
    #[cfg(target_arch = "x86_64")]
    return vec![libc::SYS_chown, libc::SYS_lchown, libc::SYS_fchown, libc::SYS_fchownat];
    #[cfg(not(target_arch = "x86_64"))]
    vec![libc::SYS_fchown, libc::SYS_fchownat]
}

/// How pid 1 ended, and what its run gave away, if it was followed.
pub(super) struct Followed {
    pub code: i32,
    pub given: Option<Vec<Given>>,
}

/// Waits for the end of pid 1, and follows its run if it wants to be followed.
///
/// # Errors
/// When a process can be followed no longer. All processes of the run end with us.
pub(super) fn follow(pid1: Pid, processes: Processes) -> Result<Followed> {
    let mut tracer = Tracer { pid1, processes, known: HashSet::new(), asked: HashMap::new(), ledger: Ledger::default() };
    loop {
        let (pid, event) = match next_event()? {
            Some(event) => event,
            None => return Ok(Followed { code: 1, given: None }),
        };
        match event {
            Event::Ended(code) if pid == pid1 => {
                return Ok(Followed { code, given: tracer.known.contains(&pid1).then(|| tracer.given()) });
            }
            Event::Ended(_) => tracer.forget(pid),
            Event::Stopped { signal, event } => match tracer.stopped(pid, signal, event) {
                // Killed while it stood still.
                Err(error) if error.downcast_ref::<Errno>() == Some(&Errno::ESRCH) => tracer.forget(pid),
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

/// The answer that a process waits for.
#[derive(Clone, Copy)]
struct Question {
    form: &'static Form,
    address: u64,
}

/// Where an answer says whose a file is.
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
    inode: |answer| number(answer, offset_of!(libc::stat, st_dev)).zip(number(answer, offset_of!(libc::stat, st_ino))),
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

/// Everything that is known of the run.
struct Tracer {
    pid1: Pid,
    processes: Processes,
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
                    anyhow::anyhow!("a process was sent the signal {signal}, which cannot be passed on in a build with a single id")
                })?;
                return Ok(ptrace::cont(pid, signal)?);
            }
            // A new program or process: of no interest by itself.
            _ => {}
        }
        Ok(ptrace::cont(pid, None)?)
    }

    /// Says of pid 1 what is followed of it and of all that come from it, which need not be told;
    /// they end with us.
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
        // A descriptor is kept of each file that is given away.
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("raising the limit on open files")
    }

    /// A process is about to give a file away, or to ask for one's owners.
    fn called(&mut self, pid: Pid) -> Result<()> {
        let mut call = Call::of(pid)?;
        let (form, argument) = match call.number() {
            libc::SYS_fstat => (&STAT, 1),
            libc::SYS_newfstatat => (&STAT, 2),
            libc::SYS_statx => (&STATX, 4),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_stat | libc::SYS_lstat => (&STAT, 1),
            _ => {
                let (ids, file) = self.processes.target(pid, &call);
                match file {
                    Ok(file) => self.ledger.give(file, id(call.argument(ids)), id(call.argument(ids + 1)))?,
                    Err(Errno::EMFILE | Errno::ENFILE) => anyhow::bail!(
                        "{} files are someone else's, more than a build with a single id can keep in mind; raise `ulimit -Hn`",
                        self.ledger.entries.len()
                    ),
                    // The process is told of it by the call itself.
                    Err(_) => {}
                }
                // To nobody: what is left of the call is all that can be done here.
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

    /// The kernel has answered: the owners in the answer become those that the file was given.
    fn answered(&mut self, pid: Pid) -> Result<()> {
        let Some(question) = self.asked.remove(&pid) else { return Ok(()) };
        if Call::of(pid)?.result() != 0 {
            return Ok(());
        }
        let Question { form, address } = question;
        let Some(answer) = read(pid, address, form.size) else { return Ok(()) };
        if let Some(owner) = (form.inode)(&answer).and_then(|inode| self.ledger.entries.get(&inode)) {
            write(pid, address + form.uid as u64, &owner.uid.to_ne_bytes());
            write(pid, address + form.gid as u64, &owner.gid.to_ne_bytes());
        }
        Ok(())
    }

    /// The files of the install root that are still there.
    fn given(&self) -> Vec<Given> {
        let mut all: Vec<Given> = self
            .ledger
            .entries
            .values()
            .filter(|owner| fstat(&owner.file).is_ok_and(|known| known.st_nlink > 0))
            .filter_map(|owner| {
                let path = self.processes.name(&owner.file).ok()?;
                let inside = Path::new(&path).strip_prefix(BUILD_ROOT).ok()?;
                Some(Given { path: Path::new("/").join(inside).into_os_string(), uid: owner.uid, gid: owner.gid })
            })
            .collect();
        all.sort_by(|a, b| a.path.cmp(&b.path));
        all
    }
}

/// Puts us and the run on one processor: at each stop one of us waits for the other, and to wake a
/// second processor takes ten times as long as to switch (on two virtual ones 74 s of installing
/// became 18 s). Where it is not allowed, it is but slower.
fn together(pid1: Pid) {
    use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
    let mut one = CpuSet::new();
    if sched_getcpu().and_then(|here| one.set(here)).is_ok() {
        let _ = sched_setaffinity(Pid::from_raw(0), &one).and_then(|()| sched_setaffinity(pid1, &one));
    }
}

/// Files that are someone's, and whose.
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
        let known = fstat(&file).context("looking at a file that is given away")?;
        let inode = (known.st_dev, known.st_ino);
        let (old_uid, old_gid) = self.entries.get(&inode).map_or((0, 0), |owner| (owner.uid, owner.gid));
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
