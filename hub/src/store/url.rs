//! The address of a store, as people write it.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::{bucket::BucketUrl, jetstream::JetStreamUrl};

/// Where entries are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// A directory of the local file system.
    Directory(PathBuf),
    /// A bucket of an object store.
    Bucket(BucketUrl),
    /// Streams of a NATS cluster.
    JetStream(JetStreamUrl),
}

/// Why an address names no store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreUrlError {
    /// Nothing was given.
    #[error("the store's address is empty; write a directory such as /var/lib/pyralog-hub")]
    Empty,
    /// A `file:` address with a host or without an absolute path.
    #[error("{0:?} names no local directory; write file:///absolute/path or a plain path")]
    NotLocal(String),
    /// A scheme of which this build knows nothing.
    #[error(
        "this build has no store for {0:?}; write file:///path or a plain path, s3://bucket/prefix, or nats://host:4222/STREAM"
    )]
    UnknownScheme(String),
    /// An address of a known kind with something wrong in it.
    #[error("{0}")]
    Wrong(String),
}

/// The directory used when none is named: `$XDG_DATA_HOME/pyralog-hub`, or `~/.local/share/pyralog-hub`, or
/// `./pyralog-store`.
pub fn default_directory() -> PathBuf {
    let absolute = |key: &str| std::env::var_os(key).map(PathBuf::from).filter(|path| path.is_absolute());
    if let Some(data) = absolute("XDG_DATA_HOME") {
        return data.join("pyralog-hub");
    }
    match absolute("HOME") {
        Some(home) => home.join(".local/share/pyralog-hub"),
        None => PathBuf::from("pyralog-store"),
    }
}

impl FromStr for StoreUrl {
    type Err = StoreUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if text.is_empty() {
            return Err(StoreUrlError::Empty);
        }
        if let Some(rest) = text.strip_prefix("file:") {
            let path = match rest.strip_prefix("//") {
                Some(with_host) => with_host.strip_prefix("localhost").unwrap_or(with_host),
                None => rest,
            };
            if !path.starts_with('/') {
                return Err(StoreUrlError::NotLocal(text.into()));
            }
            let path = percent_encoding::percent_decode_str(path)
                .decode_utf8()
                .map_err(|_| StoreUrlError::NotLocal(text.into()))?;
            return Ok(Self::Directory(PathBuf::from(path.as_ref())));
        }
        match text.split_once("://") {
            Some(("nats" | "tls", _)) => text.parse().map(Self::JetStream).map_err(StoreUrlError::Wrong),
            Some((scheme, _)) if BucketUrl::is_scheme(scheme) => {
                text.parse().map(Self::Bucket).map_err(StoreUrlError::Wrong)
            }
            Some((scheme, _)) => Err(StoreUrlError::UnknownScheme(format!("{scheme}://"))),
            None => Ok(Self::Directory(PathBuf::from(text))),
        }
    }
}

impl From<&Path> for StoreUrl {
    fn from(path: &Path) -> Self {
        Self::Directory(path.to_path_buf())
    }
}

impl std::fmt::Display for StoreUrl {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Directory(path) => write!(out, "{}", path.display()),
            Self::Bucket(url) => url.fmt(out),
            Self::JetStream(url) => url.fmt(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_url_and_a_plain_path_name_the_same_directory() {
        let plain: StoreUrl = "/var/lib/a b".parse().unwrap();
        assert_eq!("file:///var/lib/a%20b".parse::<StoreUrl>().unwrap(), plain);
        assert_eq!("file://localhost/var/lib/a%20b".parse::<StoreUrl>().unwrap(), plain);
        assert_eq!("file:/var/lib/a%20b".parse::<StoreUrl>().unwrap(), plain);
    }

    #[test]
    fn what_names_no_store_says_what_to_write() {
        for (text, remedy) in [("", "write a directory"), ("file://host/x", "file:///"), ("gopher://x", "file:///path")]
        {
            let error = text.parse::<StoreUrl>().unwrap_err().to_string();
            assert!(error.contains(remedy), "{text}: {error}");
        }
    }
}
