//! A router that can tell its routes.

use std::sync::Arc;

use axum::Router;
use axum::routing::MethodRouter;

use super::routes::Web;

/// Routes and their paths. What all of them must have, such as protection, is tested against this list, so every route is
/// added here and never to a router itself.
pub(super) struct Routes {
    router: Router<Arc<Web>>,
    paths: Vec<String>,
}

impl Routes {
    pub(super) fn new() -> Routes {
        Routes { router: Router::new(), paths: Vec::new() }
    }

    pub(super) fn route(mut self, path: &str, methods: MethodRouter<Arc<Web>>) -> Routes {
        self.paths.push(path.to_owned());
        Routes { router: self.router.route(path, methods), ..self }
    }

    pub(super) fn merge(mut self, other: Routes) -> Routes {
        self.paths.extend(other.paths);
        Routes { router: self.router.merge(other.router), ..self }
    }

    /// Puts layers around the routes so far; `layers` adds no routes.
    pub(super) fn wrapped(self, layers: impl FnOnce(Router<Arc<Web>>) -> Router<Arc<Web>>) -> Routes {
        Routes { router: layers(self.router), ..self }
    }

    /// Every path as it was added: `{name}` stands for a segment, `{*rest}` for all that follow.
    #[cfg(test)]
    pub(super) fn paths(&self) -> &[String] {
        &self.paths
    }

    pub(super) fn into_router(self) -> Router<Arc<Web>> {
        self.router
    }
}
