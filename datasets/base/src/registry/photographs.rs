//! Photographs in colour.

use super::{DataSet, File};

/// Eight of the 24 pictures of the Kodak PhotoCD.
pub(super) const KODAK: DataSet = DataSet {
    name: "kodak",
    title: "Kodak: 8 photographs of the PhotoCD sampler, 768x512 or 512x768 colour",
    licence: "released by the Eastman Kodak Company for unrestricted usage (as stated by the distributors)",
    origin: "http://r0k.us/graphics/kodak/",
    files: &[
        File {
            path: "kodim01.png",
            size: 736_501,
            sha256: "a56e27cbf5f843c048b6af1d6e090760e9c92fadba88b7dee0205918a37523bd",
            urls: &["http://r0k.us/graphics/kodak/kodak/kodim01.png"],
            alternatives: &[],
        },
        File {
            path: "kodim05.png",
            size: 785_610,
            sha256: "10349e963c5c813d327852f82c1795fa4148d69fedffc4c589bee458e3ac3d53",
            urls: &["http://r0k.us/graphics/kodak/kodak/kodim05.png"],
            alternatives: &[],
        },
        File {
            path: "kodim07.png",
            size: 566_322,
            sha256: "b77d3f006f42414bb242222e0482e750c0fb9e5ee8d4bed2f6f11c5605fe54a4",
            urls: &["http://r0k.us/graphics/kodak/kodak/kodim07.png"],
            alternatives: &[],
        },
        File {
            path: "kodim13.png",
            size: 822_712,
            sha256: "bc34a3ce58dea09dce1704c997171602de90cb34d0c8503a988b77f473d39b08",
            urls: &["http://r0k.us/graphics/kodak/kodak/kodim13.png"],
            alternatives: &[],
        },
        File {
            path: "kodim15.png",
            size: 612_582,
            sha256: "7538cbb80cb9103606c48b806eae57d56c885c7f90b9b3be70a41160f9cbb683",
            urls: &["http://r0k.us/graphics/kodak/kodak/kodim15.png"],
            alternatives: &[],
        },
        File {
            path: "kodim19.png",
            size: 671_476,
            sha256: "b7450b264b1b0a411390d8931b112c27905a992520fc90569dc4b920aa32bbdc",
            urls: &["http://r0k.us/graphics/kodak/kodak/kodim19.png"],
            alternatives: &[],
        },
        File {
            path: "kodim20.png",
            size: 492_462,
            sha256: "3b46c71e3b92a563820ba32936be8330c586c41f938efd94be938386aae4328a",
            urls: &["http://r0k.us/graphics/kodak/kodak/kodim20.png"],
            alternatives: &[],
        },
        File {
            path: "kodim23.png",
            size: 557_596,
            sha256: "e3111a2fd4da24af15d6459ef9eacfe54106b38e27b4a21821b75c3f5d2d5baf",
            urls: &["http://r0k.us/graphics/kodak/kodak/kodim23.png"],
            alternatives: &[],
        },
    ],
};

pub(super) const PHOTOS: DataSet = DataSet {
    name: "photos",
    title: "astronaut 512x512, coffee 600x400 and chelsea 451x300, colour",
    licence: "astronaut: public domain (NASA); coffee, chelsea: CC0",
    origin: "https://github.com/imageio/imageio-binaries",
    files: &[
        File {
            path: "astronaut.png",
            size: 791_555,
            sha256: "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
            urls: &[
                "https://github.com/imageio/imageio-binaries/raw/f8f64710ea88/images/astronaut.png",
                "https://github.com/imageio/imageio-binaries/raw/master/images/astronaut.png",
            ],
            alternatives: &[],
        },
        File {
            path: "chelsea.png",
            size: 221_294,
            sha256: "97403c9c171d1aedd2026c7515e20208ef865eaab56d462c3c2eefade9b7d779",
            urls: &[
                "https://github.com/imageio/imageio-binaries/raw/f8f64710ea88/images/chelsea.png",
                "https://github.com/imageio/imageio-binaries/raw/master/images/chelsea.png",
            ],
            alternatives: &[],
        },
        File {
            path: "coffee.png",
            size: 451_102,
            sha256: "51564e1c293b9a32de7364dca129d63b005ceaa9ed7ea1357e55cf2f5da8d22d",
            urls: &[
                "https://github.com/imageio/imageio-binaries/raw/f8f64710ea88/images/coffee.png",
                "https://github.com/imageio/imageio-binaries/raw/master/images/coffee.png",
            ],
            alternatives: &[],
        },
    ],
};
