//! What masks look like.

/// The number of connected hidden areas of a mask `[rows, columns]`; patches are neighbours along
/// rows and columns.
pub fn hidden_components(hidden: &[bool], columns: usize) -> usize {
    let columns = columns.max(1);
    let mut seen = vec![false; hidden.len()];
    let mut components = 0;
    let mut open = Vec::new();
    for start in 0..hidden.len() {
        if !hidden[start] || seen[start] {
            continue;
        }
        components += 1;
        seen[start] = true;
        open.push(start);
        while let Some(at) = open.pop() {
            let column = at % columns;
            let neighbours = [
                at.checked_sub(columns),
                Some(at + columns),
                at.checked_sub(1).filter(|_| column > 0),
                Some(at + 1).filter(|_| column + 1 < columns),
            ];
            for next in neighbours.into_iter().flatten() {
                if hidden.get(next) == Some(&true) && !seen[next] {
                    seen[next] = true;
                    open.push(next);
                }
            }
        }
    }
    components
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(picture: &[&str]) -> usize {
        let hidden: Vec<bool> = picture.concat().chars().map(|patch| patch == '#').collect();
        hidden_components(&hidden, picture[0].len())
    }

    #[test]
    fn areas_are_counted() {
        assert_eq!(count(&["....", "...."]), 0);
        assert_eq!(count(&["####", "####"]), 1);
        // Diagonal neighbours and the ends of consecutive rows do not touch.
        assert_eq!(count(&["#..#", ".##.", "#..#"]), 5);
        assert_eq!(count(&["...#", "#..."]), 2);
        assert_eq!(count(&["###", "#.#", "###"]), 1);
    }
}
