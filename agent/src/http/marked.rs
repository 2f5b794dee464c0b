//! Notes when a connection last had to do with a request, so that idle ones make room and busy ones are left in peace;
//! and tells requests where they come from.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

use super::auth::Peer;
use super::lobby::Guest;

/// The service of one connection.
#[derive(Clone)]
pub(super) struct Marked {
    service: TowerToHyperService<axum::Router>,
    guest: Arc<Guest>,
    peer: Peer,
}

impl Marked {
    pub(super) fn new(service: TowerToHyperService<axum::Router>, guest: &Arc<Guest>, peer: Peer) -> Self {
        Self { service, guest: Arc::clone(guest), peer }
    }
}

impl Service<Request<Incoming>> for Marked {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        self.guest.begin();
        request.extensions_mut().insert(self.peer);
        let guest = Arc::clone(&self.guest);
        let (answer, under_way) = (self.service.call(request), UnderWay(Arc::clone(&guest)));
        Box::pin(async move {
            let mut answer = answer.await?;
            if guest.is_last() {
                // Said beforehand, so that no request is on its way to a connection that closes.
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(answer.map(|body| Body::new(Answer { body, _under_way: under_way })))
        })
    }
}

/// A request, until its answer is written or given up.
struct UnderWay(Arc<Guest>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.end();
    }
}

struct Answer {
    body: Body,
    _under_way: UnderWay,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
