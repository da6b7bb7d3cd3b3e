//! Weights in from files and over the network, and into modules.

mod files;
mod hub;
mod loading;
mod server;
