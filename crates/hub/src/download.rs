//! Where the Hub and its cache are, and how to reach them.
