//! How much memory packing may take: as many jobs are started as fit by an estimate made of each
//! compressor's known needs.

use super::compress::block_size;
use super::format::Format;
use super::pool::{Lane, lane_limit};
use crate::error::{ExitCode, Failure, Result};
use crate::process;
use std::num::NonZeroUsize;

const MIB: u64 = 1 << 20;
/// Code, stacks, the walk's lists, the labels' rules.
const BASE: u64 = 48 * MIB;
/// The default where the system does not tell how much it has.
const UNKNOWN: u64 = 2 << 30;
/// What an xz encoder takes at levels 0 to 9 (`xz -vv`), with the dictionaries and searches that
/// they get here.
const XZ: [u64; 10] = [3, 9, 17, 32, 188, 188, 280, 280, 280, 280];

/// The number of jobs, `wanted` or fewer, whose estimate fits into `limit` bytes; without a limit
/// into a quarter of the machine's memory.
///
/// # Errors
/// Fails when a limit is given that not even one job fits into.
pub(super) fn jobs(lanes: &[Lane], wanted: NonZeroUsize, limit: Option<u64>) -> Result<NonZeroUsize> {
    let room = limit.unwrap_or_else(|| installed().map_or(UNKNOWN, |bytes| bytes / 4));
    let most = (1..=wanted.get()).rev().find(|jobs| estimate(lanes, *jobs) <= room).and_then(NonZeroUsize::new);
    match (most, limit) {
        (Some(jobs), _) => Ok(jobs),
        (None, None) => fits(estimate(lanes, 1), process::memory_limit()).map(|()| NonZeroUsize::MIN),
        (None, Some(limit)) => {
            let least = estimate(lanes, 1).div_ceil(MIB);
            Err(Failure::new(ExitCode::Usage, format!("packing in {} MiB of memory: one job takes {least} MiB", limit / MIB))
                .hint(format!("give it --memory {least}M or more, or choose a format or a level that takes less"))
                .into())
        }
    }
}

/// A control group that one job does not fit into kills it, and with it all that was done: better
/// told.
fn fits(least: u64, group: Option<u64>) -> Result<()> {
    match group {
        Some(group) if group < least => {
            let message = format!("packing takes {} MiB of memory, and this control group has {} MiB", least.div_ceil(MIB), group / MIB);
            Err(Failure::new(ExitCode::Host, message).hint("allow it more, or choose tgz or a lower --level").into())
        }
        _ => Ok(()),
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

/// The memory of the machine, or of the control group when that has less.
fn installed() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kib = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())?;
    Some((kib * 1024).min(process::memory_limit().unwrap_or(u64::MAX)))
}

/// Reads a size such as `512M` or `2G`: a whole number of bytes, or of KiB, MiB, GiB or TiB with a
/// letter.
///
/// # Errors
/// Fails for anything else.
pub fn parse_size(text: &str) -> Result<u64> {
    let wrong = || {
        Failure::new(ExitCode::Usage, format!("reading the size `{text}`: it is not a whole number with K, M, G or T"))
            .hint("write it as 512M or 2G")
    };
    let upper = text.to_ascii_uppercase();
    let trimmed = upper.strip_suffix("IB").unwrap_or(&upper);
    let (digits, unit) = match trimmed.char_indices().next_back() {
        Some((at, letter @ ('K' | 'M' | 'G' | 'T'))) => (trimmed.get(..at).unwrap_or_default(), letter),
        _ => (text, 'B'),
    };
    let shift = match unit {
        'K' => 10,
        'M' => 20,
        'G' => 30,
        'T' => 40,
        _ => 0,
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong().into());
    }
    digits.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift)).ok_or_else(|| wrong().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(format: Format, level: u32) -> Lane {
        Lane { format, level }
    }

    fn count(lanes: &[Lane], wanted: usize, limit: u64) -> Option<usize> {
        jobs(lanes, NonZeroUsize::new(wanted).unwrap(), Some(limit)).ok().map(NonZeroUsize::get)
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
    fn a_limit_that_nothing_fits_into_is_told_with_one_that_does() {
        let error = jobs(&[lane(Format::Txz, 9)], NonZeroUsize::MIN, Some(1 << 20)).unwrap_err();
        let told = crate::error::render(&error);
        let least = told.split("--memory ").nth(1).unwrap().split(' ').next().unwrap();
        assert_eq!(count(&[lane(Format::Txz, 9)], 1, parse_size(least).unwrap()), Some(1), "{told}");
    }

    #[test]
    fn sizes_are_whole_numbers_with_a_unit() {
        for (text, size) in [("0", 0), ("1024", 1024), ("4k", 4096), ("512M", 512 << 20), ("2GiB", 2 << 30), ("1T", 1 << 40)] {
            assert_eq!(parse_size(text).unwrap(), size, "{text}");
        }
        for text in ["", "M", "-1", "+1", "1.5G", "2 G", "12X", "99999999999T", "\u{b5}M"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_control_group_that_nothing_fits_into_is_told() {
        assert!(fits(300 * MIB, None).is_ok() && fits(300 * MIB, Some(300 * MIB)).is_ok());
        let told = crate::error::render(&fits(300 * MIB, Some(256 * MIB)).unwrap_err());
        assert!(told.contains("takes 300 MiB") && told.contains("has 256 MiB") && told.contains("hint: "), "{told}");
    }

    #[test]
    fn the_machine_tells_its_memory() {
        assert!(installed().unwrap() > 64 * MIB);
    }
}
