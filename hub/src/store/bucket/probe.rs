//! What a bucket must do before a hub relies on it.

use object_store::path::Path;
use object_store::{Error as ObjectError, ObjectStore, PutMode, PutOptions, PutPayload};

use crate::store::listing::Listing;
use crate::store::names::{self, Digits};
use crate::store::words::{code, words};

/// What the objects say that are put to try a bucket.
const WORDS: &str =
    "Put here by pyralog-hub, to see that this bucket keeps what exists. Leave it: readiness looks at it.\n";

const DIGITS: Digits = Digits::Decimal(20);

/// Why a bucket is none for a hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is not there.
    Missing,
    /// The credentials are not good, or not good enough.
    Denied { reason: String },
    /// It is in another region.
    Region { reason: String },
    /// It replaces an object that was to be created only if absent.
    Overwrites,
    /// It does not list in order.
    Disorder,
    /// It does not answer, or not sensibly.
    Away { action: &'static str, name: String, reason: String },
}

/// The object that tells that the store is there.
pub(super) fn mark() -> Path {
    names::numbered(&folder(), DIGITS, 1)
}

fn folder() -> Path {
    Path::from("ready")
}

/// Puts what was put before, which must be refused; and lists from a name on.
pub(super) async fn keeps_what_is_created(objects: &dyn ObjectStore) -> Result<(), Fault> {
    // The first time says what is wrong with the bucket; whether it is there already does not matter.
    create(objects, &mark()).await?;
    if create(objects, &mark()).await? {
        return Err(Fault::Overwrites);
    }
    let folder = folder();
    create(objects, &names::numbered(&folder, DIGITS, 2)).await?;
    let listing = Listing { objects, folder: &folder, digits: DIGITS };
    let fault = |error| fault("list", &folder, &error);
    match (listing.numbers(0, 3).await.map_err(fault)?.as_slice(), listing.raw_from(2).await.map_err(fault)?) {
        ([1, 2], Some(2)) => Ok(()),
        _ => Err(Fault::Disorder),
    }
}

/// Whether there is anything at all.
pub(super) async fn holds_something(objects: &dyn ObjectStore) -> Result<bool, Fault> {
    let listed = objects.list_with_delimiter(None).await;
    let listed = listed.map_err(|error| fault("list", &Path::default(), &error))?;
    Ok(!listed.common_prefixes.is_empty() || !listed.objects.is_empty())
}

/// Whether this put created the object.
async fn create(objects: &dyn ObjectStore, name: &Path) -> Result<bool, Fault> {
    let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    match objects.put_opts(name, PutPayload::from_static(WORDS.as_bytes()), options).await {
        Ok(_) => Ok(true),
        Err(ObjectError::AlreadyExists { .. } | ObjectError::Precondition { .. }) => Ok(false),
        Err(error) => Err(fault("write", name, &error)),
    }
}

fn fault(action: &'static str, name: &Path, error: &ObjectError) -> Fault {
    let (text, reason) = (error.to_string(), words(error));
    match (error, code(&text)) {
        (_, Some("NoSuchBucket")) | (ObjectError::NotFound { .. }, _) => Fault::Missing,
        (_, Some("AuthorizationHeaderMalformed" | "PermanentRedirect" | "IllegalLocationConstraintException")) => {
            Fault::Region { reason }
        }
        (_, Some("ExpiredToken" | "InvalidToken" | "TokenRefreshRequired"))
        | (ObjectError::PermissionDenied { .. } | ObjectError::Unauthenticated { .. }, _) => Fault::Denied { reason },
        _ if text.contains("Received redirect") => Fault::Region { reason },
        _ => Fault::Away { action, name: name.to_string(), reason },
    }
}
