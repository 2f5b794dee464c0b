//! The fleet, one agent, one log's account.

use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::StatusCode;

use super::App;
use super::caller::Asker;
use super::query::Parameters;
use super::reply::{self, Failure, Names};
use crate::account;
use crate::auth::tokens::Scope;

/// Agents or logs in one answer, unless asked otherwise, and at most.
const PAGE: usize = 1_000;

pub(super) async fn list(State(app): State<App>, Asker(caller): Asker, query: RawQuery) -> Result<Response, Failure> {
    app.admit(&caller, Scope::Read, None)?;
    let (after, limit) = page(query)?;
    let fleet = account::agents(&*app.inner.store, after.as_deref(), limit).await?;
    Ok(reply::json(StatusCode::OK, &fleet))
}

pub(super) async fn agent(
    State(app): State<App>,
    Names(agent): Names<String>,
    Asker(caller): Asker,
    query: RawQuery,
) -> Result<Response, Failure> {
    app.admit(&caller, Scope::Read, Some(&agent))?;
    let (after, limit) = page(query)?;
    let account = account::agent(&*app.inner.store, &agent, after.as_deref(), limit).await?;
    Ok(reply::json(StatusCode::OK, &account))
}

pub(super) async fn log(
    State(app): State<App>,
    Names((agent, log)): Names<(String, String)>,
    Asker(caller): Asker,
    query: RawQuery,
) -> Result<Response, Failure> {
    app.admit(&caller, Scope::Read, Some(&agent))?;
    Parameters::parse(query.0.as_deref(), &[])?;
    let account = account::log(&*app.inner.store, &agent, &log).await?;
    Ok(reply::json(StatusCode::OK, &account))
}

fn page(query: RawQuery) -> Result<(Option<String>, usize), Failure> {
    let parameters = Parameters::parse(query.0.as_deref(), &["after", "limit"])?;
    let after = parameters.get("after", "a name", |text| Some(text.to_owned()))?;
    let in_range = |text: &str| text.parse().ok().filter(|limit| (1..=PAGE).contains(limit));
    let limit = parameters.get("limit", "a number from 1 to 1000", in_range)?.unwrap_or(PAGE);
    Ok((after, limit))
}
