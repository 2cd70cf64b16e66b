//! The labels of a data point's series: its own, and those of its resource and scope.

use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};

use super::attributes::{find, text};
use super::names::{label_name, unit_name};
use super::translate::{ResourceLabels, Translator};
use crate::model::number::write_plain;
use crate::model::{Labels, METRIC_NAME, Metadata, MetricType};

/// Attributes of a data point, a resource or a scope: many times what any real one has, and few enough to look for doubles.
const MAX_ATTRIBUTES: usize = 1000;
/// Keys whose label names are remembered; requests have some ten.
const KEPT_NAMES: usize = 10_000;

impl Translator<'_> {
    /// From now on series are those of a resource. The errors here are the reference's sentences.
    pub(super) fn enter_resource(&mut self, attributes: &[KeyValue]) -> Result<(), String> {
        check_number(attributes)?;
        let job = match (find(attributes, "service.namespace"), find(attributes, "service.name")) {
            (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
            (None, Some(name)) => name.into_owned(),
            (_, None) => String::new(),
        };
        let instance = find(attributes, "service.instance.id").unwrap_or_default().into_owned();
        self.labels.clear();
        for attribute in attributes.iter().filter(|a| self.config.promotes(&a.key)) {
            let name = self.label_name(&attribute.key)?;
            self.labels.set(&name, &text(attribute));
        }
        let promoted = self.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        self.resource = ResourceLabels { job, instance, promoted };
        Ok(())
    }

    /// From now on series are those of a scope.
    pub(super) fn enter_scope(&mut self, scope: &InstrumentationScope, schema_url: &str) -> Result<(), String> {
        self.scope.clear();
        if !self.config.promote_scope_metadata || scope.name.is_empty() {
            return Ok(());
        }
        check_number(&scope.attributes)?;
        for attribute in &scope.attributes {
            let name = self.label_name(&format!("otel_scope_{}", attribute.key))?;
            self.scope.insert(name, text(attribute).into_owned());
        }
        let own = [("name", scope.name.as_str()), ("version", &scope.version), ("schema_url", schema_url)];
        self.scope.extend(own.map(|(name, value)| (format!("otel_scope_{name}"), value.to_owned())));
        Ok(())
    }

    /// Collects the labels of a data point in the builder, without its name.
    pub(super) fn series(&mut self, attributes: &[KeyValue], metadata: &Metadata) -> Result<(), String> {
        self.own_attributes(attributes, &[METRIC_NAME])?;
        // The names of either list differ among themselves, so only the data point's own labels are looked through.
        let own = self.labels.len();
        for (name, value) in &self.resource.promoted {
            if !self.labels.iter().take(own).any(|(known, _)| known == name) {
                self.labels.push_new(name, value);
            }
        }
        self.identify();
        if !self.scope.is_empty() {
            self.labels.retain(|name, _| !self.scope.contains_key(name));
            let scope = self.scope.iter().filter(|(_, value)| !value.is_empty());
            scope.for_each(|(name, value)| self.labels.push_new(name, value));
        }
        if self.options.has_type_labels {
            if metadata.metric_type != MetricType::Unknown {
                self.labels.set("__type__", metadata.metric_type.as_str());
            }
            let unit = unit_name(&metadata.unit, self.config.translation_strategy.escapes());
            if !unit.is_empty() {
                self.labels.set("__unit__", &unit);
            }
        }
        Ok(())
    }

    /// Starts the builder anew with attributes: sorted by key, the values of keys that become one name joined.
    pub(super) fn own_attributes(&mut self, attributes: &[KeyValue], left_out: &[&str]) -> Result<(), String> {
        check_number(attributes)?;
        self.labels.clear();
        let mut sorted: Vec<&KeyValue> = attributes.iter().filter(|a| !left_out.contains(&a.key.as_str())).collect();
        sorted.sort_by(|a, b| a.key.cmp(&b.key));
        let escapes = self.config.translation_strategy.escapes();
        for attribute in sorted {
            let value = text(attribute);
            if !escapes {
                if attribute.key.is_empty() {
                    return Err("label name is empty".to_owned());
                }
                self.labels.set(&attribute.key, &value);
                continue;
            }
            let name = self.label_name(&attribute.key)?;
            match self.labels.get(&name) {
                "" => self.labels.set(&name, &value),
                before => {
                    let both = format!("{before};{value}");
                    self.labels.set(&name, &both);
                    self.findings.collisions += 1;
                }
            }
        }
        Ok(())
    }

    /// Sets the labels that tell a resource apart.
    pub(super) fn identify(&mut self) {
        for (name, value) in [("job", &self.resource.job), ("instance", &self.resource.instance)] {
            if !value.is_empty() {
                self.labels.set(name, value);
            }
        }
    }

    /// The finished labels, with a metric's name and a bound.
    pub(super) fn named(&mut self, name: &str, bound: Option<(&str, f64)>) -> Labels {
        if let Some((label, bound)) = bound {
            let mut digits = Vec::new();
            write_plain(&mut digits, bound);
            // Digits are ASCII.
            self.labels.set(label, &String::from_utf8_lossy(&digits));
        }
        self.labels.set(METRIC_NAME, name);
        self.labels.labels()
    }

    fn label_name(&mut self, key: &str) -> Result<String, String> {
        if let Some(known) = self.label_names.get(key) {
            return known.clone();
        }
        let name = label_name(self.config, key);
        if self.label_names.len() >= KEPT_NAMES {
            self.label_names.clear();
        }
        self.label_names.insert(key.to_owned(), name.clone());
        name
    }
}

fn check_number(attributes: &[KeyValue]) -> Result<(), String> {
    match attributes.len() {
        ..=MAX_ATTRIBUTES => Ok(()),
        n => Err(format!("{n} attributes are more than the {MAX_ATTRIBUTES} allowed")),
    }
}
