//! Satellite scenes.

use super::{DataSet, File};

/// Cut-outs of three Landsat scenes as GeoTIFF, bytes.
pub(super) const LANDSAT: DataSet = DataSet {
    name: "landsat",
    title: "Landsat: Olinda (6 bands, 349x352), Para (7 bands, 287x310), a crop in 3 bands (791x718)",
    licence: "public domain (USGS/NASA Landsat)",
    origin: "https://www.usgs.gov/landsat-missions",
    files: &[
        File {
            path: "L7_ETMs.tif",
            size: 798_453,
            sha256: "3b722bf4470144b6691bf720bac08f47c99464acff4dd258252891c06312678e",
            urls: &[
                "https://raw.githubusercontent.com/r-spatial/stars/d4cedb523970/inst/tif/L7_ETMs.tif",
            ],
            alternatives: &[],
        },
        File {
            path: "LT52240631988227CUB02_B1.TIF",
            size: 39_311,
            sha256: "57d6bee8d72fb31239e2e29610fedfda795f88aed4561e6076090d3605542b60",
            urls: &[
                "https://raw.githubusercontent.com/bleutner/RStoolbox/6d5320cc59a4/inst/external/landsat/LT52240631988227CUB02_B1.TIF",
            ],
            alternatives: &[],
        },
        File {
            path: "LT52240631988227CUB02_B2.TIF",
            size: 33_837,
            sha256: "21c42db56c58a3c0b58ff7fd731413ca15e6db5a34d088c4e55087d6cfbe2a3e",
            urls: &[
                "https://raw.githubusercontent.com/bleutner/RStoolbox/6d5320cc59a4/inst/external/landsat/LT52240631988227CUB02_B2.TIF",
            ],
            alternatives: &[],
        },
        File {
            path: "LT52240631988227CUB02_B3.TIF",
            size: 36_765,
            sha256: "5f5c24b1940d0cf286565a0fa9192ca098f6eb9550311832cd69c4c6434e0e0d",
            urls: &[
                "https://raw.githubusercontent.com/bleutner/RStoolbox/6d5320cc59a4/inst/external/landsat/LT52240631988227CUB02_B3.TIF",
            ],
            alternatives: &[],
        },
        File {
            path: "LT52240631988227CUB02_B4.TIF",
            size: 79_018,
            sha256: "4f283663f9cd56bb79ae24c419c87507aca2b0eb96d609e946798d21007b164f",
            urls: &[
                "https://raw.githubusercontent.com/bleutner/RStoolbox/6d5320cc59a4/inst/external/landsat/LT52240631988227CUB02_B4.TIF",
            ],
            alternatives: &[],
        },
        File {
            path: "LT52240631988227CUB02_B5.TIF",
            size: 75_038,
            sha256: "0f045e153850a326734c77f77ea98e77f35a9a5901c9d0eb6ce984941dc51872",
            urls: &[
                "https://raw.githubusercontent.com/bleutner/RStoolbox/6d5320cc59a4/inst/external/landsat/LT52240631988227CUB02_B5.TIF",
            ],
            alternatives: &[],
        },
        File {
            path: "LT52240631988227CUB02_B6.TIF",
            size: 17_603,
            sha256: "7d9af7349fcee8bd34d55a5d7fee50cd207eefaab1e4d75fdbca4b33a289f49c",
            urls: &[
                "https://raw.githubusercontent.com/bleutner/RStoolbox/6d5320cc59a4/inst/external/landsat/LT52240631988227CUB02_B6.TIF",
            ],
            alternatives: &[],
        },
        File {
            path: "LT52240631988227CUB02_B7.TIF",
            size: 48_698,
            sha256: "ee9613bade4113b735bd8e3fadfd9227e92fc320f4d41a74173987cb58eca920",
            urls: &[
                "https://raw.githubusercontent.com/bleutner/RStoolbox/6d5320cc59a4/inst/external/landsat/LT52240631988227CUB02_B7.TIF",
            ],
            alternatives: &[],
        },
        File {
            path: "LT52240631988227CUB02_MTL.txt",
            size: 65_535,
            sha256: "50a4f2823cc83e325cc3a574784314ea62a84ae8657740f0d5984ebaac787be5",
            urls: &[
                "https://raw.githubusercontent.com/bleutner/RStoolbox/6d5320cc59a4/inst/external/landsat/LT52240631988227CUB02_MTL.txt",
            ],
            alternatives: &[],
        },
        File {
            path: "RGB.byte.tif",
            size: 1_745_956,
            sha256: "d7cbe932c7ed74a627706a9e9df99f706df3e5abc7d45a49e9d00677a6b09eb4",
            urls: &[
                "https://raw.githubusercontent.com/rasterio/rasterio/9709d1fce53b/tests/data/RGB.byte.tif",
            ],
            alternatives: &[],
        },
    ],
};
