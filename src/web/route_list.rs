//! A router that can tell its routes.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use axum::middleware::{Next, from_fn_with_state};
use axum::routing::MethodRouter;
use hyper_util::service::TowerToHyperService;

use super::auth::protect;
use super::gateway::pass_on;
use super::routes::{Web, not_found, wrong_method};
use super::telemetry::observe;

/// Routes and their paths. What all of them must have, such as protection, is tested against this list. Nothing is served that
/// is not in it: only this file knows `axum::Router` (`tests/architecture.rs` sees to that), and a router leaves it as a finished
/// service.
pub(super) struct Routes {
    router: Router<Arc<Web>>,
    paths: Vec<String>,
}

/// Answers requests.
pub(super) type HttpService = TowerToHyperService<Router>;

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

    /// Puts a layer around the routes so far, also where they are asked by a method that they do not have.
    pub(super) fn within<F, A>(self, web: &Arc<Web>, layer: F) -> Routes
    where
        F: Fn(State<Arc<Web>>, Request, Next) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response<Body>> + Send + 'static,
    {
        let router = self.router.method_not_allowed_fallback(wrong_method);
        Routes { router: router.layer(from_fn_with_state(web.clone(), layer)), ..self }
    }

    /// Every path as it was added: `{name}` stands for a segment, `{*rest}` for all that follow.
    #[cfg(test)]
    pub(super) fn paths(&self) -> &[String] {
        &self.paths
    }

    /// All of it with an answer to unknown paths, which for a gateway are those of the cluster. Around both is the one layer
    /// that decides who may ask, and around that the one that counts.
    pub(super) fn into_service(self, web: &Arc<Web>) -> HttpService {
        let routes = match web.deps.gateway {
            None => {
                Routes { router: self.router.fallback(not_found), ..self }.within(web, protect).within(web, observe)
            }
            // What a gateway passes on it counts itself, by component.
            Some(_) => {
                let own = self.within(web, observe);
                Routes { router: own.router.fallback(pass_on), ..own }.within(web, protect)
            }
        };
        TowerToHyperService::new(routes.router.with_state(web.clone()))
    }
}
