//! The config file: text -> tree -> checked values.
//!
//! A file in Prometheus's format becomes a [`Config`], which is composed of the components' own checked configs; nobody
//! behind this module sees YAML. The law: **a config is right as a whole or refused as a whole**, and a refusal tells
//! every mistake at once, each with file, line, column, the way to its key, the reason, and for a mistyped key or word
//! the nearest valid one. Every key of the reference is known here. It is obeyed; or refused with a sentence where
//! ignoring it would do harm, such as a discovery mechanism whose targets would silently be missing; or, for whole
//! sections that a later version acts upon, checked completely and accepted with a [`ConfigWarning`].
//!
//! How it is built: `yaml` makes a tree that knows its places, `fields` reads mappings key by key and collects mistakes,
//! one file per section says what its keys mean, `render` shows the result as the reference would. Where the reference
//! has a sentence for a mistake, its words are inside of ours: people search for them.
//!
//! [`load_web`] reads the web config file by the same laws.
//!
//! What this does not do: open credential files (they are read when used, and again when they change), resolve names,
//! parse PromQL, or know command line flags.

use std::path::{Path, PathBuf};

mod alerting;
mod extras;
mod features;
mod federation;
mod fields;
mod files;
mod gateway;
mod global;
mod http;
mod job;
mod labels;
mod mistake;
mod relabel;
mod remote;
mod render;
mod rules;
mod scalar;
mod sd;
mod ship;
mod storage;
mod web;
mod yaml;

pub use alerting::{AlertingConfig, AlertmanagerConfig};
pub use extras::{TracingClient, TracingConfig};
pub use features::{FeatureFate, FeatureNote, Features, read_features};
pub use global::GlobalConfig;
pub use http::OAuth2Config;
pub use mistake::{ConfigErrors, ConfigWarning, Mistake};
pub use remote::{MetadataConfig, QueueConfig, RemoteWriteConfig, WriteMessage};
pub use rules::{RecordingGroup, RecordingRule, recording_groups, recording_groups_str};
pub use scalar::ByteSize;
pub use storage::{FloatEncoding, Fsync, LowWriteConfig, RetentionConfig, StorageConfig};
pub use web::{LoadedWeb, load_web, load_web_str};

use fields::{At, Fields, Reader};
use render::Out;

use crate::cluster::FederationConfig;
use crate::gateway::GatewayConfig;
use crate::net::HttpClientConfig;
use crate::remote::otlp;
use crate::remote::read::EndpointConfig;
use crate::scrape::JobConfig;

/// What is said about keys of our own that do not work yet.
const LATER: &str = "comes with a later version of watershed";

/// A checked config.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which roles are run.
    pub target: Target,
    /// Defaults of the jobs and labels of this server.
    pub global: GlobalConfig,
    /// The jobs of the file and of its `scrape_config_files`, names unique.
    pub jobs: Vec<JobConfig>,
    /// Patterns of rule files, resolved; the last part may hold `*`.
    pub rule_files: Vec<PathBuf>,
    /// Patterns of further files with jobs, resolved.
    pub scrape_config_files: Vec<PathBuf>,
    /// How data is kept.
    pub storage: StorageConfig,
    /// Where alerts go.
    pub alerting: AlertingConfig,
    /// Where samples are sent.
    pub remote_write: Vec<RemoteWriteConfig>,
    /// Where samples are read from.
    pub remote_read: Vec<EndpointConfig>,
    /// Where traces go.
    pub tracing: Option<TracingConfig>,
    /// How OTLP metrics become series.
    pub otlp: otlp::Config,
    /// The members of the cluster frontend.
    pub federation: Option<FederationConfig>,
    /// The backends of the gateway.
    pub gateway: Option<GatewayConfig>,
    /// The config file and every file that it named and that was read with it; a change of any is a reason to reload.
    pub sources: Vec<PathBuf>,
    /// What is accepted but not acted upon, in the order of the files.
    pub warnings: Vec<ConfigWarning>,
    /// The effective config with defaults as YAML, without secrets; jobs of `scrape_config_files` are not part of it.
    pub rendered: String,
}

/// The value of `target`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// Whatever the config configures.
    All,
    /// Scraping, federation, storage and queries.
    Agent,
    /// Queries over the members of a cluster, and nothing that is stored here.
    Frontend,
    /// A door to the components of a cluster, and nothing else.
    Gateway,
}

/// What the command line says of the configuration: ways in it (`gateway.proxy.default.url`) and their values, which win
/// over those of the file.
#[derive(Clone, Debug, Default)]
pub struct Settings(pub Vec<(String, String)>);

/// Reads a config file and the files that it names.
///
/// Relative paths in it start at its own directory. The files of the errors are named as seen from `path`.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    load_with(path, &Features::default())
}

/// As [`load`], where some features of the command line change defaults.
pub fn load_with(path: &Path, features: &Features) -> Result<Config, ConfigErrors> {
    load_set(path, features, &Settings::default(), false)
}

/// As [`load_with`], where the command line has settings of its own. A file that `may_be_missing` may be.
pub fn load_set(
    path: &Path,
    features: &Features,
    settings: &Settings,
    may_be_missing: bool,
) -> Result<Config, ConfigErrors> {
    let reader = Reader::new(path, path.parent().unwrap_or(Path::new(""))).with_features(features);
    let is_missing = may_be_missing && !path.exists();
    let (text, sources) = match is_missing {
        true => (Some(String::new()), Vec::new()),
        false => (read_file(&reader, path), vec![path.to_owned()]),
    };
    load_text(reader, text.as_deref(), sources, settings, &|name| std::env::var(name).ok())
}

/// Reads a config from a text whose relative paths start at `base_dir`; errors call it `<config>`.
pub fn load_str(text: &str, base_dir: &Path) -> Result<Config, ConfigErrors> {
    load_str_with(text, base_dir, Settings::default())
}

/// As [`load_str`], where the command line has settings of its own.
pub fn load_str_with(text: &str, base_dir: &Path, settings: Settings) -> Result<Config, ConfigErrors> {
    let reader = Reader::new(Path::new("<config>"), base_dir);
    load_text(reader, Some(text), Vec::new(), &settings, &|name| std::env::var(name).ok())
}

/// Reads how to reach servers from a file of its own: the keys that every `http_config` has, as for promtool's
/// `--http.config.file`.
pub fn load_http(path: &Path) -> Result<HttpClientConfig, ConfigErrors> {
    let reader = Reader::new(path, path.parent().unwrap_or(Path::new("")));
    let text = read_file(&reader, path);
    let root = text.as_deref().and_then(|text| reader.parse(text));
    let section = root.map(|root| {
        let mut f = At::root(&reader, &root).fields();
        let section = http::read(&mut f, true, http::OAuth2::Refused);
        f.finish();
        section
    });
    let (mistakes, _) = reader.finish();
    match section {
        Some(section) if mistakes.is_empty() => Ok(section.client),
        _ => Err(ConfigErrors::new(path, mistakes)),
    }
}

/// The text of a file, or a mistake at its first line.
fn read_file(reader: &Reader, path: &Path) -> Option<String> {
    let bytes =
        std::fs::read(path).map_err(|e| reader.mistake(yaml::Pos::START, "", format!("cannot be read: {e}"))).ok()?;
    match String::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(e) => {
            let before = &e.as_bytes()[..e.utf8_error().valid_up_to()];
            let line = before.iter().filter(|b| **b == b'\n').count() + 1;
            reader.mistake(yaml::Pos { line, column: 1 }, "", "the file is not UTF-8 from this line on");
            None
        }
    }
}

fn load_text(
    reader: Reader,
    text: Option<&str>,
    sources: Vec<PathBuf>,
    settings: &Settings,
    env: global::Environment<'_>,
) -> Result<Config, ConfigErrors> {
    let root = text.and_then(|text| reader.parse(text)).map(|root| {
        settings.0.iter().fold(root, |root, (way, value)| {
            let way: Vec<&str> = way.split('.').collect();
            yaml::Node::with(&root, &way, value)
        })
    });
    let config = root.map(|root| read_config(&At::root(&reader, &root), sources, env));
    let file = reader.file().to_owned();
    let (mistakes, mut warnings) = reader.finish();
    match config {
        Some(config) if mistakes.is_empty() => {
            warnings.sort_by(|a, b| (a.mistake.file != file, &a.mistake).cmp(&(b.mistake.file != file, &b.mistake)));
            warnings.dedup();
            Ok(Config { warnings: mistake::fold(warnings), ..config })
        }
        _ => Err(ConfigErrors::new(&file, mistakes)),
    }
}

/// Reads all sections, in the order in which they are shown.
fn read_config(at: &At<'_>, mut sources: Vec<PathBuf>, env: global::Environment<'_>) -> Config {
    let mut f = at.fields();
    let null = yaml::Node::null(at.node.pos);
    let nothing = At::root(at.reader, &null);

    let global_at = f.section("global");
    let (global, shown) = global::read(global_at.as_ref().unwrap_or(&nothing), global_at.is_some(), env);
    let names = global.name_validation;
    f.put("global", shown.into_out());

    let runtime = extras::read_runtime(&f.section("runtime").unwrap_or_else(|| nothing.clone()));
    f.put("runtime", runtime.into_out());

    let (alerting, shown) = alerting::read(&f.section("alerting").unwrap_or_else(|| nothing.clone()), names);
    f.put("alerting", shown.into_out_or_omit());
    f.not_yet("alerting");

    let rule_files = read_rule_files(&mut f, names, &mut sources);
    let scrape_config_files = read_patterns(&mut f, "scrape_config_files", "invalid scrape config file path");

    let (mut jobs, shown) = read_jobs(&mut f, &global);
    f.put("scrape_configs", if shown.is_empty() { Out::Omit } else { Out::Seq(shown) });
    let mut names_seen = check_job_names(&f, &jobs);
    for pattern in &scrape_config_files {
        let found = files::glob(pattern);
        warn_if_missing(&f, "scrape_config_files", pattern, &found);
        for path in found {
            jobs.extend(read_included(at.reader, &path, &global, &mut names_seen));
            sources.push(path);
        }
    }

    let storage_at = f.section("storage").unwrap_or_else(|| nothing.clone());
    let (storage, shown) = storage::read(&storage_at, &global.external_labels);
    f.put("storage", shown.into_out());

    let tracing = f.section("tracing").map(|at| extras::read_tracing(&at));
    f.put("tracing", tracing.as_ref().map_or(Out::Omit, |(_, shown)| shown.clone().into_out()));
    f.not_yet("tracing");

    let remote_write = remote::read_writers(&mut f, names);
    let remote_read = remote::read_readers(&mut f, &global.external_labels);
    let (otlp, shown) = extras::read_otlp(&f.section("otlp").unwrap_or(nothing), names);
    f.put("otlp", shown.into_out());

    let target = read_target(&mut f);
    read_open_door(&mut f);
    let federation = f.section("federation").map(|at| federation::read(&at, names));
    f.put("federation", federation.as_ref().map_or(Out::Omit, |(_, shown)| shown.clone().into_out()));
    if target == Target::Frontend && federation.is_none() {
        f.mistake("federation", "the role federation-frontend needs members, under federation.proxy_targets");
    }
    let prefixes = gateway::read_prefixes(&mut f);
    let gateway = f.section("gateway").map(|at| gateway::read(&at, prefixes));
    f.put("gateway", gateway.as_ref().map_or(Out::Omit, |(_, shown)| shown.clone().into_out()));
    if target == Target::Gateway {
        if gateway.is_none() {
            f.mistake("gateway", "the role gateway needs backends, under gateway.proxy");
        }
        for key in GATEWAY_IGNORES {
            f.warn(key, &format!("the role gateway does not act on {key}"));
        }
        jobs.clear();
    }
    let rendered = render::render(&f.finish().into_out());
    Config {
        target,
        global,
        jobs,
        rule_files,
        scrape_config_files,
        storage,
        alerting,
        remote_write,
        remote_read,
        tracing: tracing.map(|(config, _)| config),
        otlp,
        federation: federation.map(|(config, _)| config).filter(|_| target != Target::Gateway),
        gateway: gateway.map(|(config, _)| config).filter(|_| target == Target::Gateway),
        sources,
        warnings: Vec::new(),
        rendered,
    }
}

/// Every section that says what a server does with samples.
const GATEWAY_IGNORES: [&str; 11] = [
    "global",
    "alerting",
    "rule_files",
    "scrape_config_files",
    "scrape_configs",
    "storage",
    "tracing",
    "remote_write",
    "remote_read",
    "otlp",
    "federation",
];

/// The patterns under `key`, resolved; one star at most, in the last part of the path.
fn read_patterns(f: &mut Fields<'_>, key: &'static str, sentence: &str) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for at in f.items(key) {
        let Some(pattern) = at.read::<String>() else { continue };
        if !files::has_star_in_last_part_only(&pattern) {
            at.mistake(format!("{sentence} {pattern:?}: * may stand only in the last part of the path"));
            continue;
        }
        paths.push(at.reader.path(&pattern));
    }
    if !paths.is_empty() {
        f.put(key, Out::Seq(paths.iter().map(|p| fields::show_path(p)).collect()));
    }
    paths
}

fn read_rule_files(
    f: &mut Fields<'_>,
    names: crate::scrape::NameValidation,
    sources: &mut Vec<PathBuf>,
) -> Vec<PathBuf> {
    const KEY: &str = "rule_files";
    let patterns = read_patterns(f, KEY, "invalid rule file path");
    for pattern in &patterns {
        let found = files::glob(pattern);
        warn_if_missing(f, KEY, pattern, &found);
        for path in found {
            rules::check_file(f.reader(), &path, names);
            sources.push(path);
        }
    }
    f.not_yet(KEY);
    patterns
}

/// A pattern without matches is fine, as in the reference, but a file named in full was meant to be there.
fn warn_if_missing(f: &Fields<'_>, key: &str, pattern: &Path, found: &[PathBuf]) {
    if found.is_empty() && files::is_plain(pattern) {
        f.warn(key, &format!("{} does not exist", pattern.display()));
    }
}

/// The jobs under `scrape_configs` with what to show of them.
fn read_jobs(f: &mut Fields<'_>, global: &GlobalConfig) -> (Vec<JobConfig>, Vec<Out>) {
    let mut jobs = Vec::new();
    let mut shown = Vec::new();
    for at in f.items("scrape_configs") {
        if at.node.is_null() {
            at.mistake("empty or null scrape config section");
            continue;
        }
        let (job, out) = job::read(&at, global);
        jobs.push(job);
        shown.push(out);
    }
    (jobs, shown)
}

type SeenNames = std::collections::HashMap<String, String>;

fn check_job_names(f: &Fields<'_>, jobs: &[JobConfig]) -> SeenNames {
    let mut seen = SeenNames::new();
    for (i, job) in jobs.iter().enumerate().filter(|(_, j)| !j.name.is_empty()) {
        if seen.insert(job.name.clone(), "main config file".to_owned()).is_some() {
            let why = format!("found multiple scrape configs with job name {:?}", job.name);
            job_name_at(f, i).mistake(why);
        }
    }
    seen
}

/// The name of the `i`th job that is not null.
fn job_name_at<'c>(f: &Fields<'c>, i: usize) -> At<'c> {
    let jobs = f.find("scrape_configs").map_or_else(Vec::new, |list| list.items());
    let Some(job) = jobs.into_iter().filter(|j| !j.node.is_null()).nth(i) else { return f.at().clone() };
    job.fields().find("job_name").unwrap_or(job)
}

/// The jobs of one of the `scrape_config_files`; its mistakes go to the main file's reader.
fn read_included(main: &Reader, path: &Path, global: &GlobalConfig, seen: &mut SeenNames) -> Vec<JobConfig> {
    let reader = Reader::new(path, path.parent().unwrap_or(Path::new("")));
    let root = read_file(&reader, path).and_then(|text| reader.parse(&text));
    let mut jobs = Vec::new();
    if let Some(root) = root {
        let mut f = At::root(&reader, &root).fields();
        jobs = read_jobs(&mut f, global).0;
        for (i, job) in jobs.iter().enumerate().filter(|(_, j)| !j.name.is_empty()) {
            if let Some(first) = seen.insert(job.name.clone(), path.display().to_string()) {
                let why = format!("found multiple scrape configs with job name {:?}, first found in {first}", job.name);
                job_name_at(&f, i).mistake(why);
            }
        }
        f.finish();
    }
    main.absorb(reader);
    jobs
}

/// What the enterprise product calls authentication and tenants. The members do the one, and know the others.
fn read_open_door(f: &mut Fields<'_>) {
    for key in ["auth_enabled", "multitenancy_enabled"] {
        if f.take(key, false) {
            f.mistake(key, "this server asks for passwords by a web config file (--web.config.file) and has no tenants; set it to false");
        }
    }
}

fn read_target(f: &mut Fields<'_>) -> Target {
    const KEY: &str = "target";
    let Some(at) = f.section(KEY) else { return Target::All };
    let Some(text) = at.text() else { return Target::All };
    let mut target = Target::Agent;
    for role in text.split(',').map(str::trim) {
        match role {
            "all" => target = Target::All,
            "agent" => {}
            "federation-frontend" if text.contains(',') => target = Target::All,
            "federation-frontend" => target = Target::Frontend,
            "gateway" if text.contains(',') => {
                at.mistake("the role gateway stands alone: its paths are those of the components behind it");
            }
            "gateway" => target = Target::Gateway,
            other => {
                let roles = ["all", "agent", "federation-frontend", "gateway"];
                at.mistake(fields::unknown_word("role", other, roles.into_iter()));
            }
        }
    }
    f.put(KEY, Out::Text(text.to_owned()));
    target
}

#[cfg(test)]
mod tests;
