//! The clients of the cases.

pub mod arrow;
pub mod bombs;
pub mod connections;
pub mod flood;
pub mod handshakes;
pub mod loris;
pub mod mqtt;
pub mod queries;
pub mod shapes;

use std::time::Duration;

use tokio::task::JoinSet;

use super::target::Target;
use crate::Result;

/// Before a client that was sent away comes again.
const AGAIN: Duration = Duration::from_millis(500);

/// Runs `count` clients at once until the target's time is over. What a client meets it notes in the target's answers; an
/// error is a fault of the harness.
///
/// # Errors
/// The first of a client.
pub(crate) async fn many<F>(target: &Target, count: usize, client: impl Fn(Target, usize) -> F) -> Result<()>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let mut clients = JoinSet::new();
    for number in 0..count {
        let (target, work) = (target.clone(), client(target.clone(), number));
        clients.spawn(async move { target.within(work).await.unwrap_or(Ok(())) });
    }
    while let Some(done) = clients.join_next().await {
        done??;
    }
    Ok(())
}

/// Runs `count` clients that come one after the other within the first quarter of the time, and come again when they were
/// sent away: `visit` ends when the agent has enough of the client, and says how.
///
/// # Errors
/// None of its own.
pub(crate) async fn stubborn<F>(
    target: &Target,
    count: usize,
    visit: impl Fn(Target, usize) -> F + Clone + Send + 'static,
) -> Result<()>
where
    F: Future<Output = Result<String>> + Send,
{
    let pause = target.until.saturating_duration_since(std::time::Instant::now()) / 4 / u32::try_from(count)?;
    many(target, count, |target, number| {
        let visit = visit.clone();
        async move {
            tokio::time::sleep(pause * u32::try_from(number)?).await;
            loop {
                match visit(target.clone(), number).await {
                    Ok(end) => target.note(&end),
                    Err(error) => target.note(&error.to_string()),
                }
                tokio::time::sleep(AGAIN).await;
            }
        }
    })
    .await
}
