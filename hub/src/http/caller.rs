//! Who asks, taken from a request and from the connection that it came by.

use std::convert::Infallible;
use std::net::IpAddr;

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::auth::{Caller, Certificate};

/// Where a connection comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

/// The caller of a request. The server has put the connection's [`Certificate`] and [`Peer`] into its extensions.
pub(super) struct Asker(pub(super) Caller);

impl<S: Send + Sync> FromRequestParts<S> for Asker {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let certificate = parts.extensions.get::<Certificate>().cloned();
        let peer = parts.extensions.get::<Peer>().map(|Peer(peer)| *peer);
        Ok(Self(Caller { headers: parts.headers.clone(), certificate, peer }))
    }
}
