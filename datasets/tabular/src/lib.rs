//! Tables of categories and numbers: clicks, ratings, census.
