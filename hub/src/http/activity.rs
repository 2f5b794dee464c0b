//! Whether a connection is of any use: HTTP/2 would keep it for ever, as long as the client answers pings, whether it asks for
//! anything or not, and whether it takes the answer or not.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;

/// How much of an answer is given at a time where its client is timed: who takes less while our patience lasts is given up.
const PIECE: usize = 16 << 10;

/// Counts the requests of one connection. Clones count together.
#[derive(Debug, Clone, Default)]
pub(super) struct Activity(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    begun: AtomicU64,
    ended: AtomicU64,
    /// Answers that wait for their client to take the last piece, by the number of the request, and since when.
    given: Mutex<HashMap<u64, Instant>>,
}

/// A request in work, up to the last byte of its answer.
struct Request {
    activity: Activity,
    number: u64,
}

/// A body that keeps its request in work.
struct Answer {
    body: Body,
    /// What was not given yet of the last frame, where the client is timed.
    rest: Option<Bytes>,
    request: Request,
}

impl Activity {
    /// Counts a request as in work until its answer is sent. Where `timed`, [`stalled`](Self::stalled) looks after it.
    pub(super) fn during<F, E>(&self, timed: bool, answer: F) -> impl Future<Output = Result<Response, E>> + use<F, E>
    where
        F: Future<Output = Result<Response, E>>,
    {
        let number = self.0.begun.fetch_add(1, Relaxed);
        let request = Request { activity: self.clone(), number };
        let rest = timed.then(Bytes::new);
        async move { Ok(answer.await?.map(|body| Body::new(Answer { body, rest, request }))) }
    }

    /// Completes when the client takes nothing of an answer for `patience`, after twice that time at most. HTTP/2 needs it: a client
    /// that reads may still leave the window of a stream closed.
    pub(super) async fn stalled(&self, patience: Duration) {
        loop {
            let oldest = self.0.given.lock().values().min().copied();
            let waited = oldest.map_or(Duration::ZERO, |since| since.elapsed());
            if waited >= patience && oldest.is_some() {
                return;
            }
            tokio::time::sleep(patience - waited).await;
        }
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
        let counts = &self.activity.0;
        counts.ended.fetch_add(1, Relaxed);
        counts.given.lock().remove(&self.number);
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let Some(rest) = &mut this.rest else { return Pin::new(&mut this.body).poll_frame(cx) };
        let given = &this.request.activity.0.given;
        // It is asked for more, so the client has taken what it was given.
        given.lock().remove(&this.request.number);
        if rest.is_empty() {
            match ready!(Pin::new(&mut this.body).poll_frame(cx)).map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => *rest = data,
                Some(Ok(Err(other))) => return Poll::Ready(Some(Ok(other))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        given.lock().insert(this.request.number, Instant::now());
        Poll::Ready(Some(Ok(Frame::data(rest.split_to(rest.len().min(PIECE))))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.as_ref().is_none_or(Bytes::is_empty) && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.as_ref().map_or(0, Bytes::len) as u64;
        let (body, mut hint) = (self.body.size_hint(), SizeHint::new());
        hint.set_lower(body.lower().saturating_add(rest));
        if let Some(upper) = body.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
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
        let answer =
            activity.during(false, async { Ok::<_, Infallible>(Response::new(Body::from("x"))) }).await.unwrap();
        let waiting = idle(&activity);
        tokio::time::sleep(timeout * 10).await;
        assert!(!waiting.is_finished(), "the answer is not sent yet");
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "x");
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn an_answer_is_given_in_pieces_and_stalled_when_no_other_is_asked_for() {
        let activity = Activity::default();
        let long = Bytes::from_iter((0..3 * PIECE + 1).map(|n| n as u8));
        let of = long.clone();
        let answer = activity.during(true, async { Ok::<_, Infallible>(Response::new(Body::from(of))) }).await.unwrap();
        let mut body = answer.into_body();
        assert_eq!(http_body::Body::size_hint(&body).exact(), Some(long.len() as u64));
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first.len(), PIECE);
        activity.stalled(Duration::from_millis(20)).await;
        let rest = body.collect().await.unwrap().to_bytes();
        assert_eq!([first, rest].concat(), long);
        assert!(activity.0.given.lock().is_empty());
    }
}
