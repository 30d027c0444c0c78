//! What somebody may have meant.

/// A hint that names the nearest of `known`, or else all of them.
pub(super) fn hint<'k>(typed: &str, known: impl Iterator<Item = &'k str>) -> String {
    let mut known: Vec<&str> = known.collect();
    known.sort_unstable();
    match nearest(typed, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "none is defined".to_owned(),
        None => format!("known are: {}", known.join(", ")),
    }
}

/// The nearest of `known`, if it is near enough to be a slip.
pub(super) fn nearest<'k>(typed: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    // A longer text than any key is no slip; and the distance is quadratic.
    if typed.len() > 64 {
        return None;
    }
    let typed: Vec<char> = typed.to_lowercase().replace('-', "_").chars().collect();
    known
        .map(|known| (distance(&typed, known), known))
        .filter(|&(distance, known)| distance <= 1 + known.chars().count() / 4)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, known)| known)
}

/// How many insertions, deletions, replacements and swaps of neighbours lead from one to the
/// other.
fn distance(typed: &[char], known: &str) -> usize {
    let known: Vec<char> = known.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=known.len()).collect();
    for (i, &a) in typed.iter().enumerate() {
        let mut next = Vec::with_capacity(known.len() + 1);
        next.push(i + 1);
        for (j, &b) in known.iter().enumerate() {
            let mut best = (row[j] + usize::from(a != b))
                .min(row[j + 1] + 1)
                .min(next[j] + 1);
            if i > 0 && j > 0 && a == known[j - 1] && typed[i - 1] == b {
                best = best.min(before[j - 1] + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_what_was_meant_and_nonsense_finds_nothing() {
        let known = ["address", "name", "names", "early_data", "tls"];
        assert_eq!(nearest("adress", known.into_iter()), Some("address"));
        assert_eq!(nearest("naem", known.into_iter()), Some("name"));
        assert_eq!(nearest("Early-Data", known.into_iter()), Some("early_data"));
        assert_eq!(nearest("colour", known.into_iter()), None);
        assert!(hint("x", known.into_iter()).starts_with("known are: address, "));
    }
}
