use menagerie_core::{Result, fs};

/// Tiny Shakespeare (Karpathy 2015), found or fetched by [`menagerie_data::find`]: 1 115 394
/// characters, 65 of them distinct, all ASCII.
///
/// # Errors
/// As [`menagerie_data::find`], and [`menagerie_core::Error::Io`] for a file that cannot be read.
pub fn tiny_shakespeare() -> Result<String> {
    fs::read_to_string(&menagerie_data::find("tiny-shakespeare")?.join("input.txt"))
}
