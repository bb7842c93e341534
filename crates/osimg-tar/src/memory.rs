//! The memory that packing may use: as many jobs are started as fit, by an estimate from each
//! compressor's known needs.

use super::compress::block_size;
use super::format::Format;
use super::pool::{Lane, lane_limit};
use crate::error::{Reason, Result};
use std::num::NonZeroUsize;

const MIB: u64 = 1 << 20;
/// Code, stacks, the walk's lists, the labels' rules.
const BASE: u64 = 48 * MIB;
/// The default where the system does not tell how much it has.
const UNKNOWN: u64 = 2 << 30;
/// What an xz encoder takes at levels 0 to 9 (`xz -vv`), with the dictionaries and searches that
/// they get here.
const XZ: [u64; 10] = [3, 9, 17, 32, 188, 188, 280, 280, 280, 280];

/// The memory that packing may use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// Bytes that it may use: fewer jobs are started if not all of them fit. Without it, a quarter
    /// of the machine's memory.
    pub limit: Option<u64>,
    /// Bytes that the control group of this process has, if it has a limit.
    pub group: Option<u64>,
}

/// The number of jobs, `wanted` or fewer, that fit into the memory by estimate.
///
/// # Errors
/// Fails when a limit is given and not even one job fits.
pub(super) fn jobs(lanes: &[Lane], wanted: NonZeroUsize, memory: Memory) -> Result<NonZeroUsize> {
    let room =
        memory.limit.unwrap_or_else(|| installed(memory.group).map_or(UNKNOWN, |bytes| bytes / 4));
    let most = (1..=wanted.get())
        .rev()
        .find(|jobs| estimate(lanes, *jobs) <= room)
        .and_then(NonZeroUsize::new);
    let needed = estimate(lanes, 1);
    match (most, memory) {
        (Some(jobs), _) => Ok(jobs),
        (None, Memory { limit: Some(allowed), .. }) => {
            Err(Reason::Memory { needed, allowed }.into())
        }
        // The kernel would kill the process, and all work would be lost.
        (None, Memory { group: Some(allowed), .. }) if allowed < needed => {
            Err(Reason::GroupMemory { needed, allowed }.into())
        }
        (None, _) => Ok(NonZeroUsize::MIN),
    }
}

/// Bytes that packing takes at most with so many jobs.
fn estimate(lanes: &[Lane], jobs: usize) -> u64 {
    let jobs_wide = jobs as u64;
    lanes.iter().fold(BASE, |sum, lane| {
        let block = block_size(lane.format, lane.level) as u64;
        // A packed block is as large as its plain one at the worst, and a little.
        let packed = if lane.format == Format::Tar { 0 } else { block + block / 64 + (64 << 10) };
        let limit = lane_limit(lane.format, jobs) as u64;
        // One block more is being filled.
        let under_way = (limit + 1) * block + limit * packed;
        let encoder = match lane.format {
            Format::Tar => 0,
            Format::Tgz if lane.level >= 10 => 20 * MIB,
            Format::Tgz => 3 * MIB,
            Format::Tbz => osimg_bzip2::memory(lane.level),
            // The stream that a block is taken out of beside the encoder itself.
            Format::Txz => XZ.get(lane.level as usize).copied().unwrap_or(280) * MIB + packed + MIB,
        };
        sum + under_way + jobs_wide * encoder
    })
}

/// The memory of the machine, or of the control group if that has less.
fn installed(group: Option<u64>) -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kib = meminfo.lines().find_map(|line| {
        line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    })?;
    Some((kib * 1024).min(group.unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(format: Format, level: u32) -> Lane {
        Lane { format, level }
    }

    fn count(lanes: &[Lane], wanted: usize, limit: u64) -> Option<usize> {
        jobs(lanes, NonZeroUsize::new(wanted).unwrap(), Memory { limit: Some(limit), group: None })
            .ok()
            .map(NonZeroUsize::get)
    }

    #[test]
    fn jobs_are_as_many_as_fit() {
        let xz = [lane(Format::Txz, 6)];
        assert_eq!(count(&xz, 64, 64 << 30), Some(64));
        let few = count(&xz, 64, 2 << 30).unwrap();
        assert!((4..8).contains(&few), "{few}");
        assert!(estimate(&xz, few) <= 2 << 30 && estimate(&xz, few + 1) > 2 << 30);
        assert_eq!(count(&xz, 64, 100 << 20), None);
        assert_eq!(count(&[lane(Format::Tgz, 5)], 8, 256 << 20), Some(8));
        assert_eq!(count(&[lane(Format::Tar, 0)], 2, 64 << 20), Some(2));
    }

    #[test]
    fn a_limit_that_is_too_small_is_reported_with_one_that_is_enough() {
        let memory = Memory { limit: Some(1 << 20), group: None };
        let error = jobs(&[lane(Format::Txz, 9)], NonZeroUsize::MIN, memory).unwrap_err();
        let Reason::Memory { needed, allowed: 1_048_576 } = error.reason() else {
            panic!("{error}")
        };
        assert_eq!(count(&[lane(Format::Txz, 9)], 1, *needed), Some(1));
        assert_eq!(count(&[lane(Format::Txz, 9)], 1, *needed - 1), None);
    }

    #[test]
    fn a_control_group_that_is_too_small_is_reported() {
        let one = |group| {
            jobs(
                &[lane(Format::Txz, 9)],
                NonZeroUsize::MIN,
                Memory { limit: None, group: Some(group) },
            )
        };
        let needed = estimate(&[lane(Format::Txz, 9)], 1);
        assert!(one(needed).is_ok());
        let error = one(100 * MIB).unwrap_err().to_string();
        assert!(error.contains("this control group has 100 MiB"), "{error}");
    }

    #[test]
    fn the_machine_has_memory() {
        assert!(installed(None).unwrap() > 64 * MIB);
        assert_eq!(installed(Some(5)), Some(5));
    }
}
