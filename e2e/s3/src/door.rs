//! The server's door: counts requests, and can keep answers back.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use s3s::Body;
use s3s::service::S3Service;
use tokio::net::TcpListener;

/// Longest time that a request is held back.
const HELD: Duration = Duration::from_secs(60);

/// How many requests came, by what they asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pages of listings.
    pub lists: u64,
    /// Objects read.
    pub gets: u64,
    /// Objects looked at.
    pub heads: u64,
    /// Objects written, or refused as existing.
    pub puts: u64,
    /// Objects deleted.
    pub deletes: u64,
}

impl Counts {
    /// All of them.
    pub fn sum(&self) -> u64 {
        self.lists + self.gets + self.heads + self.puts + self.deletes
    }

    /// What came since `before`.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            lists: self.lists - before.lists,
            gets: self.gets - before.gets,
            heads: self.heads - before.heads,
            puts: self.puts - before.puts,
            deletes: self.deletes - before.deletes,
        }
    }
}

/// Ways to misbehave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Misbehave {
    /// It does as it should.
    #[default]
    Not,
    /// Replaces objects whatever `If-None-Match` says.
    IgnoreConditions,
    /// Lists from the first name, whatever `start-after` says.
    ListFromTheStart,
    /// Refuses the next put because of another that is under way (409), though there is none.
    Conflict,
    /// Does the next put, and hangs up instead of answering.
    SwallowAnswer,
    /// Does the next put, and says 503 all the same.
    DenyHavingDone,
    /// Takes requests and answers none.
    Hang,
    /// Answers 503 to everything.
    Unavailable,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    counts: Mutex<Counts>,
    how: Mutex<Misbehave>,
    /// Puts that a misbehaviour lets pass first.
    skip: Mutex<u64>,
}

impl State {
    pub(crate) fn counts(&self) -> Counts {
        *self.counts.lock()
    }

    pub(crate) fn misbehave(&self, how: Misbehave, skip: u64) {
        (*self.how.lock(), *self.skip.lock()) = (how, skip);
    }

    pub(crate) fn how(&self) -> Misbehave {
        *self.how.lock()
    }

    /// Whether this put is the one that `how` is for; the door behaves afterwards.
    pub(crate) fn is_up(&self, how: Misbehave) -> bool {
        let (mut current, mut skip) = (self.how.lock(), self.skip.lock());
        if *current != how {
            return false;
        }
        match skip.checked_sub(1) {
            Some(left) => *skip = left,
            None => {
                *current = Misbehave::Not;
                return true;
            }
        }
        false
    }

    fn count(&self, request: &Request<Incoming>) {
        let mut counts = self.counts.lock();
        let listing = request.uri().query().is_some_and(|query| query.contains("list-type"));
        let count = match *request.method() {
            Method::PUT => &mut counts.puts,
            Method::HEAD => &mut counts.heads,
            Method::DELETE => &mut counts.deletes,
            _ if listing => &mut counts.lists,
            _ => &mut counts.gets,
        };
        *count += 1;
    }
}

/// Serves until dropped.
pub(crate) async fn serve(listener: TcpListener, service: S3Service, state: Arc<State>) {
    loop {
        let Ok((socket, _)) = listener.accept().await else { continue };
        let (service, state) = (service.clone(), Arc::clone(&state));
        tokio::spawn(async move {
            let door = service_fn(move |request| {
                let (service, state) = (service.clone(), Arc::clone(&state));
                async move { answer(&service, &state, request).await }
            });
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), door).await;
        });
    }
}

/// An error hangs up.
async fn answer(service: &S3Service, state: &State, request: Request<Incoming>) -> Result<Response<Body>, io::Error> {
    state.count(&request);
    let put = *request.method() == Method::PUT;
    let unavailable = || {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response
    };
    match state.how() {
        Misbehave::Unavailable => return Ok(unavailable()),
        Misbehave::Hang => {
            tokio::time::sleep(HELD).await;
            return Err(io::Error::other("held back"));
        }
        _ => {}
    }
    let response = hyper::service::Service::call(service, request).await;
    match () {
        () if put && state.is_up(Misbehave::SwallowAnswer) => Err(io::Error::other("swallowed")),
        () if put && state.is_up(Misbehave::DenyHavingDone) => Ok(unavailable()),
        () => response.map_err(|error| io::Error::other(format!("{error:?}"))),
    }
}
