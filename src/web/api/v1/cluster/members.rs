//! What is known about the members.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::reply::{Answer, ApiError};
use super::frontend;
use crate::cluster::{Flavour, Policy, Replica};
use crate::web::routes::Web;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MemberStatus {
    name: String,
    policy: &'static str,
    labels: BTreeMap<String, String>,
    /// None for this node itself.
    replicas: Vec<ReplicaStatus>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReplicaStatus {
    url: String,
    /// `up`, `down`, or `unknown` before it was asked.
    health: &'static str,
    /// Whether it is asked now; not if it has failed several times just before.
    is_asked: bool,
    /// Whether it has turned out to be this server.
    is_self: bool,
    /// Empty if it has not told it.
    version: String,
    /// Of its last answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_seconds: Option<f64>,
    last_error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    capabilities: Option<CapabilitiesStatus>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CapabilitiesStatus {
    version: String,
    flavour: &'static str,
    remote_read: bool,
    external_labels: BTreeMap<String, String>,
}

pub(super) fn members(web: &Web) -> Result<Answer, ApiError> {
    let frontend = frontend(web)?;
    let all = frontend.members().map(|member| MemberStatus {
        name: member.config().name.clone(),
        policy: match member.config().policy {
            Policy::Required => "required",
            Policy::Optional => "optional",
        },
        labels: texts(member.labels().iter()),
        replicas: member.replicas().map(status).collect(),
    });
    Ok(Answer::of(&all.collect::<Vec<_>>()))
}

fn status(replica: Replica) -> ReplicaStatus {
    let Replica { url, is_asked, health, known } = replica;
    ReplicaStatus {
        url,
        health: match health.is_up {
            None => "unknown",
            Some(true) => "up",
            Some(false) => "down",
        },
        is_asked,
        is_self: health.is_self,
        version: health.version,
        latency_seconds: health.latency.map(|took| took.as_secs_f64()),
        last_error: health.last_error.unwrap_or_default(),
        capabilities: known.map(|known| CapabilitiesStatus {
            version: known.version.clone(),
            flavour: match known.flavour {
                Flavour::Prometheus => "prometheus",
                Flavour::Prometheus2 => "prometheus2",
                Flavour::VictoriaMetrics => "victoriametrics",
            },
            remote_read: known.has_remote_read,
            external_labels: texts(known.external.iter()),
        }),
    }
}

fn texts<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> BTreeMap<String, String> {
    labels.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
