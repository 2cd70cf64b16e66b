//! What members tell besides samples and labels: metadata, exemplars, rules, alerts. What this node tells, where it is a
//! member itself, is added by those who have it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::task::JoinSet;

use super::answer::{ExemplarsOf, Told, parse_data};
use super::frontend::{Frontend, Reads, Source};
use super::hidden::Hidden;
use super::limits::{Charge, Errand};
use super::list_cache::Key;
use super::lists::selector_for;
use super::member::{Credentials, Member};
use super::question::{Question, in_braces, seconds};
use super::replica_answers::{Answers, ask_replicas};
use super::strip::strip_selector;
use crate::model::{Annotations, Labels, Matcher, TimestampMs};
use crate::promql::Failure;
use crate::storage::{Scope, Selector};

/// One member's answer has at most so many bytes: the rules and alerts of the largest servers.
const MAX_BYTES: u64 = 32 << 20;

/// On whose behalf members are asked, and within which bounds.
#[derive(Clone, Debug)]
pub struct Client {
    /// What the client's request brings for members.
    pub credentials: Credentials,
    /// Charged with what members tell until it is dropped.
    pub scope: Scope,
}

/// Which replicas of a member are asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whom {
    /// Any: all do the same.
    Any,
    /// All: each may know what the others do not.
    All,
}

/// What a metric is, as a target has told it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MetricMetadata {
    /// `counter`, `gauge` and so on.
    pub r#type: String,
    /// The unit.
    #[serde(default)]
    pub unit: String,
    /// The sentence for people.
    #[serde(default)]
    pub help: String,
}

/// What was gathered, and what was remarked meanwhile.
type Gathered<T> = Result<(T, Annotations), Failure>;

#[derive(Deserialize)]
struct Groups {
    #[serde(default)]
    groups: Option<Vec<Map<String, Value>>>,
}

#[derive(Deserialize)]
struct Alerts {
    #[serde(default)]
    alerts: Option<Vec<Map<String, Value>>>,
}

impl Frontend {
    /// What is told about metrics, or about one; equal things once, of each metric at most `per_metric`.
    pub async fn metadata(
        &self,
        client: &Client,
        metric: Option<&str>,
        per_metric: usize,
    ) -> Gathered<BTreeMap<String, Vec<MetricMetadata>>> {
        let per = per_metric.to_string();
        let key = Key::new(&["metadata", metric.unwrap_or_default(), &per], &client.credentials);
        let fresh = self.fresh_metadata(client, metric, per_metric);
        let bytes = |all: &BTreeMap<String, Vec<MetricMetadata>>| {
            let of_thing = |thing: &MetricMetadata| thing.help.len() + thing.unit.len() + thing.r#type.len() + 72;
            all.iter().map(|(m, things)| (m.len() + 48 + things.iter().map(of_thing).sum::<usize>()) as u64).sum()
        };
        self.remembered(key, &client.scope, fresh, bytes).await
    }

    async fn fresh_metadata(
        &self,
        client: &Client,
        metric: Option<&str>,
        per_metric: usize,
    ) -> Gathered<BTreeMap<String, Vec<MetricMetadata>>> {
        let form = form(metric.map(|metric| ("metric", metric)));
        let question =
            |_: &Source| Some(Question::get("metadata", &form, parse_data::<BTreeMap<String, Vec<MetricMetadata>>>));
        let (told, annotations) = self.ask_all(client, Whom::All, question).await?;
        let mut all: BTreeMap<String, Vec<MetricMetadata>> = BTreeMap::new();
        for (metric, things) in told.into_iter().flat_map(|(_, told)| told) {
            let known = all.entry(metric).or_default();
            for thing in things {
                if known.len() < per_metric && !known.contains(&thing) {
                    known.push(thing);
                }
            }
        }
        Ok((all, annotations))
    }

    /// The exemplars of all series that any selector selects, ascending by the series' labels, as JSON.
    pub async fn exemplars(
        &self,
        client: &Client,
        selectors: &[Selector],
        start: Option<TimestampMs>,
        end: Option<TimestampMs>,
    ) -> Gathered<Vec<(Labels, Vec<Value>)>> {
        let question = |source: &Source| {
            let stripped = selectors.iter().filter_map(|selector| selector_for(&source.member, selector));
            let texts: Vec<String> = stripped.map(|selector| in_braces(&selector)).collect();
            let (start, end) = source.within(start, end)?;
            // Any of them, as one expression: the endpoint takes no more than one.
            let query = (!texts.is_empty()).then(|| texts.join(" or "))?;
            let times = [("start", start), ("end", end)];
            let times = times.into_iter().filter_map(|(name, t)| Some((name, seconds(t?))));
            let form = form(times.chain([("query", query)]));
            Some(Question::get("query_exemplars", &form, parse_data::<Option<Vec<ExemplarsOf>>>))
        };
        let (told, annotations) = self.ask_all(client, Whom::All, question).await?;
        let mut all: Vec<(Labels, Vec<Value>)> = Vec::new();
        for (member, told) in told {
            let seen = |of: ExemplarsOf| (self.seen(&member, &of.labels()), of.exemplars);
            all.extend(told.unwrap_or_default().into_iter().map(seen));
        }
        Ok((of_same_series(all), annotations))
    }

    /// The groups of rules, each with its `cluster`; rules and their alerts have the virtual labels. `filters` are
    /// parameters that members understand. Of rules, those are told that meet any selector.
    pub async fn rules(
        &self,
        client: &Client,
        filters: &[(&str, &str)],
        selectors: &[Selector],
    ) -> Gathered<Vec<Map<String, Value>>> {
        let question = |source: &Source| {
            let conditions = conditions_for(&source.member, selectors)?;
            let conditions = conditions.iter().map(|text| ("match[]", text.as_str()));
            let form = form(filters.iter().copied().chain(conditions));
            Some(Question::get("rules", &form, parse_data::<Groups>))
        };
        let (told, annotations) = self.ask_all(client, Whom::Any, question).await?;
        let mut all = Vec::new();
        for (member, told) in told {
            for mut group in told.groups.unwrap_or_default() {
                for rule in objects(&mut group, "rules") {
                    dress(rule, &member);
                    objects(rule, "alerts").for_each(|alert| dress(alert, &member));
                    if let Some(Value::Array(alerts)) = rule.get_mut("alerts") {
                        let mut is_first = first_of_same(&member);
                        alerts.retain(|alert| alert.as_object().is_none_or(&mut is_first));
                    }
                }
                group.insert("cluster".to_owned(), Value::from(member.config().name.as_str()));
                all.push(group);
            }
        }
        Ok((all, annotations))
    }

    /// The alerts that are pending or firing, with the virtual labels.
    pub async fn alerts(&self, client: &Client) -> Gathered<Vec<Map<String, Value>>> {
        let question = |_: &Source| Some(Question::get("alerts", "", parse_data::<Alerts>));
        let (told, annotations) = self.ask_all(client, Whom::Any, question).await?;
        let mut all = Vec::new();
        for (member, told) in told {
            let mut alerts = told.alerts.unwrap_or_default();
            alerts.iter_mut().for_each(|alert| dress(alert, &member));
            alerts.retain(first_of_same(&member));
            all.append(&mut alerts);
        }
        Ok((all, annotations))
    }

    /// This node as a member, if it is one, and the selectors without conditions on its virtual labels; `None` for them if
    /// none of them can hold here.
    pub fn this_node(&self, selectors: &[Selector]) -> Option<(&Arc<Member>, Option<Vec<Selector>>)> {
        let source = self.sources().iter().find(|source| matches!(source.reads, Reads::Local(_)))?;
        let stripped = selectors.iter().filter_map(|selector| strip_selector(selector, source.member.labels()));
        let stripped: Vec<Selector> = stripped.collect();
        Some((&source.member, (!stripped.is_empty()).then_some(stripped)))
    }

    /// Asks all members for which there is a question, at the same time. Their answers come in the members' order.
    async fn ask_all<T: Send + 'static>(
        &self,
        client: &Client,
        whom: Whom,
        question: impl Fn(&Source) -> Option<Question<Told<T>>>,
    ) -> Gathered<Vec<(Arc<Member>, T)>> {
        let errand = Errand { max_bytes: MAX_BYTES, ..self.errand(&client.credentials, &client.scope) };
        let mut asked = JoinSet::new();
        let remote = self.sources().iter().filter(|source| !matches!(source.reads, Reads::Local(_)));
        for (place, source) in remote.enumerate() {
            let Some(question) = question(source) else { continue };
            let (member, errand) = (source.member.clone(), errand.clone());
            asked.spawn(async move {
                let answers = match whom {
                    Whom::All => ask_replicas(&member, question, &errand).await,
                    Whom::Any => member.ask(&question, &errand).await.map(Answers::one),
                };
                (place, answers, member)
            });
        }
        let (mut told, mut annotations) = (BTreeMap::new(), Annotations::none());
        while let Some(joined) = asked.join_next().await {
            let (place, answers, member) = joined.map_err(|e| Failure::Execution(format!("asking a member: {e}")))?;
            let Some(answers) = self.excusing(&member, answers, &mut annotations)? else { continue };
            for (replica, Told { data, warnings, charge, .. }) in answers.into_iter().enumerate() {
                warnings.into_iter().for_each(|warning| annotations.add(self.warning(&member, warning)));
                told.insert((place, replica), (member.clone(), data));
                charge.into_iter().for_each(Charge::keep);
            }
        }
        Ok((told.into_values().collect(), annotations))
    }
}

/// Exemplars ascending by their series' labels, each series once. What several replicas have told is told once, by time.
fn of_same_series(mut all: Vec<(Labels, Vec<Value>)>) -> Vec<(Labels, Vec<Value>)> {
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    let time = |exemplar: &Value| exemplar.get("timestamp").and_then(Value::as_f64).unwrap_or_default();
    let mut out: Vec<(Labels, Vec<Value>)> = Vec::new();
    for same in all.chunk_by_mut(|(a, _), (b, _)| a == b) {
        let is_one = same.len() == 1;
        let Some((labels, _)) = same.first() else { continue };
        let labels = labels.clone();
        let mut exemplars: Vec<Value> = same.iter_mut().flat_map(|(_, told)| std::mem::take(told)).collect();
        if !is_one {
            exemplars.sort_by_cached_key(Value::to_string);
            exemplars.dedup();
            exemplars.sort_by(|a, b| time(a).total_cmp(&time(b)));
        }
        out.push((labels, exemplars));
    }
    out
}

fn form<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// Conditions on the labels of rules, as a member is asked for them; `None` if none of them can hold there. Rules have no
/// metric's name, so that there need not be a condition on it.
fn conditions_for(member: &Member, selectors: &[Selector]) -> Option<Vec<String>> {
    let mut texts = Vec::new();
    for selector in selectors {
        let hidden = Hidden::of_replicas(&member.config().replica_labels);
        let decided =
            |matcher: &&Matcher| member.labels().get(&matcher.name).is_some() || hidden.has_name(&matcher.name);
        let (decided, left): (Vec<&Matcher>, Vec<&Matcher>) = selector.iter().partition(decided);
        if !decided.iter().all(|matcher| matcher.matches_labels(member.labels().iter())) {
            continue;
        }
        if left.is_empty() {
            return Some(Vec::new());
        }
        texts.push(in_braces(&left.into_iter().cloned().collect::<Vec<_>>()));
    }
    (selectors.is_empty() || !texts.is_empty()).then_some(texts)
}

/// The objects of a list, if there is one.
fn objects<'a>(of: &'a mut Map<String, Value>, list: &str) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    let items = of.get_mut(list).and_then(Value::as_array_mut);
    items.into_iter().flatten().filter_map(Value::as_object_mut)
}

/// Which alerts of a list to keep: one of those that only labels that nobody sees have told apart.
fn first_of_same(member: &Member) -> impl FnMut(&Map<String, Value>) -> bool {
    let may_be_same = !member.config().replica_labels.is_empty();
    let mut known = HashSet::new();
    move |alert| !may_be_same || known.insert(alert.get("labels").map(Value::to_string))
}

/// Adds the virtual labels to the labels of a rule or an alert, without those that nobody sees.
fn dress(of: &mut Map<String, Value>, member: &Member) {
    let labels = of.entry("labels").or_insert_with(|| Value::Object(Map::new()));
    if let Some(labels) = labels.as_object_mut() {
        let hidden = Hidden::of_replicas(&member.config().replica_labels);
        labels.retain(|name, _| !hidden.has_name(name));
        labels.extend(member.labels().iter().map(|(name, value)| (name.to_owned(), Value::from(value))));
    }
}
