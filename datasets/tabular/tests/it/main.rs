//! Files in the formats of the loaders, and what is refused of them.
#![allow(clippy::unwrap_used)]

use menagerie_core::{Result, Seed};
use menagerie_data_tabular::advertising::{Counts, avazu, criteo};
use menagerie_data_tabular::{Encoder, EncoderConfig, Kind, Table, census, libfm, movielens};
use std::path::PathBuf;
use tempfile::TempDir;

/// A folder with one file.
fn file(name: &str, text: &str) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    (dir, path)
}

/// What is wrong, without the file's name.
fn problem<T>(result: Result<T>) -> String {
    let text = match result {
        Ok(_) => panic!("nothing was refused"),
        Err(error) => error.to_string(),
    };
    text.split_once(": ").unwrap().1.to_owned()
}

#[test]
fn libfm_lines_are_rows() {
    let text = "-1 451:1 4149:1 4151:1\n1 2:1 4149:1 4153:1.0 \r\n0 451:1 5:1 4151:1";
    let (_dir, path) = file("train.libfm", text);
    let table = libfm::read(&path, &libfm::MOVIELENS_TAG).unwrap();
    assert_eq!(table.labels(), [false, true, false]);
    assert_eq!(table.text(1, "tag_id").unwrap(), "4153");
    let encoder = Encoder::fit(&table, &EncoderConfig::default()).unwrap();
    assert_eq!(
        encoder.encode(&table).unwrap().ids,
        [1, 1, 1, 2, 1, 2, 1, 2, 1]
    );
}

#[test]
fn libfm_lines_that_are_none_are_named() {
    let cases = [
        ("1 1:1 2:1 3:1\n\n", "line 2: is empty"),
        ("1 1:1 2:1 3:1\n1 1:1 2:1\n", "line 2: has 2 pairs, not 3"),
        ("1 1:1 2:1 3:1 4:1", "line 1: has 4 pairs, not 3"),
        ("0.5 1:1 2:1 3:1", "line 1: the label is `0.5`, not 0 or 1"),
        ("yes 1:1 2:1 3:1", "line 1: the label is `yes`, not 0 or 1"),
        (
            "1 1:1 2 3:1",
            "line 1: `2` is not an index and 1, as in 451:1",
        ),
        (
            "1 1:1 2:0.3 3:1",
            "line 1: `2:0.3` is not an index and 1, as in 451:1",
        ),
        (
            "1 1:1 -2:1 3:1",
            "line 1: `-2:1` is not an index and 1, as in 451:1",
        ),
        ("", "is empty"),
    ];
    for (text, expected) in cases {
        let (_dir, path) = file("train.libfm", text);
        assert_eq!(problem(libfm::read(&path, &libfm::MOVIELENS_TAG)), expected);
    }
    let (_dir, path) = file("train.libfm", "1 1:1\n");
    std::fs::write(&path, b"1 1:1\n1 \xff:1\n").unwrap();
    assert_eq!(problem(libfm::read(&path, &["a"])), "line 2: is no UTF-8");
}

#[test]
fn parts_are_found_by_either_name_and_missing_ones_explained() {
    for names in [
        [
            "frappe.train.libfm",
            "frappe.validation.libfm",
            "frappe.test.libfm",
        ],
        ["train.libsvm", "valid.libsvm", "test.libsvm"],
    ] {
        let dir = tempfile::tempdir().unwrap();
        for (at, name) in names.iter().enumerate() {
            std::fs::write(dir.path().join(name), format!("1 {at}:1\n").repeat(at + 1)).unwrap();
        }
        let splits = libfm::splits(dir.path(), "frappe", &["user"]).unwrap();
        let sizes = [splits.train, splits.valid, splits.test].map(|table| table.len());
        assert_eq!(sizes, [1, 2, 3]);
        std::fs::remove_file(dir.path().join(names[1])).unwrap();
        let error = libfm::splits(dir.path(), "frappe", &["user"])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("data set `frappe` is incomplete: its terms do not let"),
            "{error}"
        );
        assert!(error.contains("frappe.validation.libfm"), "{error}");
    }
}

fn criteo_line(label: &str, first: &str, separator: &str) -> String {
    let mut cells = vec![label.to_owned(), first.to_owned()];
    cells.extend((2..=13).map(|at| at.to_string()));
    cells.extend((1..=26).map(|at| format!("{at:08x}")));
    cells.join(separator)
}

#[test]
fn criteo_is_read_with_and_without_a_heading() {
    let raw = [criteo_line("0", "", "\t"), criteo_line("1", "100", "\t")].join("\n");
    let (_dir, path) = file("train.txt", &raw);
    let table = criteo(&path, Counts::Buckets, None).unwrap();
    assert_eq!((table.len(), table.fields().len()), (2, 39));
    let texts = |row, field| table.text(row, field).unwrap();
    assert_eq!([texts(0, "I1"), texts(1, "I1")], ["", "21"]);
    assert_eq!([texts(1, "I2"), texts(1, "C26")], ["2", "0000001a"]);

    let heading = (1..=13)
        .map(|at| format!("I{at}"))
        .chain((1..=26).map(|at| format!("C{at}")));
    let heading = format!("label,{}", heading.collect::<Vec<_>>().join(","));
    let rows = [criteo_line("0", "", ","), criteo_line("1", "100", ",")].join("\n");
    let (_dir, path) = file("train.csv", &format!("{heading}\n{rows}\n"));
    assert_eq!(criteo(&path, Counts::Buckets, None).unwrap(), table);
    let numbers = criteo(&path, Counts::Numbers, Some(1)).unwrap();
    assert_eq!(numbers.len(), 1);
    assert_eq!(numbers.fields()[0].kind, Kind::Number);
    assert_eq!(numbers.text(0, "I1").unwrap(), "0");
}

#[test]
fn criteo_lines_that_are_none_are_named() {
    let refused = |text: &str| {
        let (_dir, path) = file("train.txt", text);
        problem(criteo(&path, Counts::Buckets, None))
    };
    let good = criteo_line("1", "3", "\t");
    assert_eq!(
        refused(&format!("{good}\n0\t1\n")),
        "line 2: has 2 cells, not 40"
    );
    assert_eq!(
        refused(&criteo_line("-1", "3", "\t")),
        "line 1: the label is `-1`, not 0 or 1"
    );
    assert_eq!(
        refused(&format!("{good}\n{}", criteo_line("1", "nan", "\t"))),
        "line 2: `nan` is no finite number"
    );
    assert!(refused("label,I2,I1\n").starts_with("line 1: the heading is not label,I1,I2,"));
    assert_eq!(refused(""), "is empty");
}

const AVAZU: &str = "id,click,hour,C1,banner_pos,site_id,site_domain,site_category,app_id,app_domain,\
app_category,device_id,device_ip,device_model,device_type,device_conn_type,C14,C15,C16,C17,C18,C19,C20,C21";

fn avazu_line(click: &str, hour: &str) -> String {
    let rest: Vec<String> = (0..21).map(|at| format!("v{at}")).collect();
    format!("9001,{click},{hour},{}", rest.join(","))
}

#[test]
fn avazu_hours_become_three_fields() {
    let rows = [avazu_line("0", "14102100"), avazu_line("1", "14102613")].join("\n");
    let (_dir, path) = file("train.csv", &format!("{AVAZU}\n{rows}"));
    let table = avazu(&path, None).unwrap();
    assert_eq!((table.len(), table.fields().len()), (2, 24));
    let texts = ["hour", "weekday", "weekend", "C21"].map(|field| table.text(1, field).unwrap());
    assert_eq!(texts, ["13", "6", "1", "v20"]);
    assert_eq!(avazu(&path, Some(1)).unwrap().labels(), [false]);
}

#[test]
fn avazu_lines_that_are_none_are_named() {
    let refused = |text: String| {
        let (_dir, path) = file("train.csv", &text);
        problem(avazu(&path, None))
    };
    assert_eq!(
        refused(format!("{AVAZU}\n{}", avazu_line("2", "14102100"))),
        "line 2: the label is `2`, not 0 or 1"
    );
    assert_eq!(
        refused(format!("{AVAZU}\n{}", avazu_line("1", "tonight"))),
        "line 2: the hour is `tonight`, not YYMMDDHH"
    );
    assert_eq!(
        refused(format!("{AVAZU}\n1,2,3")),
        "line 2: has 3 cells where the heading has 24"
    );
    assert_eq!(
        refused("id,hour\n1,14102100".into()),
        "line 1: has no column `click`; there are: id, hour"
    );
}

#[test]
fn ratings_come_with_films_that_were_not_rated() {
    let dir = tempfile::tempdir().unwrap();
    let movies = "movieId,title,genres\r\n1,\"A, The\",Comedy|Drama\r\n5,B,(no genres listed)\r\n9,C,Drama\r\n";
    let ratings =
        "userId,movieId,rating,timestamp\r\n7,1,4.0,964982703\r\n7,5,0.5,0\r\n8,9,5.0,0\r\n";
    std::fs::write(dir.path().join("movies.csv"), movies).unwrap();
    std::fs::write(dir.path().join("ratings.csv"), ratings).unwrap();
    let films = movielens::MovieLens::read(dir.path()).unwrap();
    assert_eq!(films.ratings()[0].stars, 4.0);
    let table = films.impressions(2, Seed(0)).unwrap();
    assert_eq!(table.len(), 9);
    assert_eq!(table.labels().iter().filter(|label| **label).count(), 3);
    let row = |at| ["user", "item", "genres", "weekday"].map(|f| table.text(at, f).unwrap());
    assert_eq!(row(0), ["7", "1", "Comedy|Drama", "6"]);
    assert_eq!(row(3), ["7", "5", "", "3"]);
    for at in 0..9 {
        if !table.labels()[at] {
            let [user, item, ..] = row(at);
            let unrated: &[&str] = if user == "7" { &["9"] } else { &["1", "5"] };
            assert!(unrated.contains(&item.as_str()), "{user} {item}");
        }
    }
    std::fs::write(
        dir.path().join("ratings.csv"),
        format!("{ratings}8,2,1,1\n"),
    )
    .unwrap();
    assert_eq!(
        problem(movielens::MovieLens::read(dir.path())),
        "line 5: film 2 is not in movies.csv"
    );
    std::fs::write(
        dir.path().join("ratings.csv"),
        format!("{ratings}x,1,1,1\n"),
    )
    .unwrap();
    assert_eq!(
        problem(movielens::MovieLens::read(dir.path())),
        "line 5: `x` is no number of this column"
    );
}

#[test]
fn the_census_is_read_and_broken_lines_named() {
    let line = "39, State-gov, 77516, Bachelors, 13, Never-married, ?, Not-in-family, White, Male, 2174, 0, 40, Cuba, ";
    let text = format!("|1x3 Cross validator\n{line}<=50K.\n{line}>50K\n\n");
    let (_dir, path) = file("adult.test", &text);
    let table: Table = census::read(&path).unwrap();
    assert_eq!(table.labels(), [false, true]);
    let texts = ["age", "occupation", "native-country"].map(|f| table.text(0, f).unwrap());
    assert_eq!(texts, ["39", "", "Cuba"]);
    let refused = |text: String| {
        let (_dir, path) = file("adult.data", &text);
        problem(census::read(&path))
    };
    assert_eq!(
        refused(format!("{line}1")),
        "line 1: the label is `1`, not <=50K or >50K"
    );
    assert_eq!(refused("1, 2".into()), "line 1: has 2 cells, not 15");
    assert_eq!(
        refused(format!("{}<=50K", line.replace("39", "NaN"))),
        "line 1: age is `NaN`, no finite number"
    );
    assert_eq!(refused("\n".into()), "holds no row");
}

/// Runs where `MENAGERIE_DATA` holds copies.
#[test]
fn copies_on_this_machine_have_the_published_sizes() {
    let locator = menagerie_data::Locator::from_env();
    let there = |name: &str| {
        let set = menagerie_data::dataset(name).unwrap();
        locator.data_dir.is_some() && locator.locate(set).is_some()
    };
    if there("adult") {
        let [train, test] = census::adult().unwrap();
        assert_eq!([train.len(), test.len()], [32_561, 16_281]);
        let positive = train.labels().iter().filter(|label| **label).count();
        assert_eq!(positive, 7_841);
    }
    if there("ml-latest-small") {
        let films = movielens::ml_latest_small().unwrap();
        assert_eq!(
            (films.ratings().len(), films.movies().len()),
            (100_836, 9_742)
        );
    }
}
