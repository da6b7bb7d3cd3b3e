//! The examples of Menagerie: `cargo run -p menagerie-examples --example <slug>`.
