//! Which ids are free, by the rules of shadow-utils.

use super::database::Database;

/// The next id: the wanted one if it is free, else the one above the highest in the range, else the
/// lowest that is free.
pub(super) fn next(file: &Database, (first, last): (u32, u32), wanted: Option<u32>) -> Option<u32> {
    let used = used(file);
    let free = |id: &u32| !used.contains(id);
    if let Some(id) = wanted.filter(|id| (first..=last).contains(id)).filter(free) {
        return Some(id);
    }
    let highest = used.iter().copied().filter(|id| (first..=last).contains(id)).max();
    let above = highest.map_or(first, |id| id.saturating_add(1));
    (above <= last).then_some(above).or_else(|| (first..=last).find(free))
}

fn used(file: &Database) -> std::collections::BTreeSet<u32> {
    file.rows().filter_map(|fields| fields.get(2)?.parse().ok()).collect()
}

/// The lowest start of so many subordinate ids that nobody has.
pub(super) fn free_range(file: &Database, first: u32, last: u32, count: u32) -> Option<u32> {
    if !file.exists() || count == 0 {
        return None;
    }
    let mut taken: Vec<(u64, u64)> = file
        .rows()
        .filter_map(|fields| Some((fields.get(1)?.parse().ok()?, fields.get(2)?.parse().ok()?)))
        .map(|(start, count): (u64, u64)| (start, start.saturating_add(count)))
        .collect();
    taken.sort_unstable();
    let mut start = u64::from(first);
    for (from, to) in taken {
        if start + u64::from(count) <= from {
            break;
        }
        start = start.max(to);
    }
    (start + u64::from(count) <= u64::from(last) + 1).then(|| u32::try_from(start).ok()).flatten()
}
