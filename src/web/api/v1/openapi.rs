//! `openapi.yaml`: the API described for machines, in OpenAPI 3.1, or 3.2 if `openapi_version` says so.
//!
//! One row per path; a test compares the rows with the routes, so that neither is forgotten.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, Response};

use crate::web::form::Form;
use crate::web::routes::Web;

/// How a path is called, what for, and with which parameters: a `*` behind one that can be repeated, a `!` behind one that
/// must be there.
struct Endpoint(&'static [&'static str], &'static str, &'static [&'static str]);

const GET: &[&str] = &["get"];
const BOTH: &[&str] = &["get", "post"];
const CHANGE: &[&str] = &["post", "put"];

const SELECTION: &[&str] = &["match[]*", "start", "end", "limit"];

const ENDPOINTS: &[(&str, Endpoint)] = &[
    (
        "/query",
        Endpoint(
            BOTH,
            "Evaluate an expression at one instant",
            &["query!", "time", "timeout", "limit", "lookback_delta", "stats"],
        ),
    ),
    (
        "/query_range",
        Endpoint(
            BOTH,
            "Evaluate an expression over a range of time",
            &["query!", "start!", "end!", "step!", "timeout", "limit", "lookback_delta", "stats"],
        ),
    ),
    ("/query_exemplars", Endpoint(BOTH, "Exemplars of what an expression selects", &["query!", "start", "end"])),
    ("/format_query", Endpoint(BOTH, "An expression set in lines", &["query!"])),
    ("/parse_query", Endpoint(BOTH, "The tree of an expression", &["query!"])),
    ("/labels", Endpoint(BOTH, "Label names", SELECTION)),
    ("/label/{name}/values", Endpoint(GET, "Values of a label", SELECTION)),
    ("/series", Endpoint(BOTH, "Label sets of series", &["match[]*!", "start", "end", "limit"])),
    ("/read", Endpoint(&["post"], "Remote read: protocol buffers in, protocol buffers out", &[])),
    ("/write", Endpoint(&["post"], "Remote write: protocol buffers in", &[])),
    ("/otlp/v1/metrics", Endpoint(&["post"], "OTLP metrics: protocol buffers or JSON in", &[])),
    ("/targets", Endpoint(GET, "Scrape targets", &["state", "scrapePool"])),
    ("/targets/metadata", Endpoint(GET, "Metadata of metrics by target", &["match_target", "metric", "limit"])),
    ("/targets/relabel_steps", Endpoint(GET, "What the rules of a job do to labels", &["scrapePool!", "labels!"])),
    ("/scrape_pools", Endpoint(GET, "Names of scrape jobs", &[])),
    ("/scrape_pools/config", Endpoint(GET, "Configuration of a scrape job", &["scrapePool!"])),
    ("/metadata", Endpoint(GET, "Metadata of metrics", &["metric", "limit", "limit_per_metric"])),
    (
        "/rules",
        Endpoint(
            GET,
            "Rule groups",
            &[
                "type",
                "rule_name[]*",
                "rule_group[]*",
                "file[]*",
                "match[]*",
                "exclude_alerts",
                "group_limit",
                "group_next_token",
            ],
        ),
    ),
    ("/alerts", Endpoint(GET, "Active alerts", &[])),
    ("/alertmanagers", Endpoint(GET, "Alertmanagers that alerts go to", &[])),
    ("/features", Endpoint(GET, "What this server can do", &[])),
    ("/search/metric_names", Endpoint(BOTH, "Search of metric names; off in this version", &[])),
    ("/search/label_names", Endpoint(BOTH, "Search of label names; off in this version", &[])),
    ("/search/label_values", Endpoint(BOTH, "Search of label values; off in this version", &[])),
    ("/status/config", Endpoint(GET, "The running configuration", &[])),
    ("/status/flags", Endpoint(GET, "Flags with their values", &[])),
    ("/status/buildinfo", Endpoint(GET, "What was built", &[])),
    ("/status/runtimeinfo", Endpoint(GET, "Facts about the process", &[])),
    ("/status/tsdb", Endpoint(GET, "What is in memory", &["limit"])),
    ("/status/tsdb/blocks", Endpoint(GET, "Blocks on disk", &[])),
    ("/status/walreplay", Endpoint(GET, "How far the log has been read at start", &[])),
    ("/status/self_metrics", Endpoint(GET, "Metrics of this process", &["metric_name_pattern"])),
    ("/notifications", Endpoint(GET, "What people should know now", &[])),
    ("/notifications/live", Endpoint(GET, "The same as server-sent events", &[])),
    ("/admin/tsdb/delete_series", Endpoint(CHANGE, "Delete samples", &["match[]*!", "start", "end"])),
    ("/admin/tsdb/clean_tombstones", Endpoint(CHANGE, "Remove deleted samples from disk", &[])),
    ("/admin/tsdb/snapshot", Endpoint(CHANGE, "Copy the store", &["skip_head"])),
    ("/openapi.yaml", Endpoint(GET, "This description", &["openapi_version"])),
];

pub(super) async fn serve(State(web): State<Arc<Web>>, RawQuery(query): RawQuery) -> Response<Body> {
    let version = match Form::parse(query.as_deref().unwrap_or("")).first("openapi_version") {
        "3.2" | "3.2.0" => "3.2.0",
        _ => "3.1.0",
    };
    let url = format!("{}/api/v1", web.config.external_url);
    let mut response = Response::new(Body::from(document(version, &web.deps.build.version, &url)));
    for (name, value) in
        [(CONTENT_TYPE, "application/yaml; charset=utf-8"), (CACHE_CONTROL, "no-cache, no-store, must-revalidate")]
    {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

const SCHEMAS: &str = "\
components:
  schemas:
    Success:
      type: object
      required: [status]
      properties:
        status: {type: string, const: success}
        data: {}
        warnings: {type: array, items: {type: string}}
        infos: {type: array, items: {type: string}}
    Error:
      type: object
      required: [status, errorType, error]
      properties:
        status: {type: string, const: error}
        errorType: {type: string}
        error: {type: string}
";

/// The whole document; `url` is the place of this version of the API.
fn document(openapi: &str, version: &str, url: &str) -> String {
    let mut out = format!(
        "openapi: {openapi}\ninfo:\n  title: Watershed API\n  description: Prometheus's HTTP API, as Watershed serves it.\n  \
         version: {version:?}\nservers:\n  - url: {url:?}\npaths:\n"
    );
    for (path, endpoint) in ENDPOINTS.iter().map(|(path, e)| (path, e)).collect::<BTreeMap<_, _>>() {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  {path}:");
        endpoint.0.iter().for_each(|method| operation(&mut out, path, method, endpoint));
    }
    out.push_str(SCHEMAS);
    out
}

fn operation(out: &mut String, path: &str, method: &str, Endpoint(_, summary, parameters): &Endpoint) {
    let id: String = path.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let _ = writeln!(out, "    {method}:\n      operationId: {method}{id}\n      summary: {summary:?}");
    let in_path = path.contains("{name}").then_some("{in: path, name: name, required: true, schema: {type: string}}");
    if method == "get" && (in_path.is_some() || !parameters.is_empty()) {
        out.push_str("      parameters:\n");
        if let Some(parameter) = in_path {
            let _ = writeln!(out, "        - {parameter}");
        }
        for (name, schema, required) in parameters.iter().map(|parameter| described(parameter)) {
            let _ = writeln!(out, "        - {{in: query, name: {name:?}, required: {required}, schema: {schema}}}");
        }
    } else if !parameters.is_empty() {
        out.push_str("      requestBody:\n        content:\n          application/x-www-form-urlencoded:\n");
        out.push_str("            schema:\n              type: object\n              properties:\n");
        for (name, schema, _) in parameters.iter().map(|parameter| described(parameter)) {
            let _ = writeln!(out, "                {name:?}: {schema}");
        }
    }
    out.push_str("      responses:\n");
    for (status, what, schema) in [("\"200\"", "Success", "Success"), ("default", "Failure", "Error")] {
        let _ = writeln!(
            out,
            "        {status}:\n          description: {what}\n          content:\n            application/json:\n              \
             schema: {{$ref: \"#/components/schemas/{schema}\"}}"
        );
    }
}

/// Name, schema and whether it must be there.
fn described(parameter: &str) -> (&str, &'static str, bool) {
    let (name, required) = parameter.strip_suffix('!').map_or((parameter, false), |name| (name, true));
    match name.strip_suffix('*') {
        Some(name) => (name, "{type: array, items: {type: string}}", required),
        None => (name, "{type: string}", required),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::web::api::v1::{early_routes, routes};

    #[tokio::test]
    async fn every_route_is_described_and_every_description_has_a_route() {
        let routed: BTreeSet<&str> = routes().into_iter().chain(early_routes()).map(|(path, _)| path).collect();
        let described: BTreeSet<&str> = ENDPOINTS.iter().map(|(path, _)| *path).collect();
        assert_eq!(routed, described);
    }

    #[test]
    fn the_document_is_yaml_with_an_operation_for_each_method() {
        let document = document("3.1.0", "1.2.3", "http://home.example/x/api/v1");
        let tree: serde_json::Value = serde_yaml::from_str(&document).expect("YAML");
        assert_eq!(tree["openapi"], "3.1.0");
        assert_eq!(tree["servers"][0]["url"], "http://home.example/x/api/v1");
        let series = &tree["paths"]["/series"];
        assert_eq!(series["get"]["parameters"][0]["name"], "match[]");
        assert_eq!(series["get"]["parameters"][0]["required"], true);
        let form = &series["post"]["requestBody"]["content"]["application/x-www-form-urlencoded"]["schema"];
        assert_eq!(form["properties"]["match[]"]["type"], "array");
        assert_eq!(tree["paths"]["/label/{name}/values"]["get"]["parameters"][0]["in"], "path");
        assert!(tree["paths"]["/admin/tsdb/snapshot"]["put"].is_object());
    }
}
