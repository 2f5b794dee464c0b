//! The clients of the cases.

pub mod flood;

use tokio::task::JoinSet;

use super::target::Target;
use crate::Result;

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
