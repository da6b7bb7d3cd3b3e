//! Integration tests.
#![allow(clippy::unwrap_used)]

mod prototype_net;
