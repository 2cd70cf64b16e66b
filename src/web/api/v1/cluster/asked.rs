//! What members are asked, and for whom.

use std::sync::Arc;

use axum::extract::Request;

use super::super::reply::ApiError;
use super::desk::Admitted;
use super::frontend;
use crate::cluster::{Client, Frontend};
use crate::model::TimestampMs;
use crate::web::form::Form;
use crate::web::routes::Web;

/// A request that has been read and has a place.
pub(super) struct Asked {
    pub(super) web: Arc<Web>,
    pub(super) frontend: Arc<Frontend>,
    pub(super) client: Client,
    pub(super) form: Form,
    pub(super) admitted: Admitted,
}

impl Asked {
    pub(super) async fn read(web: Arc<Web>, request: Request) -> Result<Asked, ApiError> {
        let frontend = frontend(&web)?;
        let credentials = frontend.forwarded(request.headers());
        let form = Form::read(request, web.config.form_limit, web.config.read_timeout).await?;
        let admitted = web.cluster.admit(&web.deps.queries).await?;
        let client = Client { credentials, scope: admitted.scope().clone() };
        Ok(Asked { web, frontend, client, form, admitted })
    }

    /// A time that may be left out.
    pub(super) fn time(&self, name: &str) -> Result<Option<TimestampMs>, ApiError> {
        match self.form.first(name) {
            "" => Ok(None),
            _ => Ok(Some(self.form.time(name, TimestampMs(0))?)),
        }
    }
}
