//! Which name was probably meant.

/// Longer names are not compared.
const COMPARED_MAX: usize = 64;

/// The known name that is closest to `name`, if one is close: a third of its letters may differ.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > COMPARED_MAX {
        return None;
    }
    let known = known.into_iter().filter(|known| known.len() <= COMPARED_MAX);
    let (distance, nearest) = known.map(|known| (distance(name, known), known)).min()?;
    (distance <= 1.max(name.len().max(nearest.len()) / 3)).then_some(nearest)
}

/// `; did you mean "..."?`, or nothing.
pub(super) fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, known).map(|known| format!("; did you mean \"{known}\"?")).unwrap_or_default()
}

/// Letters to insert, delete, replace, or swap with their neighbours (optimal string alignment).
fn distance(left: &str, right: &str) -> usize {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    let mut before = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (row, own) in left.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, other) in right.iter().enumerate() {
            let replaced = above[column] + usize::from(own != other);
            let mut best = replaced.min(above[column + 1] + 1).min(current[column] + 1);
            if row > 0 && column > 0 && own == &right[column - 1] && &left[row - 1] == other {
                let swapped: &Vec<usize> = &before;
                best = best.min(swapped[column - 1] + 1);
            }
            current.push(best);
        }
        before = std::mem::replace(&mut above, current);
    }
    above[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_when_it_is_near() {
        for (name, expected) in [
            ("polcy", Some("policy")),
            ("Target", Some("target")),
            ("tragte", Some("target")),
            ("targetts", Some("target")),
            ("something", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, ["policy", "target", "health"]), expected, "{name}");
        }
        assert_eq!(nearest(&"a".repeat(65), ["a"]), None);
        assert_eq!(nearest("a", []), None);
    }
}
