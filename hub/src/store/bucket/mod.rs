//! Stores in buckets of S3, or of what speaks it.

use std::fmt;
use std::str::FromStr;

use reqwest::Url;

mod open;
mod probe;

#[cfg(feature = "lake")]
pub(crate) use open::bucket_of_files;
pub use open::open_bucket;
pub(super) use open::{open, open_to_read};

/// A bucket, as people write it: `s3://bucket/prefix?endpoint=http://127.0.0.1:9000&region=eu-central-1`. There is never a
/// secret in it: credentials come from the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketUrl {
    bucket: String,
    /// Without a slash at either end; may be empty.
    prefix: String,
    /// `http://host:port`; AWS where there is none.
    endpoint: Option<Url>,
    region: Option<String>,
}

/// What the environment must hold, for messages.
const CREDENTIALS: &str =
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN where they are temporary)";

const EXAMPLE: &str = "s3://bucket/prefix?region=eu-central-1, or s3://bucket/prefix?endpoint=http://127.0.0.1:9000";

impl BucketUrl {
    /// Whether addresses of this scheme name buckets.
    pub(super) fn is_scheme(scheme: &str) -> bool {
        scheme == "s3"
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let slot = match key {
            "endpoint" => {
                self.endpoint = Some(endpoint(value)?);
                return Ok(());
            }
            "region" => &mut self.region,
            // A value of such a key is never repeated.
            _ if ["key", "secret", "token", "password"].iter().any(|word| key.to_lowercase().contains(word)) => {
                return Err(format!(
                    "?{key}= puts a secret into the store's address, where lists of processes and logs show it; set {CREDENTIALS} instead"
                ));
            }
            _ => return Err(format!("a bucket has no ?{key}=; there are endpoint and region: {EXAMPLE}")),
        };
        if value.is_empty() {
            return Err(format!("?{key}= is empty; leave it out, or write for example {EXAMPLE}"));
        }
        *slot = Some(value.to_owned());
        Ok(())
    }
}

fn endpoint(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let Some(url) = url else {
        return Err(
            "?endpoint= is not the address of a server; write for example ?endpoint=http://127.0.0.1:9000".into()
        );
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!("?endpoint= has a user or a password in it; leave them out, and set {CREDENTIALS}"));
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(format!("?endpoint={text} must end after its port; the bucket comes first: {EXAMPLE}"));
    }
    Ok(url)
}

impl FromStr for BucketUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Before anything else, so that no message repeats a password.
        let authority =
            text.split_once("://").map_or("", |(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or(rest));
        if authority.contains('@') {
            return Err(format!(
                "the store's address has a user or a password before its bucket; leave them out, and set {CREDENTIALS}"
            ));
        }
        if let Some((bucket, _)) = authority.split_once(':') {
            return Err(format!(
                "s3://{bucket} is a bucket and has no port; a server of your own is named by ?endpoint=: {EXAMPLE}"
            ));
        }
        let url = Url::parse(text).map_err(|error| format!("it names no bucket ({error}); write {EXAMPLE}"))?;
        let bucket = url.host_str().filter(|bucket| !bucket.is_empty());
        let Some(bucket) = bucket else { return Err(format!("it names no bucket; write {EXAMPLE}")) };
        if bucket.ends_with("--x-s3") {
            return Err(format!(
                "{bucket} is a directory bucket (S3 Express), which does not list in the order of names; take a general purpose bucket"
            ));
        }
        if url.fragment().is_some() {
            return Err(format!("a bucket's address has no #; write {EXAMPLE}"));
        }
        let prefix = percent_encoding::percent_decode_str(url.path().trim_matches('/')).decode_utf8();
        let prefix = prefix.map_err(|_| "the prefix is not UTF-8".to_owned())?.into_owned();
        if prefix.split('/').any(|part| part == "." || part == "..") || prefix.contains("//") {
            return Err(format!("the prefix {prefix:?} has an empty part, . or .. in it"));
        }
        let mut found = Self { bucket: bucket.to_owned(), prefix, endpoint: None, region: None };
        for (key, value) in url.query_pairs() {
            found.set(&key, &value)?;
        }
        Ok(found)
    }
}

impl fmt::Display for BucketUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "s3://{}", self.bucket)?;
        if !self.prefix.is_empty() {
            write!(out, "/{}", self.prefix)?;
        }
        let endpoint = self.endpoint.as_ref().map(|url| ("endpoint", url.as_str().trim_end_matches('/')));
        let region = self.region.as_deref().map(|region| ("region", region));
        for (index, (key, value)) in endpoint.into_iter().chain(region).enumerate() {
            write!(out, "{}{key}={value}", if index == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_comes_back_as_it_was_written() {
        for text in [
            "s3://bucket",
            "s3://bucket/a/b",
            "s3://bucket_1/a?endpoint=http://127.0.0.1:9000",
            "s3://bucket?endpoint=https://s3.example&region=eu-central-1",
        ] {
            let url: BucketUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), text);
            assert_eq!(url.to_string().parse::<BucketUrl>().unwrap(), url);
        }
        assert_eq!("s3://bucket/".parse::<BucketUrl>(), "s3://bucket".parse());
    }

    #[test]
    fn what_is_wrong_with_an_address_is_said_without_its_secrets() {
        for (text, words) in [
            ("s3://", "names no bucket"),
            ("s3:///prefix", "names no bucket"),
            ("s3://user:hunter2@bucket/x", "AWS_ACCESS_KEY_ID"),
            ("s3://bucket?secret_access_key=hunter2", "AWS_SECRET_ACCESS_KEY"),
            ("s3://bucket?endpoint=http://user:hunter2@host", "AWS_ACCESS_KEY_ID"),
            ("s3://bucket?endpoint=127.0.0.1:9000", "?endpoint=http://"),
            ("s3://bucket?endpoint=http://host/bucket", "end after its port"),
            ("s3://localhost:9000/bucket", "?endpoint="),
            ("s3://bucket?regoin=x", "endpoint and region"),
            ("s3://bucket?region=", "empty"),
            ("s3://bucket/a//b", "empty part"),
            ("s3://fast--use1-az4--x-s3/a", "general purpose"),
        ] {
            let error = text.parse::<BucketUrl>().unwrap_err();
            assert!(error.contains(words) && !error.contains("hunter2"), "{text}: {error}");
        }
    }
}
