//! Where the Hub and its cache are, and how to reach them.

use std::{env, fmt, path::PathBuf, time::Duration};

/// Where the Hub and its cache are, and how to reach them.
///
/// [`from_env`](Self::from_env) reads the variables that the ecosystem's other tools read, and
/// the cache has their layout, so that a file is fetched once for all of them.
#[derive(Clone, PartialEq, Eq)]
pub struct HubOptions {
    /// The Hub's address without a slash at its end, `HF_ENDPOINT`.
    pub endpoint: String,
    /// The folder of repositories: `HF_HUB_CACHE`, else `hub` in `HF_HOME`.
    pub cache: PathBuf,
    /// The token of an account, for private and gated repositories: `HF_TOKEN`, else the file
    /// `HF_TOKEN_PATH`, else `token` in `HF_HOME`.
    pub token: Option<String>,
    /// Whether only the cache is used, `HF_HUB_OFFLINE`.
    pub offline: bool,
    /// How many times in a row a transfer is taken up again after a failure that may pass; the row
    /// ends with every MiB that arrives.
    pub retries: usize,
    /// The pause before the first repetition; doubled before each further one.
    pub backoff: Duration,
    /// How long a connection may be silent.
    pub timeout: Duration,
}

impl HubOptions {
    /// The public Hub, with its cache in `cache` and without a token.
    pub fn new(cache: impl Into<PathBuf>) -> Self {
        Self {
            endpoint: "https://huggingface.co".into(),
            cache: cache.into(),
            token: None,
            offline: false,
            retries: 4,
            backoff: Duration::from_millis(500),
            timeout: Duration::from_secs(30),
        }
    }

    /// What the environment says.
    pub fn from_env() -> Self {
        Self::from_variables(|name| env::var(name).ok())
    }

    /// What `variable` says of each name.
    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let variable = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let home = variable("HF_HOME").map_or_else(
            || {
                let user = ["HOME", "USERPROFILE"]
                    .iter()
                    .find_map(|name| variable(name));
                variable("XDG_CACHE_HOME")
                    .map(PathBuf::from)
                    .or_else(|| user.map(|user| PathBuf::from(user).join(".cache")))
                    .unwrap_or_else(env::temp_dir)
                    .join("huggingface")
            },
            PathBuf::from,
        );
        let cache = variable("HF_HUB_CACHE").map_or_else(|| home.join("hub"), PathBuf::from);
        let token = variable("HF_TOKEN").or_else(|| {
            let file = variable("HF_TOKEN_PATH").map_or_else(|| home.join("token"), PathBuf::from);
            std::fs::read_to_string(file).ok()
        });
        let mut options = Self::new(cache);
        if let Some(endpoint) = variable("HF_ENDPOINT") {
            options.endpoint = endpoint.trim().trim_end_matches('/').to_owned();
        }
        options.token = token
            .map(|token| token.trim().to_owned())
            .filter(|token| !token.is_empty());
        options.offline = variable("HF_HUB_OFFLINE").is_some_and(|value| {
            matches!(
                value.trim().to_uppercase().as_str(),
                "1" | "ON" | "YES" | "TRUE"
            )
        });
        options
    }
}

impl fmt::Debug for HubOptions {
    /// The token stays secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubOptions")
            .field("endpoint", &self.endpoint)
            .field("cache", &self.cache)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("offline", &self.offline)
            .field("retries", &self.retries)
            .field("backoff", &self.backoff)
            .field("timeout", &self.timeout)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(variables: &[(&str, &str)]) -> HubOptions {
        HubOptions::from_variables(|name| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_environment_decides_as_for_other_tools() {
        let plain = options(&[("HOME", "/home/ada")]);
        assert_eq!(plain, HubOptions::new("/home/ada/.cache/huggingface/hub"));

        let all = options(&[
            ("HOME", "/home/ada"),
            ("HF_HOME", "/data/hf"),
            ("HF_ENDPOINT", "https://mirror.example/"),
            ("HF_TOKEN", " secret\n"),
            ("HF_HUB_OFFLINE", "true"),
        ]);
        assert_eq!(all.cache, PathBuf::from("/data/hf/hub"));
        assert_eq!(all.endpoint, "https://mirror.example");
        assert_eq!(all.token.as_deref(), Some("secret"));
        assert!(all.offline);
        assert!(!format!("{all:?}").contains("secret"));

        assert_eq!(
            options(&[("HF_HUB_CACHE", "/c")]).cache,
            PathBuf::from("/c")
        );
        assert!(!options(&[("HF_HUB_OFFLINE", "0")]).offline);
    }

    #[test]
    fn the_token_file_is_read() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("token"), "from-file\n").unwrap();
        let home = home.path().to_str().unwrap();
        assert_eq!(
            options(&[("HF_HOME", home)]).token.as_deref(),
            Some("from-file")
        );
        let both = options(&[("HF_HOME", home), ("HF_TOKEN", "variable")]);
        assert_eq!(both.token.as_deref(), Some("variable"));
    }
}
