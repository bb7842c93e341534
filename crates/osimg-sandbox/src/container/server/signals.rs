//! The signals that processes of a run may send.

use nix::errno::Errno;
use nix::unistd::Pid;

use crate::descendants::{descendants, thread_group};
use crate::notify::Answer;

/// Signals go to processes of the run only.
pub(super) fn signal(thread: Pid, to: i32) -> Answer {
    let run = descendants();
    // A group is the run's if the process that leads it is.
    let is_group = |number: i32| run.iter().any(|process| process.pid == number);
    let is_process = |number: i32| run.iter().any(|process| process.has_thread(number));
    let allowed = match to {
        // Its own group; that of a command at the user's terminal has other processes too.
        0 => {
            let own = thread_group(thread)
                .and_then(|own| run.iter().find(|process| process.pid == own.as_raw()));
            own.is_some_and(|own| is_group(own.group))
        }
        // All processes that it may signal: that would be all of the container.
        -1 => return Answer::Error(Errno::EPERM),
        1.. => is_process(to),
        _ => to.checked_neg().is_some_and(is_group),
    };
    if allowed { Answer::Continue } else { Answer::Error(Errno::ESRCH) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_reach_no_process_outside_of_the_run() {
        let thread = nix::unistd::gettid();
        assert!(matches!(signal(thread, 1), Answer::Error(Errno::ESRCH)));
        assert!(matches!(signal(thread, -1), Answer::Error(Errno::EPERM)));
        assert!(matches!(signal(thread, i32::MIN), Answer::Error(Errno::ESRCH)));
        assert!(matches!(
            signal(thread, std::process::id().cast_signed()),
            Answer::Error(Errno::ESRCH)
        ));
        #[expect(clippy::disallowed_methods, reason = "a test starts a process")]
        let mut child = std::process::Command::new("sleep").arg("100").spawn().expect("sleep");
        let allowed = signal(thread, child.id().cast_signed());
        child.kill().expect("killed");
        child.wait().expect("waited for");
        assert!(matches!(allowed, Answer::Continue));
    }
}
