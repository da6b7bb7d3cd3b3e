//! JSON objects from outside, read key by key.

use menagerie_core::{Error, Result, fs};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// An object of a JSON file; errors name file and key.
#[derive(Clone, Debug)]
pub(super) struct Object {
    path: PathBuf,
    /// What stands before the keys, e.g. `trainer.`.
    prefix: String,
    entries: Map<String, Value>,
}

impl Object {
    /// The object that a file holds.
    pub fn open(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)?;
        let value: Value = serde_json::from_str(&text)
            .map_err(|error| Error::format(path, format!("no JSON: {error}")))?;
        match value {
            Value::Object(entries) => Ok(Self {
                path: path.to_path_buf(),
                prefix: String::new(),
                entries,
            }),
            _ => Err(Error::format(path, "no JSON object")),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The value of `key`, unless it is missing or null.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.get(key).filter(|value| !value.is_null())
    }

    /// Takes an entry out.
    pub fn take(&mut self, key: &str) -> Option<Value> {
        self.entries.remove(key).filter(|value| !value.is_null())
    }

    /// Gives `key` another name, unless that exists.
    pub fn rename(&mut self, key: &str, name: &str) {
        if let Some(value) = self.entries.remove(key) {
            self.entries.entry(name).or_insert(value);
        }
    }

    /// Sets an entry.
    pub fn set(&mut self, key: &str, value: Value) {
        self.entries.insert(key.to_owned(), value);
    }

    /// All entries.
    pub fn entries_mut(&mut self) -> &mut Map<String, Value> {
        &mut self.entries
    }

    /// An object inside this one.
    pub fn object(&self, key: &str) -> Result<Option<Self>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Object(entries)) => Ok(Some(Self {
                path: self.path.clone(),
                prefix: format!("{}{key}.", self.prefix),
                entries: entries.clone(),
            })),
            Some(other) => Err(self.wrong(key, other, "an object")),
        }
    }

    pub fn text(&self, key: &str) -> Result<Option<&str>> {
        self.typed(key, Value::as_str, "a string")
    }

    pub fn flag(&self, key: &str) -> Result<Option<bool>> {
        self.typed(key, Value::as_bool, "true or false")
    }

    pub fn size(&self, key: &str) -> Result<Option<usize>> {
        let size = |value: &Value| value.as_u64().and_then(|size| usize::try_from(size).ok());
        self.typed(key, size, "a whole number of at least 0")
    }

    pub fn number(&self, key: &str) -> Result<Option<f64>> {
        self.typed(key, Value::as_f64, "a number")
    }

    /// A required entry.
    pub fn need<T>(&self, key: &str, value: Result<Option<T>>) -> Result<T> {
        value?.ok_or_else(|| {
            Error::format(
                &self.path,
                format!("no `{}{key}`, which this format needs", self.prefix),
            )
        })
    }

    /// An entry that is none of those that are understood.
    pub fn wrong(&self, key: &str, found: &Value, expected: &str) -> Error {
        let mut found = found.to_string();
        if found.len() > 80 {
            found = found.chars().take(77).collect::<String>() + "...";
        }
        Error::format(
            &self.path,
            format!("`{}{key}` is {found}, expected {expected}", self.prefix),
        )
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
        expected: &str,
    ) -> Result<Option<T>> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => match read(value) {
                Some(read) => Ok(Some(read)),
                None => Err(self.wrong(key, value, expected)),
            },
        }
    }
}
