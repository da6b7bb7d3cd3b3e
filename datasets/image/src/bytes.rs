//! Files that may be compressed, whatever their name says.

use flate2::bufread::MultiGzDecoder;
use menagerie_core::{Error, Result};
use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

/// Reads the bytes of the file at `path`, or what they decompress to where they are gzip.
pub(crate) fn open(path: &Path) -> Result<Box<dyn BufRead>> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    let reader = BufReader::with_capacity(1 << 16, file);
    decompress(reader).map_err(Error::io("read", path))
}

/// Recognises gzip by its first two bytes.
pub(crate) fn decompress<'a>(
    mut reader: impl BufRead + 'a,
) -> std::io::Result<Box<dyn BufRead + 'a>> {
    Ok(if reader.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
        Box::new(BufReader::with_capacity(
            1 << 16,
            MultiGzDecoder::new(reader),
        ))
    } else {
        Box::new(reader)
    })
}

/// Reads up to `limit` bytes; a failure says after how many of them.
pub(crate) fn read_up_to(reader: &mut dyn BufRead, limit: u64, path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match reader.take(limit).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(Error::format(
            path,
            format!(
                "damaged or cut short after {} bytes of content: {error}",
                bytes.len()
            ),
        )),
    }
}
