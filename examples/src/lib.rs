//! The examples of Menagerie, one per paper:
//!
//! ```text
//! cargo run -p menagerie-examples --example qlae
//! ```

/// The README's own code, compiled and run as a test.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
