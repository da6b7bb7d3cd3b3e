//! MovieLens' ratings as chances that were taken or not.

use crate::calendar::weekday_of;
use crate::lines::{Csv, broken};
use crate::table::{Cell, Field, Kind, Table};
use menagerie_core::{Error, Result, Seed};
use rand::RngExt;
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// One person's rating of a film.
#[derive(Clone, Debug, PartialEq)]
pub struct Rating {
    /// Who.
    pub user: u32,
    /// Which film, by the distributors' number.
    pub movie: u32,
    /// Half a star to five.
    pub stars: f32,
    /// Seconds since 1970.
    pub time: i64,
}

/// Ratings, and the genres of films.
#[derive(Clone, Debug, PartialEq)]
pub struct MovieLens {
    ratings: Vec<Rating>,
    /// Films in the order of their file, with genres.
    movies: Vec<(u32, Vec<String>)>,
}

impl MovieLens {
    /// Reads `ratings.csv` and `movies.csv` in a folder.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] with the line's number for a missing column, a line with more or
    /// fewer cells, or a cell that is no number; for a rating of a film that is not listed.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("movies.csv");
        let mut movies = Vec::new();
        Csv::each(&path, |csv, number, cells| {
            let [movie, genres] = csv.places(&path, ["movieId", "genres"])?;
            let genres = cells[genres]
                .split('|')
                .filter(|g| *g != "(no genres listed)");
            let genres = genres.map(str::to_owned).collect();
            movies.push((parse(&path, number, &cells[movie])?, genres));
            Ok(true)
        })?;
        let listed: HashSet<u32> = movies.iter().map(|(movie, _)| *movie).collect();
        let path = folder.join("ratings.csv");
        let mut ratings = Vec::new();
        Csv::each(&path, |csv, number, cells| {
            let names = ["userId", "movieId", "rating", "timestamp"];
            let [user, movie, stars, time] = csv.places(&path, names)?;
            let rating = Rating {
                user: parse(&path, number, &cells[user])?,
                movie: parse(&path, number, &cells[movie])?,
                stars: parse(&path, number, &cells[stars])?,
                time: parse(&path, number, &cells[time])?,
            };
            if !listed.contains(&rating.movie) {
                let problem = format!("film {} is not in movies.csv", rating.movie);
                return Err(broken(&path, number, problem));
            }
            ratings.push(rating);
            Ok(true)
        })?;
        Ok(Self { ratings, movies })
    }

    /// All ratings, in the order of their file.
    pub fn ratings(&self) -> &[Rating] {
        &self.ratings
    }

    /// Films with their genres, in the order of their file.
    pub fn movies(&self) -> &[(u32, Vec<String>)] {
        &self.movies
    }

    /// Every rating as a chance that was taken, each with `negatives` films drawn evenly from those
    /// that the person has not rated. Fields: user, item, the item's genres, and the weekday of the
    /// rating.
    ///
    /// # Errors
    /// [`Error::Input`] if somebody has rated every film.
    pub fn impressions(&self, negatives: usize, seed: Seed) -> Result<Table> {
        let fields = [
            ("user", Kind::Category),
            ("item", Kind::Category),
            ("genres", Kind::Sequence),
            ("weekday", Kind::Category),
        ];
        let fields = fields.map(|(name, kind)| Field::new(name, kind));
        let mut table = Table::new(fields.into())?;
        let places = self.movies.iter().enumerate();
        let places: HashMap<u32, usize> = places.map(|(at, (movie, _))| (*movie, at)).collect();
        let mut seen: HashMap<u32, HashSet<usize>> = HashMap::new();
        for rating in &self.ratings {
            let rated = seen.entry(rating.user).or_default();
            rated.extend(places.get(&rating.movie));
        }
        if let Some((user, _)) = seen
            .iter()
            .find(|(_, rated)| rated.len() == self.movies.len())
        {
            let rule = "has rated every film: there is none to be drawn";
            return Err(Error::input("a user", user, rule));
        }
        let mut rng = seed.rng();
        for rating in &self.ratings {
            let user = rating.user.to_string();
            let day = weekday_of(rating.time).to_string();
            let taken = places.get(&rating.movie).copied();
            let rated = seen.get(&rating.user);
            let drawn = (0..negatives).map(|_| {
                loop {
                    let at = rng.random_range(0..self.movies.len());
                    if rated.is_none_or(|rated| !rated.contains(&at)) {
                        break (at, false);
                    }
                }
            });
            let rows: Vec<(usize, bool)> = taken
                .map(|at| (at, true))
                .into_iter()
                .chain(drawn)
                .collect();
            for (at, label) in rows {
                let (movie, genres) = &self.movies[at];
                let cells = [
                    Cell::Category(&user),
                    Cell::Category(&movie.to_string()),
                    Cell::Sequence(genres.iter().map(String::as_str).collect()),
                    Cell::Category(&day),
                ];
                table.push(&cells, label)?;
            }
        }
        Ok(table)
    }
}

fn parse<T: std::str::FromStr>(path: &Path, line: usize, cell: &str) -> Result<T> {
    let problem = |_| broken(path, line, format!("`{cell}` is no number of this column"));
    cell.parse().map_err(problem)
}

/// The ratings of `ml-latest-small` as they were published.
const PUBLISHED: usize = 100_836;

/// The data set `ml-latest-small`: 100 836 ratings of 9 742 films by 610 people.
///
/// The copy that is fetched has 72 ratings more at its end, by visitors of the page that it was used for;
/// they are left out.
///
/// # Errors
/// As [`menagerie_data::find`] and [`MovieLens::read`].
pub fn ml_latest_small() -> Result<MovieLens> {
    let mut films = MovieLens::read(&menagerie_data::find("ml-latest-small")?)?;
    films.ratings.truncate(PUBLISHED);
    Ok(films)
}
