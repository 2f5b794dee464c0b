//! Whether a connection is of any use: HTTP/2 would keep it for ever, as long as the client answers pings.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;

/// Counts the requests of one connection. Clones count together.
#[derive(Debug, Clone, Default)]
pub(super) struct Activity(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// A request in work, up to the last byte of its answer.
struct Request(Activity);

/// A body that keeps its request in work.
struct Answer {
    body: Body,
    _request: Request,
}

impl Activity {
    /// Counts a request as in work until its answer is sent.
    pub(super) fn during<F, E>(&self, answer: F) -> impl Future<Output = Result<Response, E>> + use<F, E>
    where
        F: Future<Output = Result<Response, E>>,
    {
        self.0.begun.fetch_add(1, Relaxed);
        let request = Request(self.clone());
        async move { Ok(answer.await?.map(|body| Body::new(Answer { body, _request: request }))) }
    }

    /// Completes when no first request came within `first`, or when none was in work for `timeout`; the latter takes
    /// twice that time at most.
    pub(super) async fn idle(&self, first: Duration, timeout: Duration) {
        tokio::time::sleep(first.min(timeout)).await;
        let mut seen = 0;
        loop {
            let (ended, begun) = (self.0.ended.load(Relaxed), self.0.begun.load(Relaxed));
            // Nothing in work, and the same at the last look.
            if begun == ended && begun == seen {
                return;
            }
            seen = begun;
            tokio::time::sleep(timeout).await;
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.0.0.ended.fetch_add(1, Relaxed);
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_connection_is_idle_only_when_the_last_answer_is_sent_and_no_other_request_came() {
        let activity = Activity::default();
        let timeout = Duration::from_millis(20);
        let idle = |activity: &Activity| {
            let activity = activity.clone();
            tokio::spawn(async move { activity.idle(timeout, timeout).await })
        };
        idle(&activity).await.unwrap();
        let answer = activity.during(async { Ok::<_, Infallible>(Response::new(Body::from("x"))) }).await.unwrap();
        let waiting = idle(&activity);
        tokio::time::sleep(timeout * 10).await;
        assert!(!waiting.is_finished(), "the answer is not sent yet");
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "x");
        waiting.await.unwrap();
    }
}
