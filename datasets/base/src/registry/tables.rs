//! Tables of categories and numbers.

use super::{DataSet, File, Part};

/// The census of 1994: who earns more than 50 000 dollars.
pub(super) const ADULT: DataSet = DataSet {
    name: "adult",
    title: "Adult: 48 842 people of the US census of 1994 with 14 attributes, and whether they earn above 50 000",
    licence: "CC BY 4.0 (Barry Becker, Ronny Kohavi; UCI Machine Learning Repository)",
    origin: "https://archive.ics.uci.edu/dataset/2/adult",
    files: &[
        File {
            path: "adult.data",
            size: 3_974_305,
            sha256: "5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d",
            urls: &["https://archive.ics.uci.edu/ml/machine-learning-databases/adult/adult.data"],
            alternatives: &[],
        },
        File {
            path: "adult.test",
            size: 2_003_153,
            sha256: "a2a9044bc167a35b2361efbabec64e89d69ce82d9790d2980119aac5fd7e9c05",
            urls: &["https://archive.ics.uci.edu/ml/machine-learning-databases/adult/adult.test"],
            alternatives: &[],
        },
    ],
};

/// Ratings and genres; the distributors publish an archive, so that the files come from a copy, with 72
/// ratings more at the end of the first. The alternative is that file as it was published.
pub(super) const ML_LATEST_SMALL: DataSet = DataSet {
    name: "ml-latest-small",
    title: "MovieLens latest small: 100 836 ratings of 9 742 films by 610 people",
    licence: "GroupLens: research, no commercial use, redistribution under the same conditions",
    origin: "https://grouplens.org/datasets/movielens/latest/",
    files: &[
        File {
            path: "ratings.csv",
            size: 2_485_463,
            sha256: "49bfb1892ecbdae89387f9d7cd6a2a75b8bd4a64f3a06780943423c25b0b7641",
            urls: &[
                "https://raw.githubusercontent.com/elliotjoejordan/python-pandas-web-film-app/7b791713959c/ml-latest-small/ratings.csv",
            ],
            alternatives: &[&[Part {
                path: "ratings.csv",
                size: 2_483_723,
                sha256: None,
            }]],
        },
        File {
            path: "movies.csv",
            size: 494_431,
            sha256: "5a5f32dd9bb3797b8e728a1b98958789d2b13f294a69fdfbc5727f8a9611aa07",
            urls: &[
                "https://raw.githubusercontent.com/elliotjoejordan/python-pandas-web-film-app/7b791713959c/ml-latest-small/movies.csv",
            ],
            alternatives: &[],
        },
    ],
};
