//! Weights in from files and over the network, and into modules.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod files;
mod hub;
mod loading;
mod server;
