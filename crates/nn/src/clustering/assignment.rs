//! The cheapest one-to-one assignment.

use menagerie_core::{Error, Result};

/// For each row of `costs`, `[size, size]` row by row, a column of its own, such that the costs add
/// up to the least possible sum (Kuhn 1955; shortest augmenting paths, O(size³)).
///
/// # Errors
/// [`Error::Input`] if the costs are not square.
pub fn assignment(costs: &[i64], size: usize) -> Result<Vec<usize>> {
    if size.checked_mul(size) != Some(costs.len()) {
        let rule = format!("must be {size} x {size}");
        return Err(Error::input("the number of costs", costs.len(), rule));
    }
    // Rows and columns count from 1; 0 stands for none.
    let (mut rows, mut columns) = (vec![0_i64; size + 1], vec![0_i64; size + 1]);
    let mut owner = vec![0_usize; size + 1];
    for row in 1..=size {
        let mut before = vec![0_usize; size + 1];
        let mut slack = vec![i64::MAX; size + 1];
        let mut seen = vec![false; size + 1];
        owner[0] = row;
        let mut at = 0;
        while owner[at] != 0 {
            seen[at] = true;
            let mut next = 0;
            let mut least = i64::MAX;
            for column in 1..=size {
                if seen[column] {
                    continue;
                }
                let cost = costs[(owner[at] - 1) * size + column - 1];
                let reduced = cost - rows[owner[at]] - columns[column];
                if reduced < slack[column] {
                    slack[column] = reduced;
                    before[column] = at;
                }
                if slack[column] < least {
                    least = slack[column];
                    next = column;
                }
            }
            for column in 0..=size {
                if seen[column] {
                    rows[owner[column]] += least;
                    columns[column] -= least;
                } else {
                    slack[column] = slack[column].saturating_sub(least);
                }
            }
            at = next;
        }
        while at != 0 {
            owner[at] = owner[before[at]];
            at = before[at];
        }
    }
    let mut chosen = vec![0; size];
    for column in 1..=size {
        chosen[owner[column] - 1] = column - 1;
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The least sum over all permutations.
    fn least(costs: &[i64], size: usize, row: usize, used: &mut [bool]) -> i64 {
        if row == size {
            return 0;
        }
        let mut best = i64::MAX;
        for column in 0..size {
            if !used[column] {
                used[column] = true;
                let rest = least(costs, size, row + 1, used);
                best = best.min(costs[row * size + column] + rest);
                used[column] = false;
            }
        }
        best
    }

    #[test]
    fn no_permutation_is_cheaper() {
        for size in 1..7_usize {
            for shift in 0..20_u64 {
                let costs: Vec<i64> = (0..(size * size) as u64)
                    .map(|at| ((at + shift * 31).wrapping_mul(2_654_435_761) >> 7) as i64 % 19 - 9)
                    .collect();
                let chosen = assignment(&costs, size).unwrap();
                let mut sorted = chosen.clone();
                sorted.sort_unstable();
                assert_eq!(sorted, (0..size).collect::<Vec<_>>());
                let sum: i64 = (0..size).map(|row| costs[row * size + chosen[row]]).sum();
                assert_eq!(sum, least(&costs, size, 0, &mut vec![false; size]));
            }
        }
        assert!(assignment(&[], 0).unwrap().is_empty());
        let error = assignment(&[1, 2, 3], 2).unwrap_err();
        assert_eq!(error.to_string(), "the number of costs is 3: must be 2 x 2");
    }
}
