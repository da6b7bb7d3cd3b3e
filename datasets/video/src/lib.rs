//! Video clips: read from files, sampled in time, cropped in space.
//!
//! | module | holds |
//! | --- | --- |
//! | [`read`](mod@read) | [`read()`]: a folder of frames, an animated GIF or a Y4M file, as one [`Clip`] |
//! | [`folder`](mod@folder) | [`ClipFolder`]: labelled clips, one sub-folder per class, read as they are needed |
//! | [`frames`] | folders of PNG and JPEG frames in natural order |
//! | [`gif`] | animated GIF, read and written |
//! | [`y4m`] | uncompressed YUV4MPEG2 |
//! | [`sample`] | which frames make up a clip: strided, dense, sparse, several views |
//! | [`crop`](mod@crop) | multi-scale fixed-corner crops for training, three crops for tests |
//! | [`moving`] | procedural clips: the images of a set, moving in one of eight directions |
//!
//! ```no_run
//! use menagerie_core::Seed;
//! use menagerie_data_video::{big_buck_bunny, crop::MultiScaleCrop, sample};
//!
//! let film = big_buck_bunny()?; // [48, 180, 320, 3]
//! let seed = Seed(0).stream("clips").at(7);
//!
//! // 16 frames, two apart, from a random start; then a random crop, brought to 224x224.
//! let indices = sample::draw_dense(film.frames(), 16, 2, seed)?;
//! let crop = MultiScaleCrop::new([224, 224])?;
//! let region = crop.draw(film.size(), seed.stream("crop"));
//! let clip = crop.apply(&film.select(&indices)?, region)?;
//! assert_eq!(clip.shape(), [16, 224, 224, 3]);
//! let values = clip.channels_first(); // [3, 16, 224, 224], values in 0..=1
//! # Ok::<(), menagerie_core::Error>(())
//! ```

mod clip;
pub mod crop;
pub mod folder;
pub mod frames;
pub mod gif;
pub mod moving;
pub mod read;
pub mod sample;
pub mod y4m;

pub use clip::Clip;
pub use folder::ClipFolder;
pub use moving::{Direction, MovingClip, MovingImages, MovingImagesConfig};
pub use read::read;

use menagerie_core::{Error, Result};
use std::path::Path;

/// The folder of the frames in the data set `video`.
const BIG_BUCK_BUNNY: &str = "bigbuckbunny_320x180";

/// The first 48 frames of *Big Buck Bunny* (© 2008 Blender Foundation, CC BY 3.0), `[48, 180, 320,
/// 3]` at 25 frames per second, in the data set `video`.
///
/// # Errors
/// As [`menagerie_data::find`]; [`Error::Data`] with the command that makes the frames where only
/// the film is there.
pub fn big_buck_bunny() -> Result<Clip> {
    big_buck_bunny_in(&menagerie_data::find("video")?)
}

fn big_buck_bunny_in(dir: &Path) -> Result<Clip> {
    let folder = dir.join(BIG_BUCK_BUNNY);
    if !folder.is_dir() {
        let film = dir.join("bigbuckbunny.mp4");
        let problem = format!(
            "the film's frames are missing; make them with `mkdir {folder} && ffmpeg -i {film} \
             -vf scale=320:180:flags=area -frames:v 48 {folder}/%04d.png`",
            folder = folder.display(),
            film = film.display(),
        );
        return Err(Error::Data {
            name: "video".into(),
            problem,
        });
    }
    frames::read(&folder, 3)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_film_without_frames_says_how_to_make_them() {
        let dir = tempfile::tempdir().unwrap();
        let error = big_buck_bunny_in(dir.path()).unwrap_err().to_string();
        assert!(
            error.starts_with("data set `video` is incomplete: the film's frames are missing"),
            "{error}"
        );
        assert!(error.contains("ffmpeg -i"), "{error}");
    }
}
