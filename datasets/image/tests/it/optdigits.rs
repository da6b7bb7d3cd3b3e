use menagerie_data::Locator;
use menagerie_data_image::{Split, optdigits};
use std::fs;

fn line(counts: &[usize], label: usize) -> String {
    let mut fields: Vec<String> = (0..64)
        .map(|at| counts[at % counts.len()].to_string())
        .collect();
    fields.push(label.to_string());
    fields.join(",")
}

#[test]
fn lines_are_images_with_or_without_headings() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("digits.csv");
    let lines = [line(&[0, 16, 8], 3), line(&[1], 9)].join("\n");
    for text in [lines.clone(), format!("Block 1,Block 2,Class\n{lines}\n")] {
        fs::write(&path, text).unwrap();
        let set = optdigits::read(&path).unwrap();
        assert_eq!((set.len(), set.image_shape()), (2, [1, 8, 8]));
        assert_eq!(set.labels(), [3, 9]);
        assert_eq!(set.image(0).unwrap()[..4], [0, 255, 128, 0]);
        assert_eq!(set.image(1).unwrap(), [16; 64]);
    }
}

#[test]
fn damaged_lines_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("digits.csv");
    let refusal = |text: &str| {
        fs::write(&path, text).unwrap();
        let error = optdigits::read(&path).unwrap_err().to_string();
        error.rsplit_once("digits.csv: ").unwrap().1.to_string()
    };
    let good = line(&[2], 1);
    let numbers = "line 2: expected 65 numbers between commas";
    assert_eq!(refusal(&format!("{good}\n{}", &good[..100])), numbers);
    assert_eq!(
        refusal(&format!("{good}\n{}", good.replace('2', "x"))),
        numbers
    );
    assert_eq!(
        refusal(&line(&[17], 1)),
        "line 1: expected 64 numbers of at most 16 and a digit, found 17 and 1"
    );
    assert_eq!(
        refusal(&line(&[5], 10)),
        "line 1: expected 64 numbers of at most 16 and a digit, found 5 and 10"
    );
    assert_eq!(refusal("Block 1\n"), "holds no image");
}

#[test]
fn the_real_digits_are_as_published() {
    let locator = Locator::from_env();
    let set = menagerie_data::dataset("optdigits").unwrap();
    if locator.data_dir.is_none() || locator.locate(set).is_none() {
        return;
    }
    let train = optdigits(Split::Train).unwrap();
    let test = optdigits(Split::Test).unwrap();
    assert_eq!((train.len(), test.len()), (3_823, 1_797));
    let count = |class| {
        train
            .labels()
            .iter()
            .filter(|label| **label == class)
            .count()
    };
    assert_eq!([0, 1, 9].map(count), [376, 389, 382]);
}
