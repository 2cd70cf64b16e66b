//! Two pages for people, without assets of their own.

use std::fmt::{self, Display, Write as _};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode};

use super::encoding::{ContentEncoding, plain};
use super::routes::Web;
use crate::scrape::TargetStatus;

const HTML: &str = "text/html; charset=utf-8";

const HEAD: &str = "<!doctype html><html lang=en><meta charset=utf-8>\
    <meta name=viewport content=\"width=device-width,initial-scale=1\"><title>Watershed</title><style>\
    body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem;\
    color:light-dark(#222,#ddd);background:light-dark(#fff,#181818);color-scheme:light dark}\
    table{border-collapse:collapse;width:100%;font-size:.875rem}td,th{border-bottom:1px solid #8884;\
    padding:.3rem .5rem;text-align:left;vertical-align:top;overflow-wrap:anywhere}\
    .up{color:light-dark(#176f2c,#6bcf82)}.down{color:light-dark(#b3261e,#ff8a80)}\
    code{font-size:.875em}a{color:inherit}</style>";

/// Where everything is.
pub(super) async fn start(State(web): State<Arc<Web>>) -> Response<Body> {
    let base = Escaped(web.config.external_url.path());
    let version = Escaped(&web.deps.build.version);
    let mut page = String::from(HEAD);
    // Writing to a String cannot fail.
    let _ = write!(
        page,
        "<h1>Watershed <small>{version}</small></h1><ul>\
         <li><a href=\"{base}/targets\">Targets</a>: what is scraped, and how it goes\
         <li><a href=\"{base}/metrics\">Metrics</a> of this process\
         <li><a href=\"{base}/federate?match%5B%5D=%7B__name__%3D%22up%22%7D\">Federate</a>: \
         <code>{base}/federate?match[]={{__name__=\"up\"}}</code>\
         <li><a href=\"{base}/api/v1/status/config\">Configuration</a>, \
         <a href=\"{base}/api/v1/status/flags\">flags</a>, \
         <a href=\"{base}/api/v1/status/runtimeinfo\">runtime</a>, \
         <a href=\"{base}/api/v1/labels\">label names</a>\
         <li><a href=\"{base}/-/healthy\">Healthy?</a> <a href=\"{base}/-/ready\">Ready?</a></ul>"
    );
    ContentEncoding::Identity.encode(page.into_bytes()).respond(StatusCode::OK, HTML)
}

/// All active targets by job.
pub(super) async fn targets(State(web): State<Arc<Web>>, headers: HeaderMap) -> Response<Body> {
    let encoding = ContentEncoding::accepted(&headers);
    let source = web.deps.targets.clone();
    let now = web.deps.clock.now();
    let rendered = web.deps.pool.run(move || {
        let mut page = String::from(HEAD);
        page.push_str("<h1>Targets</h1><table><tr><th>Job<th>URL<th>State<th>Labels<th>Last scrape<th>Error");
        for target in source.active(None) {
            let age = target.last_scrape.map(|t| now.since(t));
            // Writing to a String cannot fail.
            let _ = write!(page, "{}", Row { target: &target, age_ms: age });
        }
        page.push_str("</table>");
        encoding.encode(page.into_bytes())
    });
    match rendered.await {
        Ok(body) => body.respond(StatusCode::OK, HTML),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

struct Row<'a> {
    target: &'a TargetStatus,
    age_ms: Option<i64>,
}

impl Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = self.target;
        let (job, url, labels) = (Escaped(&t.scrape_pool), Escaped(&t.scrape_url), Escaped(&t.labels));
        let (state, error) = (t.health.as_str(), Escaped(&t.last_error));
        write!(f, "<tr><td>{job}<td><code>{url}</code><td class={state}>{state}<td><code>{labels}</code><td>")?;
        match self.age_ms {
            Some(ms) => write!(f, "{:.1} s ago, took {:.3} s", ms as f64 / 1000.0, t.last_scrape_duration_s)?,
            None => f.write_str("never")?,
        }
        writeln!(f, "<td>{error}")
    }
}

/// Text that cannot leave its place in a page.
struct Escaped<T>(T);

impl<T: Display> Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Filter<'a, 'b>(&'a mut fmt::Formatter<'b>);
        impl fmt::Write for Filter<'_, '_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                text.chars().try_for_each(|c| match c {
                    '&' => self.0.write_str("&amp;"),
                    '<' => self.0.write_str("&lt;"),
                    '>' => self.0.write_str("&gt;"),
                    '"' => self.0.write_str("&quot;"),
                    '\'' => self.0.write_str("&#39;"),
                    c => self.0.write_char(c),
                })
            }
        }
        write!(Filter(f), "{}", self.0)
    }
}
