//! The pages, embedded: they need nothing but this node.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use axum::http::header::{HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use axum::response::Response;

/// What a page may load: this node's own files, and sessions with any node that `bye` names. No other
/// site may show it in a frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// An embedded file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asset {
    name: &'static str,
    kind: &'static str,
    text: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The chat page.
pub(super) const INDEX: Asset = Asset {
    name: "index.html",
    kind: HTML,
    text: include_str!("../../web/index.html"),
};

/// The page of the mesh.
pub(super) const MESH: Asset = Asset {
    name: "mesh.html",
    kind: HTML,
    text: include_str!("../../web/mesh.html"),
};

/// What the pages load from `/assets/`.
const ASSETS: &[Asset] = &[
    Asset {
        name: "app.css",
        kind: CSS,
        text: include_str!("../../web/app.css"),
    },
    Asset {
        name: "app.js",
        kind: SCRIPT,
        text: include_str!("../../web/app.js"),
    },
    Asset {
        name: "client.js",
        kind: SCRIPT,
        text: include_str!("../../web/client.js"),
    },
    Asset {
        name: "icon.svg",
        kind: "image/svg+xml",
        text: include_str!("../../web/icon.svg"),
    },
    Asset {
        name: "mesh.css",
        kind: CSS,
        text: include_str!("../../web/mesh.css"),
    },
    Asset {
        name: "mesh.js",
        kind: SCRIPT,
        text: include_str!("../../web/mesh.js"),
    },
];

/// The file of that name under `/assets/`.
pub(super) fn asset(name: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.name == name)
}

impl Asset {
    /// The file as an answer. Browsers ask again each time, so that a new version of the node is a new
    /// version of the page.
    pub(super) fn response(&self) -> Response {
        let mut response = Response::new(Body::from(self.text));
        let headers: [(HeaderName, &'static str); 5] = [
            (CONTENT_TYPE, self.kind),
            (CACHE_CONTROL, "no-cache"),
            (CONTENT_SECURITY_POLICY, POLICY),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (REFERRER_POLICY, "no-referrer"),
        ];
        for (name, value) in headers {
            let value = HeaderValue::from_static(value);
            response.headers_mut().insert(name, value);
        }
        response
    }
}
