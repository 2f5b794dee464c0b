//! Opening a bucket.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::client::{HttpClient, HttpConnector};
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use pyralog_service::tls::client::ClientTls;
use pyralog_service::tls::install_provider;

use super::probe::{self, Fault};
use super::{BucketUrl, CREDENTIALS};
use crate::store::{ObjectsStore, OpenError, SharedStore, StoreError};

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(3);

/// How long one request may take, its body included: the largest entry, over a slow line.
const REQUEST: Duration = Duration::from_secs(10);

/// The same for a file of a lake.
#[cfg(feature = "lake")]
const FILE: Duration = Duration::from_secs(300);

/// After this no request is tried again: agents keep their data, and are told to come back rather than to wait.
const RETRIES: RetryConfig = RetryConfig {
    backoff: BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(1), base: 2.0 },
    max_retries: 3,
    retry_timeout: Duration::from_secs(5),
};

/// Opens the bucket at `url` for a hub, with what the process's environment says of AWS.
pub(in crate::store) async fn open(url: &BucketUrl) -> Result<SharedStore, OpenError> {
    Ok(Arc::new(open_bucket(url, own_environment()).await?))
}

/// The same, without writing anything: for those who only look.
pub(in crate::store) async fn open_to_read(url: &BucketUrl) -> Result<SharedStore, OpenError> {
    let Connected { objects, named } = connect(url, own_environment(), REQUEST)?;
    match probe::holds_something(&*objects).await.map_err(|fault| explained(url, named, fault))? {
        true => Ok(Arc::new(ObjectsStore::new(objects, url.to_string()))),
        false => Err(OpenError::Unfit(format!("there is no store at {url}: nothing is there"))),
    }
}

/// Opens the bucket at `url` for a hub: it must be there, and create an object only if it is not there. `environment` has the
/// variables of AWS, credentials among them.
///
/// # Errors
/// When the bucket is not to be had, or two hubs could overwrite each other's commits in it.
pub async fn open_bucket(
    url: &BucketUrl,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<ObjectsStore, OpenError> {
    let Connected { objects, named } = connect(url, environment, REQUEST)?;
    probe::keeps_what_is_created(&*objects).await.map_err(|fault| explained(url, named, fault))?;
    Ok(ObjectsStore::new(objects, url.to_string()).with_mark(probe::mark()))
}

/// A bucket for files that may be larger than a store's objects, after a look whether it is there.
///
/// # Errors
/// When it is not to be had.
#[cfg(feature = "lake")]
pub(crate) async fn bucket_of_files(url: &BucketUrl) -> Result<Arc<dyn ObjectStore>, OpenError> {
    let Connected { objects, named } = connect(url, own_environment(), FILE)?;
    probe::holds_something(&*objects).await.map_err(|fault| explained(url, named, fault))?;
    Ok(objects)
}

fn own_environment() -> impl Iterator<Item = (String, String)> {
    // Variables that are not UTF-8 are none of ours.
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

struct Connected {
    objects: Arc<dyn ObjectStore>,
    /// Whether the environment names credentials; else they are what a cloud hands out to its machines.
    named: bool,
}

fn connect(
    url: &BucketUrl,
    environment: impl IntoIterator<Item = (String, String)>,
    timeout: Duration,
) -> Result<Connected, OpenError> {
    let unfit = |error: &dyn std::fmt::Display| OpenError::Unfit(format!("{url} cannot be used: {error}"));
    let (mut builder, mut tls) = (AmazonS3Builder::new(), ClientTls::default());
    for (name, value) in environment {
        if name == "AWS_CA_BUNDLE" {
            tls.ca = Some(PathBuf::from(&value));
        }
        let key = name.starts_with("AWS_").then(|| name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>().ok());
        if let Some(key) = key.flatten() {
            builder = builder.with_config(key, value);
        }
    }
    builder =
        builder.with_bucket_name(&url.bucket).with_retry(RETRIES).with_conditional_put(S3ConditionalPut::ETagMatch);
    // Not every server has the request that deletes many at once.
    builder = builder.with_disable_bulk_delete(true).with_disable_tagging(true);
    if let Some(endpoint) = &url.endpoint {
        builder = builder.with_endpoint(endpoint.as_str().trim_end_matches('/'));
    }
    if let Some(region) = &url.region {
        builder = builder.with_region(region);
    }
    use AmazonS3ConfigKey as Key;
    let sources = [Key::AccessKeyId, Key::WebIdentityTokenFile, Key::ContainerCredentialsRelativeUri];
    let sources = sources.into_iter().chain([Key::ContainerCredentialsFullUri, Key::SkipSignature]);
    let named = sources.into_iter().any(|key| builder.get_config_value(&key).is_some_and(|value| value != "false"));
    // Signed requests may go in the clear only where that was asked for.
    let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint);
    let in_the_clear = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
    builder = builder.with_allow_http(in_the_clear).with_http_connector(Connector { tls, timeout });
    let bucket = builder.build().map_err(|error| unfit(&error))?;
    Ok(Connected { objects: Arc::new(PrefixStore::new(bucket, url.prefix.as_str())), named })
}

/// Makes the HTTP client as the rest of the hub makes its own: the same TLS, the same authorities.
#[derive(Debug)]
struct Connector {
    tls: ClientTls,
    timeout: Duration,
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        install_provider();
        let fail =
            |source: Box<dyn std::error::Error + Send + Sync>| object_store::Error::Generic { store: "S3", source };
        let builder = reqwest::Client::builder()
            .http1_only()
            .user_agent(concat!("pyralog-hub/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .timeout(self.timeout)
            // A signature is for one address.
            .redirect(reqwest::redirect::Policy::none());
        let builder = self.tls.apply(builder).map_err(|error| fail(format!("AWS_CA_BUNDLE: {error}").into()))?;
        Ok(HttpClient::new(builder.build().map_err(|error| fail(error.into()))?))
    }
}

/// What is wrong with a bucket, and what to do about it.
fn explained(url: &BucketUrl, named: bool, fault: Fault) -> OpenError {
    let bucket = &url.bucket;
    OpenError::Unfit(match fault {
        Fault::Missing => {
            format!(
                "{url}: there is no bucket {bucket}: create it, or correct its name (and ?region=, ?endpoint= in it)"
            )
        }
        Fault::Denied { reason } => format!(
            "{url} does not let this hub in ({reason}): set {CREDENTIALS}; they must allow s3:ListBucket on {bucket}, and s3:GetObject, \
             s3:PutObject and s3:DeleteObject on what is in it"
        ),
        Fault::Region { reason } => {
            format!("{url} is not where it was looked for ({reason}): name its region, s3://{bucket}?region=…")
        }
        Fault::Overwrites => format!(
            "{url} overwrites objects that exist: it ignores If-None-Match, so two hubs could overwrite each other's commits; \
             take a server that honours it (Amazon S3, MinIO, Cloudflare R2), or a directory"
        ),
        Fault::Disorder => format!(
            "{url} does not list objects in the order of their names from a given one on, which finding the end of a log rests on; take \
             a server that does (Amazon S3's general purpose buckets, MinIO, Cloudflare R2), or a directory"
        ),
        Fault::Away { reason, .. } if !named => format!(
            "{url} is away, or this machine gets no credentials of its own from a cloud ({reason}): set {CREDENTIALS}"
        ),
        Fault::Away { action, name, reason } => {
            return OpenError::Store(StoreError::Unavailable { action, name: format!("{name} in {url}"), reason });
        }
    })
}
