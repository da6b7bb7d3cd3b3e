//! Strips and tiles: from the bytes of a file to numbers.

use super::header::number;
use flate2::read::ZlibDecoder;
use std::io::Read;
use weezl::{BitOrder, decode::Decoder as Lzw};

/// What the bytes of a file stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    pub little: bool,
    pub compression: Compression,
    pub predictor: Predictor,
    pub bits: usize,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Lzw,
    Deflate,
    PackBits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Predictor {
    None,
    /// Differences to the pixel on the left.
    Horizontal,
    /// Differences of the bytes of floating-point numbers, sorted by significance.
    FloatingPoint,
}

/// Kinds of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Unsigned,
    Signed,
    Float,
}

impl Compression {
    pub(super) fn of(code: u64) -> Result<Self, String> {
        Ok(match code {
            1 => Self::None,
            5 => Self::Lzw,
            8 | 32_946 => Self::Deflate,
            32_773 => Self::PackBits,
            other => {
                return Err(format!(
                    "is compressed by method {other}; expected none (1), LZW (5), Deflate (8) or \
                     PackBits (32773)"
                ));
            }
        })
    }
}

impl Predictor {
    pub(super) fn of(code: u64) -> Result<Self, String> {
        Ok(match code {
            1 => Self::None,
            2 => Self::Horizontal,
            3 => Self::FloatingPoint,
            other => return Err(format!("uses the predictor {other}; expected 1, 2 or 3")),
        })
    }
}

impl Kind {
    /// The kind of numbers of so many bits.
    pub(super) fn of(code: u64, bits: u64) -> Result<Self, String> {
        match (code, bits) {
            (1 | 4, 1 | 2 | 4 | 8 | 16 | 32 | 64) => Ok(Self::Unsigned),
            (2, 8 | 16 | 32 | 64) => Ok(Self::Signed),
            (3, 32 | 64) => Ok(Self::Float),
            _ => Err(format!(
                "has samples of format {code} and {bits} bits; expected unsigned numbers (1) of 1, 2, \
                 4, 8, 16, 32 or 64 bits, signed ones (2) of 8 to 64, or floats (3) of 32 or 64"
            )),
        }
    }
}

/// Rows of a strip or tile, compression and prediction undone.
#[derive(Debug)]
pub(super) struct Rows {
    format: Format,
    bytes: Vec<u8>,
    /// Values of a row.
    columns: usize,
    /// The row that is counted as the first.
    first: usize,
}

impl Format {
    /// Bytes of a row of `pixels` pixels of `samples` values each.
    pub(super) fn row_bytes(&self, pixels: usize, samples: usize) -> usize {
        (pixels * samples * self.bits).div_ceil(8)
    }

    /// What is compared with a value to tell that it stands for no data: GDAL writes the decimal
    /// digits of a number, of which a sample of 32 bits holds what that many bits can.
    pub(super) fn rounded(&self, nodata: f64) -> f64 {
        match (self.kind, self.bits) {
            (Kind::Float, 32) => f64::from(nodata as f32),
            _ => nodata,
        }
    }

    /// The bytes of `rows` rows of `pixels` pixels of `samples` values each, as a file has them, made
    /// readable.
    ///
    /// `Err` says what is wrong with the bytes.
    pub(super) fn rows(
        self,
        bytes: Vec<u8>,
        rows: usize,
        pixels: usize,
        samples: usize,
    ) -> Result<Rows, String> {
        let row_bytes = self.row_bytes(pixels, samples);
        let expected = rows * row_bytes;
        let mut bytes = decompress(self.compression, bytes, expected)?;
        if bytes.len() < expected {
            return Err(format!("has {} bytes, expected {expected}", bytes.len()));
        }
        bytes.truncate(expected);
        let mut little = self.little;
        match self.predictor {
            Predictor::None => {}
            Predictor::Horizontal => {
                for row in bytes.chunks_exact_mut(row_bytes.max(1)) {
                    add_left(row, self.bits, samples, little)?;
                }
            }
            Predictor::FloatingPoint => {
                if self.kind != Kind::Float {
                    return Err("predicts whole numbers as floats".into());
                }
                for row in bytes.chunks_exact_mut(row_bytes.max(1)) {
                    join(row, self.bits / 8, samples);
                }
                // The most significant bytes come first, whatever the rest of the file does.
                little = false;
            }
        }
        Ok(Rows {
            format: Self { little, ..self },
            bytes,
            columns: pixels * samples,
            first: 0,
        })
    }
}

impl Rows {
    /// Counts rows from `first` on.
    pub(super) fn starting(self, first: usize) -> Self {
        Self { first, ..self }
    }

    /// The values of row `row` in place of what is in `values`.
    pub(super) fn read(&self, row: usize, values: &mut Vec<f64>) {
        let Format {
            little, bits, kind, ..
        } = self.format;
        let row_bytes = (self.columns * bits).div_ceil(8);
        let bytes = &self.bytes[(self.first + row) * row_bytes..][..row_bytes];
        values.clear();
        if bits < 8 {
            return unpack(bytes, bits, self.columns, values);
        }
        let numbers = bytes
            .chunks_exact(bits / 8)
            .map(|bytes| number(bytes, little));
        match (kind, bits) {
            // The common cases at full speed.
            (Kind::Unsigned, 8) => values.extend(bytes.iter().map(|&value| f64::from(value))),
            (Kind::Unsigned, 16) if little => {
                let (pairs, _) = bytes.as_chunks::<2>();
                let read = |&pair: &[u8; 2]| f64::from(u16::from_le_bytes(pair));
                values.extend(pairs.iter().map(read));
            }
            (Kind::Float, 32) if little => {
                let (fours, _) = bytes.as_chunks::<4>();
                let read = |&four: &[u8; 4]| f64::from(f32::from_le_bytes(four));
                values.extend(fours.iter().map(read));
            }
            (Kind::Unsigned, _) => values.extend(numbers.map(|value| value as f64)),
            (Kind::Signed, 8) => values.extend(numbers.map(|value| f64::from(value as u8 as i8))),
            (Kind::Signed, 16) => {
                values.extend(numbers.map(|value| f64::from(value as u16 as i16)))
            }
            (Kind::Signed, 32) => {
                values.extend(numbers.map(|value| f64::from(value as u32 as i32)))
            }
            (Kind::Signed, _) => values.extend(numbers.map(|value| value as i64 as f64)),
            (Kind::Float, 32) => {
                values.extend(numbers.map(|value| f64::from(f32::from_bits(value as u32))))
            }
            (Kind::Float, _) => values.extend(numbers.map(f64::from_bits)),
        }
    }
}

/// At most `expected` bytes, or a few more.
fn decompress(
    compression: Compression,
    bytes: Vec<u8>,
    expected: usize,
) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(expected);
    match compression {
        Compression::None => return Ok(bytes),
        Compression::Deflate => {
            // More than expected is of no use: do not let a small file fill the memory.
            ZlibDecoder::new(bytes.as_slice())
                .take(expected as u64)
                .read_to_end(&mut out)
                .map_err(|error| format!("cannot be inflated: {error}"))?;
        }
        Compression::Lzw => {
            let mut decoder = Lzw::with_tiff_size_switch(BitOrder::Msb, 8);
            out.resize(expected, 0);
            let mut done = 0;
            let mut rest = bytes.as_slice();
            while done < expected {
                let step = decoder.decode_bytes(rest, &mut out[done..]);
                rest = &rest[step.consumed_in..];
                done += step.consumed_out;
                match step.status {
                    Ok(weezl::LzwStatus::Ok) => {}
                    Ok(_) => break,
                    Err(error) => return Err(format!("is no LZW: {error}")),
                }
            }
            out.truncate(done);
        }
        Compression::PackBits => {
            let mut rest = bytes.as_slice();
            while let ([head, tail @ ..], true) = (rest, out.len() < expected) {
                let head = *head as i8;
                rest = match (head, tail) {
                    (-128, _) => tail,
                    (0.., _) => {
                        let count = (head as usize + 1).min(tail.len());
                        out.extend_from_slice(&tail[..count]);
                        &tail[count..]
                    }
                    (_, [byte, tail @ ..]) => {
                        out.extend(std::iter::repeat_n(*byte, (1 - isize::from(head)) as usize));
                        tail
                    }
                    (_, []) => tail,
                };
            }
        }
    }
    Ok(out)
}

/// Undoes the horizontal predictor in a row of pixels of `samples` values.
fn add_left(row: &mut [u8], bits: usize, samples: usize, little: bool) -> Result<(), String> {
    if bits < 8 {
        return Err(format!("predicts numbers of {bits} bits"));
    }
    let each = bits / 8;
    for at in (samples * each..row.len()).step_by(each) {
        let left = number(&row[at - samples * each..][..each], little);
        let value = number(&row[at..][..each], little).wrapping_add(left);
        let bytes = if little {
            value.to_le_bytes()
        } else {
            value.to_be_bytes()
        };
        let bytes = if little {
            &bytes[..each]
        } else {
            &bytes[8 - each..]
        };
        row[at..][..each].copy_from_slice(bytes);
    }
    Ok(())
}

/// Undoes the floating-point predictor in a row: all first bytes, all second bytes and so on, each the
/// difference to the one `samples` before it. Leaves the most significant byte of each number first.
fn join(row: &mut [u8], each: usize, samples: usize) {
    for at in samples..row.len() {
        row[at] = row[at].wrapping_add(row[at - samples]);
    }
    let sorted = row.to_vec();
    let count = row.len() / each;
    for (at, value) in row.chunks_exact_mut(each).enumerate() {
        for (place, byte) in value.iter_mut().enumerate() {
            *byte = sorted[place * count + at];
        }
    }
}

/// Values of fewer than 8 bits.
fn unpack(row: &[u8], bits: usize, columns: usize, values: &mut Vec<f64>) {
    let mask = (1_u8 << bits) - 1;
    let per_byte = 8 / bits;
    values.extend((0..columns).map(|column| {
        let shift = 8 - bits * (column % per_byte + 1);
        f64::from(row[column / per_byte] >> shift & mask)
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: Format = Format {
        little: true,
        compression: Compression::None,
        predictor: Predictor::None,
        bits: 8,
        kind: Kind::Unsigned,
    };

    /// All values of some rows.
    fn chunk(
        format: Format,
        bytes: Vec<u8>,
        rows: usize,
        pixels: usize,
        samples: usize,
    ) -> Result<Vec<f64>, String> {
        let read = format.rows(bytes, rows, pixels, samples)?;
        let mut row = Vec::new();
        let values = (0..rows).flat_map(|at| {
            read.read(at, &mut row);
            row.clone()
        });
        Ok(values.collect())
    }

    #[test]
    fn nodata_is_rounded_as_the_samples_are() {
        let float = Format {
            bits: 32,
            kind: Kind::Float,
            ..BYTES
        };
        for nodata in [-9999.9, 0.1] {
            assert_eq!(float.rounded(nodata), f64::from(nodata as f32));
            assert_ne!(float.rounded(nodata), nodata);
            let double = Format { bits: 64, ..float };
            assert_eq!(double.rounded(nodata), nodata);
        }
    }

    #[test]
    fn packed_values_begin_anew_in_every_row() {
        let read = |bits, bytes: &[u8], rows, pixels| {
            let format = Format { bits, ..BYTES };
            chunk(format, bytes.to_vec(), rows, pixels, 1).unwrap()
        };
        // Three values of 4 bits take two bytes.
        assert_eq!(
            read(4, &[0x12, 0x30, 0x45, 0x60], 2, 3),
            [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
        );
        assert_eq!(read(1, &[0b1010_0000], 1, 3), [1.0, 0.0, 1.0]);
        assert_eq!(read(2, &[0b1101_0010], 1, 4), [3.0, 1.0, 0.0, 2.0]);
    }

    #[test]
    fn runs_and_literals_are_unpacked() {
        // The example of the TIFF 6.0 specification, section 9.
        let packed = [
            0xfe, 0xaa, 0x02, 0x80, 0x00, 0x2a, 0xfd, 0xaa, 0x03, 0x80, 0x00, 0x2a, 0x22, 0xf7,
            0xaa,
        ];
        let expected = [
            0xaa, 0xaa, 0xaa, 0x80, 0x00, 0x2a, 0xaa, 0xaa, 0xaa, 0xaa, 0x80, 0x00, 0x2a, 0x22,
            0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa,
        ];
        let found = decompress(Compression::PackBits, packed.to_vec(), expected.len()).unwrap();
        assert_eq!(found, expected);
        assert_eq!(decompress(Compression::PackBits, vec![0xfe], 3), Ok(vec![]));
    }

    #[test]
    fn differences_are_added_up_per_sample() {
        let format = Format {
            predictor: Predictor::Horizontal,
            ..BYTES
        };
        // Two samples per pixel; the second row begins anew.
        let bytes = vec![10, 100, 1, 255, 1, 255, 5, 7, 0, 1, 250, 0];
        assert_eq!(
            chunk(format, bytes, 2, 3, 2).unwrap(),
            [10., 100., 11., 99., 12., 98., 5., 7., 5., 8., 255., 8.]
        );
        let wide = Format {
            bits: 16,
            little: false,
            kind: Kind::Signed,
            ..format
        };
        assert_eq!(
            chunk(wide, vec![0xff, 0xff, 0, 2, 1, 0], 1, 3, 1).unwrap(),
            [-1.0, 1.0, 257.0]
        );
    }

    #[test]
    fn predicted_floats_are_put_together() {
        let values = [1.5_f32, -2.25, 1e-3, 7.0];
        // Bytes sorted by significance, then differences.
        let mut sorted: Vec<u8> = (0..4)
            .flat_map(|place| values.map(|value| value.to_be_bytes()[place]))
            .collect();
        for at in (1..sorted.len()).rev() {
            sorted[at] = sorted[at].wrapping_sub(sorted[at - 1]);
        }
        let format = Format {
            bits: 32,
            kind: Kind::Float,
            predictor: Predictor::FloatingPoint,
            ..BYTES
        };
        let found = chunk(format, sorted.clone(), 1, 4, 1).unwrap();
        assert_eq!(found, values.map(f64::from));
        let format = Format {
            kind: Kind::Unsigned,
            ..format
        };
        assert!(chunk(format, sorted, 1, 4, 1).is_err());
    }

    #[test]
    fn what_is_cut_short_or_unknown_is_refused() {
        let error = chunk(BYTES, vec![0; 5], 2, 3, 1).unwrap_err();
        assert_eq!(error, "has 5 bytes, expected 6");
        assert!(
            Compression::of(7)
                .unwrap_err()
                .starts_with("is compressed by method 7")
        );
        assert!(Predictor::of(9).is_err());
        assert!(Kind::of(3, 16).is_err() && Kind::of(2, 4).is_err());
        let deflate = Format {
            compression: Compression::Deflate,
            ..BYTES
        };
        let error = chunk(deflate, vec![1, 2, 3], 1, 3, 1).unwrap_err();
        assert!(error.starts_with("cannot be inflated"), "{error}");
    }
}
