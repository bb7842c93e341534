//! The one entry point by which a program that uses this library is started again as a stage of a
//! sandbox.

use std::process::ExitCode;

use super::isolation::Isolation;
use super::plan::Network;
use super::status::{
    CONTAINED, MAP_IDS, NAMESPACES, PID1, PROBE, PROBE_CONTAINER, PROBE_MOUNTS, STAGE,
};
use crate::error::{Context, Result, invalid};

/// Runs a stage of a sandbox if this process was started for that, and returns its exit status;
/// else returns `None` at once. Must be the first call of `main`.
#[must_use]
pub fn enter_if_asked() -> Option<ExitCode> {
    let words: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let (stage, words) = words.split_first()?;
    if stage != STAGE {
        return None;
    }
    Some(match run(words) {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Err(error) => {
            eprintln!("{}", error.describe().chars().flat_map(plain).collect::<String>());
            ExitCode::FAILURE
        }
    })
}

/// A path in a message may hold control characters.
fn plain(c: char) -> Vec<char> {
    if c.is_control() { c.escape_default().collect() } else { vec![c] }
}

fn run(words: &[String]) -> Result<i32> {
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [NAMESPACES, network, isolation, parent] => {
            let network = if *network == "host" { Network::Host } else { Network::None };
            let isolation = super::isolation::parse(isolation)?;
            let parent = parent.parse().context("reading the parent's process id")?;
            match isolation {
                Isolation::Container => super::container::main(parent),
                Isolation::Full | Isolation::UserNamespace => {
                    super::namespaces::main(network, isolation, parent)
                }
            }
        }
        [PID1, isolation] => super::pid1::main(super::isolation::parse(isolation)?),
        [CONTAINED] => super::container::contained_main(),
        [PROBE_CONTAINER] => super::isolation::probe_container_main(),
        [PROBE] => super::isolation::probe_main(),
        [PROBE_MOUNTS] => super::isolation::probe_mounts_main(),
        [MAP_IDS, pid, uids, gids] => super::user_namespace::map_ids_main(pid, uids, gids),
        _ => Err(invalid("starting a stage of the sandbox: unknown arguments")),
    }
}
