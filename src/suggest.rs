//! Suggestions for misspelled words: the most similar known word.

/// Longer words are not compared. This keeps the comparison fast on any input.
const LONGEST: usize = 40;

/// The known word that was probably meant by a misspelled `word`.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > LONGEST * 4 || word.chars().count() > LONGEST {
        return None;
    }
    let lower = word.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (distance(&lower, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= allowed(candidate.len().max(lower.len())))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn allowed(len: usize) -> usize {
    match len {
        0..=2 => 0,
        3..=4 => 1,
        5..=8 => 2,
        _ => 3,
    }
}

/// The number of insertions, deletions, replacements and swaps of adjacent characters between two
/// short words.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut previous = None;
    for (row, ca) in a.chars().enumerate() {
        let mut now = vec![row + 1];
        for (col, &cb) in b.iter().enumerate() {
            let at =
                |line: &[usize], index: usize| line.get(index).copied().unwrap_or(usize::MAX / 2);
            let mut best = (at(&last, col) + usize::from(ca != cb))
                .min(at(&last, col + 1) + 1)
                .min(at(&now, col) + 1);
            let swapped = col > 0 && previous == Some(cb) && b.get(col - 1) == Some(&ca);
            if swapped {
                best = best.min(at(&before, col - 1) + 1);
            }
            now.push(best);
        }
        before = std::mem::replace(&mut last, now);
        previous = Some(ca);
    }
    last.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_similar_word_gets_a_suggestion() {
        let known = ["install", "remove", "upgrade", "ts", "rm"];
        assert_eq!(nearest("isntall", known), Some("install"));
        assert_eq!(nearest("INSTAL", known), Some("install"));
        assert_eq!(nearest("upgarde", known), Some("upgrade"));
        assert_eq!(nearest("cloud-init", known), None);
        assert_eq!(nearest("xs", known), None);
        assert_eq!(nearest(&"install".repeat(100_000), known), None);
    }

    #[test]
    fn a_swap_of_adjacent_letters_counts_once() {
        assert_eq!(distance("ab", "ba"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
