//! Hostile packages and servers with dnf 5: it must be as bounded as dnf 4.

use crate::machines::Machine;
use crate::stage::Stage;
use crate::support::breakout;

#[test]
fn with_dnf_5_a_scriptlet_that_left_the_chroot_changes_nothing_of_the_shared_cache() {
    if !Machine::Dnf5.is_there() {
        return;
    }
    let stage = Stage::new(|repo| repo.package(breakout::package()));
    Machine::Dnf5.build(&stage, "install shell\nts run\n").succeeds();
    let shared = [stage.cache(), stage.repo()].map(|folder| (breakout::snapshot(&folder), folder));
    Machine::Dnf5.build(&stage, "install breakout\nts run\n").succeeds();
    breakout::judge(&stage.content(breakout::REPORT));
    shared.iter().for_each(|(before, folder)| breakout::unchanged(before, folder));
}
