//! Requests of any path, query, headers and body to the routers of agent and hub.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt, Limited};
use object_store::memory::InMemory;
use pyralog_agent::http::{Access, Api, HttpCounters, Limits, router};
use pyralog_agent::metrics::Metrics;
use pyralog_agent::ring::Ring;
use pyralog_agent::status::StatusSource;
use pyralog_agent::sync::SyncShared;
use pyralog_hub::auth::Auth;
use pyralog_hub::config::Config;
use pyralog_hub::http::App;
use pyralog_hub::store::ObjectsStore;
use tower_service::Service;

use crate::bytes_in::Input;
use crate::ring::{ring, settle};

/// Requests in one input.
const MAX_REQUESTS: usize = 4;

/// Bytes that an answer may have: what these requests can have put in, rendered, and metrics and pages.
const MAX_ANSWER: usize = 4 << 20;

/// The first byte chooses the program. Then, for each request: a byte for the method, and length-prefixed target, headers in
/// lines, and body.
pub fn http(data: &[u8]) {
    let mut input = Input(data);
    let is_agent = input.byte() % 2 == 0;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        match is_agent {
            true => {
                let (ring, app) = agent();
                ask(app, &mut input).await;
                settle(&ring);
            }
            false => ask(hub(), &mut input).await,
        }
    });
}

fn agent() -> (Ring, Router) {
    let (ring, clock) = ring();
    let counters = Arc::new(HttpCounters::default());
    let status = Arc::new(StatusSource {
        agent_id: "fuzz".to_owned(),
        incarnation: [7; 16],
        started: Instant::now(),
        ring: ring.clone(),
        clock,
        device_clock: Arc::default(),
        sidecar: Arc::default(),
        sync: Arc::new(SyncShared::default()),
    });
    let api = Api {
        ring: ring.clone(),
        clock,
        access: Arc::new(Access::default()),
        limits: Limits { max_body: 1 << 20, body_timeout: Duration::from_secs(5) },
        metrics: Arc::new(Metrics::new(Arc::clone(&status), Arc::clone(&counters), Vec::new())),
        status,
        counters,
        stopping: tokio::sync::watch::channel(false).1,
    };
    (ring, router(api))
}

fn hub() -> Router {
    let store = Arc::new(ObjectsStore::new(Arc::new(InMemory::new()), "memory"));
    App::new(&Config::default(), store, Auth::open(None).unwrap()).router()
}

async fn ask(mut app: Router, input: &mut Input<'_>) {
    for _ in 0..MAX_REQUESTS {
        if input.is_empty() {
            break;
        }
        let Some(request) = request(input) else { continue };
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let Ok(response) = app.call(request).await;
        let status = response.status();
        assert!(status != 500 && status.as_u16() < 600, "{method} {uri}: {status}");
        // An answer whose body breaks off is an answer; one that does not end is not.
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let endless = body.err().is_some_and(|error| error.is::<http_body_util::LengthLimitError>());
        assert!(!endless, "{method} {uri}: an answer of more than {MAX_ANSWER} bytes");
    }
}

/// The next request, if it is one that a server would hand to its router.
fn request(input: &mut Input<'_>) -> Option<Request<Body>> {
    let methods = [Method::GET, Method::POST, Method::POST, Method::GET, Method::HEAD, Method::PUT, Method::OPTIONS];
    let method = methods[usize::from(input.byte()) % methods.len()].clone();
    let (target, headers, body) = (input.piece(), input.piece(), input.piece());
    let uri = Uri::try_from(target).ok().filter(|uri| uri.path().starts_with('/'))?;
    let mut request = Request::builder().method(method).uri(uri).body(Body::from(body.to_vec())).ok()?;
    for line in headers.split(|byte| *byte == b'\n') {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (name, value) = (parts.next()?, parts.next().unwrap_or_default());
        let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value.trim_ascii())) else {
            continue;
        };
        request.headers_mut().append(name, value);
    }
    Some(request)
}
