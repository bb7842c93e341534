//! A system call in the registers of a process that stands still at it.

use nix::libc;
use nix::sys::ptrace;
use nix::unistd::Pid;

/// A system call's number and arguments at its beginning, or its result at its end.
pub(super) struct Call(libc::user_regs_struct);

impl Call {
    /// Of a process that stands at one.
    pub(super) fn of(pid: Pid) -> nix::Result<Self> {
        ptrace::getregs(pid).map(Self)
    }

    /// Has the process make this call instead of its own.
    pub(super) fn put(&self, pid: Pid) -> nix::Result<()> {
        ptrace::setregs(pid, self.0)
    }
}

#[cfg(target_arch = "x86_64")]
impl Call {
    pub(super) fn number(&self) -> i64 {
        // The x32 ABI's numbers have a bit more; these calls' structures are the same.
        self.0.orig_rax.cast_signed() & !0x4000_0000
    }

    pub(super) fn argument(&self, index: usize) -> u64 {
        [self.0.rdi, self.0.rsi, self.0.rdx, self.0.r10, self.0.r8].get(index).copied().unwrap_or(0)
    }

    pub(super) fn set_argument(&mut self, index: usize, value: u64) {
        match index {
            1 => self.0.rsi = value,
            2 => self.0.rdx = value,
            3 => self.0.r10 = value,
            _ => {}
        }
    }

    pub(super) fn result(&self) -> i64 {
        self.0.rax.cast_signed()
    }
}

#[cfg(target_arch = "aarch64")]
impl Call {
    pub(super) fn number(&self) -> i64 {
        self.0.regs[8].cast_signed()
    }

    pub(super) fn argument(&self, index: usize) -> u64 {
        self.0.regs.get(index).copied().unwrap_or(0)
    }

    pub(super) fn set_argument(&mut self, index: usize, value: u64) {
        if let Some(register) = self.0.regs.get_mut(index) {
            *register = value;
        }
    }

    pub(super) fn result(&self) -> i64 {
        self.0.regs[0].cast_signed()
    }
}
