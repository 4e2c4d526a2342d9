//! The paths of the HTTP side, and who may ask for which.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{any, get};
use mesh::id::Address;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{Shared, page, ws};
use crate::session::counters::Count;
use crate::telemetry;

/// What the front cannot answer itself. Whoever holds the machine answers; a dropped answer is told
/// as 503.
#[derive(Debug)]
pub enum Ask {
    /// `/readyz`: whether clients are welcome, or why not, in a sentence.
    Ready(oneshot::Sender<Result<(), String>>),
    /// `/metrics`: all of it, as Prometheus text.
    Metrics(oneshot::Sender<String>),
    /// `/api/mesh`: the JSON.
    Mesh(oneshot::Sender<String>),
    /// `/api/route/@user`: the JSON.
    Route(Address, oneshot::Sender<String>),
}

/// How long an answer is waited for.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// What one listener answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Face {
    /// Clients, and the operator's pages.
    All,
    /// Clients only.
    Clients,
    /// The operator's pages only.
    Admin,
}

/// One listener's side of the front.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) shared: Arc<Shared>,
    pub(super) face: Face,
    /// It is bound to a loopback address: `Host` is checked.
    pub(super) loopback: bool,
}

/// The paths of a listener.
pub(super) fn router(site: Arc<Site>) -> Router {
    let mut router = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/assets/{file}", get(asset))
        .route("/metrics", get(metrics))
        .route("/mesh", get(mesh_page))
        .route("/api/mesh", get(mesh))
        .route("/api/route/{address}", get(route))
        .route("/api/{*rest}", any(not_in_api));
    if site.face != Face::Admin {
        router = router.route("/", get(index)).route("/ws", any(ws::upgrade));
    }
    router
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .layer(from_fn_with_state(site.clone(), guard))
        .with_state(site)
}

/// What holds for every path: the `Host` on loopback, and where the operator's pages answer.
async fn guard(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    let shared = &site.shared;
    if site.loopback && !shared.allowed.takes_host(request.headers()) {
        shared.counters.add(Count::RefusedHost);
        let text =
            "this node listens on this machine only and is not called that; see --allow-origin";
        return sentence(StatusCode::FORBIDDEN, text);
    }
    if site.face == Face::Clients && is_admin(request.uri().path()) {
        shared.counters.add(Count::RefusedAdmin);
        let text = "this is answered on --admin-listen only";
        return sentence(StatusCode::FORBIDDEN, text);
    }
    next.run(request).await
}

fn is_admin(path: &str) -> bool {
    matches!(path, "/metrics" | "/mesh" | "/api") || path.starts_with("/api/")
}

async fn index() -> Response {
    page::INDEX.response()
}

async fn mesh_page() -> Response {
    page::MESH.response()
}

async fn asset(Path(file): Path<String>) -> Response {
    match page::asset(&file) {
        Some(asset) => asset.response(),
        None => sentence(StatusCode::NOT_FOUND, "no such file"),
    }
}

async fn healthz() -> Response {
    sentence(StatusCode::OK, "ok")
}

async fn readyz(State(site): State<Arc<Site>>) -> Response {
    if site.shared.is_stopping() {
        return sentence(StatusCode::SERVICE_UNAVAILABLE, "the node is stopping");
    }
    match ask(&site.shared, Ask::Ready).await {
        Some(Ok(())) => sentence(StatusCode::OK, "ready"),
        Some(Err(why)) => sentence(StatusCode::SERVICE_UNAVAILABLE, &why),
        None => no_answer(),
    }
}

async fn metrics(State(site): State<Arc<Site>>) -> Response {
    match ask(&site.shared, Ask::Metrics).await {
        Some(text) => answer(StatusCode::OK, telemetry::metrics::CONTENT_TYPE, text),
        None => no_answer(),
    }
}

async fn mesh(State(site): State<Arc<Site>>) -> Response {
    match ask(&site.shared, Ask::Mesh).await {
        Some(json) => answer(StatusCode::OK, JSON, json),
        None => no_answer(),
    }
}

async fn route(State(site): State<Arc<Site>>, Path(address): Path<String>) -> Response {
    let address: Address = match address.parse() {
        Ok(address) => address,
        Err(error) => {
            return sentence(StatusCode::BAD_REQUEST, &error.to_string());
        }
    };
    match ask(&site.shared, |answer| Ask::Route(address, answer)).await {
        Some(json) => answer(StatusCode::OK, JSON, json),
        None => no_answer(),
    }
}

async fn not_in_api() -> Response {
    let text = "no such path; the API has /api/mesh and /api/route/@user";
    sentence(StatusCode::NOT_FOUND, text)
}

async fn not_found() -> Response {
    sentence(StatusCode::NOT_FOUND, "no such path")
}

async fn not_allowed() -> Response {
    sentence(StatusCode::METHOD_NOT_ALLOWED, "this path is for GET")
}

async fn ask<T>(shared: &Shared, question: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Option<T> {
    let (sender, receiver) = oneshot::channel();
    let asking = async {
        shared.ask.send(question(sender)).await.ok()?;
        receiver.await.ok()
    };
    timeout(ASK_TIMEOUT, asking).await.ok()?
}

fn no_answer() -> Response {
    let text = "the node does not answer at present";
    sentence(StatusCode::SERVICE_UNAVAILABLE, text)
}

const JSON: &str = "application/json";

/// An answer in one sentence.
pub(super) fn sentence(status: StatusCode, text: &str) -> Response {
    answer(status, "text/plain; charset=utf-8", format!("{text}\n"))
}

fn answer(status: StatusCode, kind: &'static str, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
