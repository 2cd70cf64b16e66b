//! Which path belongs to which component.

use std::borrow::Cow;
use std::fmt;

use super::config::{Component, GatewayConfig};
use super::httpgrpc::percent_decoded;

/// How much of a path a route covers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// This path alone.
    Exact,
    /// This path and every one below it.
    Below,
}

/// One line of the table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// Begins with `/` and does not end in one.
    pub path: String,
    /// How much it covers.
    pub reach: Reach,
    /// Who answers.
    pub component: Component,
}

impl Route {
    fn covers(&self, path: &str) -> bool {
        match path.strip_prefix(self.path.as_str()) {
            Some("") => true,
            Some(rest) => self.reach == Reach::Below && rest.starts_with('/'),
            None => false,
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&match self.reach {
            Reach::Exact => self.path.clone(),
            Reach::Below => format!("{}[/...]", self.path),
        })
    }
}

/// `{prometheus}` and `{alertmanager}` stand for the configured prefixes. Sources: the HTTP API references of Mimir and
/// Cortex (with Cortex's older paths), the enterprise product's Admin API and its Graphite proxy. Pages that every
/// component has (`/config`, `/services`, `/memberlist`) are those of whoever is asked, so they are not routed.
const TABLE: &[(&str, Reach, Component)] = {
    use Component::*;
    use Reach::*;
    &[
        ("/admin/api", Below, AdminApi),
        ("{alertmanager}", Below, Alertmanager),
        ("/multitenant_alertmanager", Below, Alertmanager),
        ("/api/v1/alerts", Exact, Alertmanager),
        ("/api/v1/grafana", Below, Alertmanager),
        ("/api/prom/alertmanager", Below, Alertmanager),
        ("/compactor", Below, Compactor),
        ("/api/v1/upload/block", Below, Compactor),
        ("/api/v1/push", Below, Distributor),
        ("/api/prom/push", Exact, Distributor),
        ("/otlp/v1/metrics", Exact, Distributor),
        ("/api/v1/otlp/v1/metrics", Exact, Distributor),
        ("/distributor", Below, Distributor),
        ("/all_user_stats", Exact, Distributor),
        ("/ha-tracker", Exact, Distributor),
        ("/graphite", Below, Graphite),
        ("/ingester", Below, Ingester),
        ("/flush", Exact, Ingester),
        ("/shutdown", Exact, Ingester),
        ("/ring", Exact, Ingester),
        ("{prometheus}/api/v1", Below, QueryFrontend),
        ("/api/prom/api/v1", Below, QueryFrontend),
        ("/api/prom/user_stats", Exact, QueryFrontend),
        ("/api/v1/user_stats", Exact, QueryFrontend),
        ("/api/v1/user_limits", Exact, QueryFrontend),
        ("/api/v1/status", Below, QueryFrontend),
        ("{prometheus}/config/v1/rules", Below, Ruler),
        ("{prometheus}/api/v1/rules", Below, Ruler),
        ("{prometheus}/api/v1/alerts", Below, Ruler),
        ("/api/v1/rules", Below, Ruler),
        ("/api/prom/rules", Below, Ruler),
        ("/api/prom/api/v1/rules", Below, Ruler),
        ("/api/prom/api/v1/alerts", Below, Ruler),
        ("/ruler", Below, Ruler),
        ("/ruler_ring", Exact, Ruler),
        ("/store-gateway", Below, StoreGateway),
    ]
};

/// The table: the longest path that covers a request's decides.
#[derive(Clone, Debug)]
pub struct Routes(Vec<Route>);

impl Routes {
    /// The table under the prefixes of `config`.
    pub fn new(config: &GatewayConfig) -> Routes {
        let route = |(pattern, reach, component): &(&str, Reach, Component)| Route {
            path: pattern
                .replace("{prometheus}", &config.prometheus_prefix)
                .replace("{alertmanager}", &config.alertmanager_prefix),
            reach: *reach,
            component: *component,
        };
        let mut routes: Vec<Route> = TABLE.iter().map(route).collect();
        // Of equally long ones the first in the table goes on to come first.
        routes.sort_by_key(|route| std::cmp::Reverse(route.path.len()));
        Routes(routes)
    }

    /// Every route, in the order in which they are tried.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.0.iter()
    }

    /// Who answers a path.
    pub fn find(&self, path: &str) -> Result<Component, Lost> {
        let path = plain(path);
        if has_dots(&path) {
            return Err(Lost::Dots);
        }
        let found = self.0.iter().find(|route| route.covers(&path)).map(|route| route.component);
        found.ok_or(Lost::Unknown)
    }
}

/// Why a path has no component.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lost {
    /// It has `.` or `..` as a part: the backend would see another path than the one that was routed.
    Dots,
    /// No route covers it.
    Unknown,
}

/// The path with those percent signs resolved that every server resolves: of letters, digits and `-._~`. Otherwise a
/// path could be written such that it is routed, or protected, as one and answered as another.
pub fn plain(path: &str) -> Cow<'_, str> {
    if !path.contains('%') {
        return Cow::Borrowed(path);
    }
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let byte = from.get(1..3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match byte.filter(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~')) {
            Some(byte) => {
                out.push(char::from(byte));
                rest = from.get(3..).unwrap_or_default();
            }
            None => {
                out.push('%');
                rest = from.get(1..).unwrap_or_default();
            }
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The path as the most lenient of servers reads it: every percent sign resolved, most of all those of slashes, backslashes taken for
/// slashes, and no part empty.
pub fn lenient(path: &str) -> Cow<'_, str> {
    if !path.contains(['%', '\\']) && !path.contains("//") {
        return Cow::Borrowed(path);
    }
    let decoded = percent_decoded(path);
    let parts = decoded.split(['/', '\\']).filter(|part| !part.is_empty());
    Cow::Owned(parts.fold(String::with_capacity(path.len()), |path, part| path + "/" + part))
}

fn has_dots(path: &str) -> bool {
    path.contains('.') && lenient(path).split('/').any(|part| matches!(part, "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(path: &str) -> Result<Component, Lost> {
        Routes::new(&GatewayConfig::default()).find(path)
    }

    #[test]
    fn the_longest_path_decides_and_parts_are_whole() {
        assert_eq!(find("/prometheus/api/v1/query"), Ok(Component::QueryFrontend));
        assert_eq!(find("/prometheus/api/v1/rules"), Ok(Component::Ruler));
        assert_eq!(find("/prometheus/api/v1/rulesets"), Ok(Component::QueryFrontend));
        assert_eq!(find("/api/v1/push/influx/write"), Ok(Component::Distributor));
        for unknown in ["/", "/api/v1/pushy", "/api/v1/alerts/x", "/prometheus", "//api/v1/push", "/api/v1"] {
            assert_eq!(find(unknown), Err(Lost::Unknown), "{unknown}");
        }
    }

    #[test]
    fn a_path_cannot_be_written_such_that_it_is_routed_as_another() {
        assert_eq!(find("/%61dmin/ap%69/v3"), Ok(Component::AdminApi));
        assert_eq!(find("/prometheus/%61pi/v1/%72ules"), Ok(Component::Ruler));
        for dots in [
            "/prometheus/api/v1/../../../admin/api",
            "/prometheus/api/v1/%2e%2e/x",
            "/prometheus/api/v1/.%2E/x",
            "/ruler/a%2f..%2Fb",
            "/ruler/a\\..\\b",
            "/ruler/./b",
        ] {
            assert_eq!(find(dots), Err(Lost::Dots), "{dots}");
        }
        for fine in ["/ruler/a%2Fb", "/ruler/a..b", "/ruler/%", "/ruler/%2", "/ruler/%zz", "/ruler/..."] {
            assert_eq!(find(fine), Ok(Component::Ruler), "{fine}");
        }
    }

    #[test]
    fn the_lenient_reading_is_the_one_with_the_most_slashes() {
        for (path, expected) in [
            ("/a/b", "/a/b"),
            ("/a%2Fb%2fc", "/a/b/c"),
            ("/a\\b%5Cc", "/a/b/c"),
            ("/a//b%2F/c", "/a/b/c"),
            ("/a%3ab%252Fc", "/a:b%2Fc"),
            ("/a%", "/a%"),
            ("/%ff", "/\u{fffd}"),
        ] {
            assert_eq!(lenient(path), expected, "{path}");
        }
    }

    #[test]
    fn prefixes_move_their_routes() {
        let config = GatewayConfig {
            prometheus_prefix: "/prom".into(),
            alertmanager_prefix: "/am".into(),
            ..GatewayConfig::default()
        };
        let routes = Routes::new(&config);
        assert_eq!(routes.find("/prom/api/v1/query"), Ok(Component::QueryFrontend));
        assert_eq!(routes.find("/prom/config/v1/rules/a/b"), Ok(Component::Ruler));
        assert_eq!(routes.find("/am/api/v2/alerts"), Ok(Component::Alertmanager));
        assert_eq!(routes.find("/prometheus/api/v1/query"), Err(Lost::Unknown));
    }
}
