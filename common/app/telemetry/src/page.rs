//! The page for people, at `/`: one file without anything from elsewhere. It reads `/status` once
//! a second. What it shows comes from homes and is not trusted: the script writes text, never
//! markup, and the policy lets nothing run but that script.

use axum::http::{HeaderName, header};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use std::sync::LazyLock;

const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

static HTML: LazyLock<String> = LazyLock::new(|| {
    include_str!("page/page.html")
        .replace("/*style*/", STYLE)
        .replace("/*script*/", SCRIPT)
});

/// Names the style and the script by their hashes; whatever else a page could load or run is shut.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; batch-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
});

pub(crate) async fn page() -> Response {
    let headers: [(HeaderName, &str); 4] = [
        (header::CONTENT_SECURITY_POLICY, POLICY.as_str()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, Html(HTML.as_str())).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_page_holds_its_parts_and_nothing_from_elsewhere() {
        let page = page().await;
        let policy = page.headers()[header::CONTENT_SECURITY_POLICY]
            .to_str()
            .unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"));
        assert!(!policy.contains("unsafe"), "{policy}");
        assert!(HTML.contains(STYLE) && HTML.contains(SCRIPT));
        for from_elsewhere in [
            "http://",
            "https://",
            "//cdn",
            "@import",
            "innerHTML",
            " style=",
        ] {
            // An SVG element cannot be made without the name of its language.
            let html = HTML.replace("http://www.w3.org/2000/svg", "");
            assert!(!html.contains(from_elsewhere), "{from_elsewhere}");
        }
    }
}
