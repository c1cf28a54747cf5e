//! HTTP for people: `curl -X PUT -d value host:port/kv/key`, `curl host:port/kv/key`, `/status`, `/metrics`.
//! `PUT /kv/key?claim` puts the value only if there is none.
//!
//! An error of the library becomes a status that says what to do: 503 when the command was definitely
//! not executed, 504 when nobody can say.

use std::sync::Arc;

use anyhow::Context;
use axum::{
    Json, Router,
    extract::{Path, Query as Parameters, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Deserialize;
use sixbells::Error;

use crate::{
    kv::{Answer, Command, Query},
    node::Running,
};

#[derive(Deserialize)]
struct Reading {
    /// `?local` asks this node's own state, as old as it may be.
    local: Option<String>,
    /// `?stable` asks, in eventual mode, the state that nothing will revoke.
    stable: Option<String>,
}

#[derive(Deserialize)]
struct Writing {
    /// `?once=...` names the request, so that it may be sent again without a second effect.
    once: Option<String>,
    /// `?claim` leaves a value that is there alone, and says what it is.
    claim: Option<String>,
}

type Shared = State<Arc<Running>>;

pub(crate) async fn serve(
    addr: &str,
    node: Arc<Running>,
    metrics: PrometheusHandle,
) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind(addr).await;
    let listener = listener.with_context(|| format!("listen for HTTP on {addr}"))?;
    let routes = Router::new()
        .route("/kv/{key}", get(read).put(write).delete(delete))
        .route("/status", get(async |State(node): Shared| Json(node.status())))
        .route("/metrics", get(async move || metrics.render()))
        .with_state(node);
    Ok(axum::serve(listener, routes).await?)
}

async fn read(
    State(node): Shared,
    Path(key): Path<String>,
    Parameters(Reading { local, stable }): Parameters<Reading>,
) -> Response {
    let query = Query::Get(key);
    let answer = match (local, stable) {
        (Some(_), _) => node.handle().read_local(query).await,
        (None, Some(_)) => node.read_stable(query).await,
        (None, None) => node.handle().read(query).await,
    };
    match answer {
        Ok(Answer::Value(Some(value))) => value.into_response(),
        Ok(_) => (StatusCode::NOT_FOUND, "no such key\n").into_response(),
        Err(error) => failed(&error),
    }
}

async fn write(
    State(node): Shared,
    Path(key): Path<String>,
    Parameters(Writing { once, claim }): Parameters<Writing>,
    value: String,
) -> Response {
    let command = match claim {
        Some(_) => Command::Claim(key, value),
        None => Command::Put(key, value),
    };
    let done = match once {
        Some(request) => node.handle().write_once(request, command).await,
        None => node.handle().write(command).await,
    };
    previous(done)
}

async fn delete(State(node): Shared, Path(key): Path<String>) -> Response {
    previous(node.handle().write(Command::Delete(key)).await)
}

fn previous(done: Result<Option<String>, Error>) -> Response {
    match done {
        Ok(before) => format!("ok, was {before:?}\n").into_response(),
        Err(error) => failed(&error),
    }
}

fn failed(error: &Error) -> Response {
    let status = match error {
        Error::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        error if error.is_definite() => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::GATEWAY_TIMEOUT,
    };
    (status, format!("{error}\n")).into_response()
}
