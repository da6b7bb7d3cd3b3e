//! Integration tests.

mod prototype_net;
