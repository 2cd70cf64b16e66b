//! The import direction of the crate's modules, read from the source text.
//!
//! The layers are those of the crate's map in `src/lib.rs`: data flows from the lower to the upper ones, and a module may
//! import what lies below it. Within a layer modules do not know each other, except for the pairs listed here.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests fail by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// From the bottom to the top.
const LAYERS: &[&[&str]] = &[
    &["model"],
    &["runtime", "telemetry", "net", "disk"],
    &["storage", "exposition", "relabel"],
    &["tsdb", "promql", "discovery"],
    &["scrape", "remote", "cluster", "notify"],
    &["rules", "federate", "gateway"],
    &["web"],
    &["config"],
    &["app"],
    &["cli"],
];

/// Importer and imported within one layer, with the reason.
const WITHIN_A_LAYER: &[(&str, &str, &str)] = &[
    ("telemetry", "runtime", "log lines and process metrics are stamped by the clock"),
    ("net", "runtime", "credential files are looked at by the clock, connections are tasks with an owner"),
];

/// One `crate::` path in the source.
struct Import {
    from: String,
    to: String,
    place: String,
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

fn source_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the source folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            source_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The top-level modules that follow `crate::` in a line of code; comments name modules freely.
fn named_in(line: &str) -> Vec<String> {
    let code = line.split("//").next().unwrap_or_default();
    let mut names = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        // `$crate::` of a macro is a path as any other; `mycrate::` is none.
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => names.extend(group_heads(group)),
            None => names.push(head(rest)),
        }
    }
    names
}

fn head(path: &str) -> String {
    path.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The first names of `{a::{b, c}, d::e}`, read after its opening brace.
fn group_heads(group: &str) -> Vec<String> {
    let (mut depth, mut start, mut heads) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                heads.push(head(&group[start..at]));
                return heads;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                heads.push(head(&group[start..at]));
                start = at + 1;
            }
            _ => {}
        }
    }
    heads.push(head(&group[start..]));
    heads
}

fn imports() -> Vec<Import> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut files, mut imports) = (Vec::new(), Vec::new());
    source_files(&src, &mut files);
    for file in files {
        let inside = file.strip_prefix(&src).expect("a file below src").to_owned();
        let from = inside.iter().next().expect("a name").to_string_lossy().trim_end_matches(".rs").to_owned();
        if from == "lib" || from == "main" {
            continue;
        }
        // A group may stand over several lines: they are joined up to its end.
        let text = fs::read_to_string(&file).expect("a source file");
        let mut pending = String::new();
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            pending.push_str(code);
            let starts_import = pending.trim_start().trim_start_matches("pub ").starts_with("use ");
            if starts_import && !pending.contains(';') {
                pending.push(' ');
                continue;
            }
            for to in named_in(&pending) {
                let place = format!("src/{}:{}", inside.display(), number + 1);
                imports.push(Import { from: from.clone(), to, place });
            }
            pending.clear();
        }
    }
    imports
}

fn objection(import: &Import) -> Option<String> {
    let Import { from, to, place } = import;
    let (Some(upper), Some(lower)) = (layer_of(from), layer_of(to)) else { return None };
    let pair = |a: &str, b: &str| (from == a && to == b) || (from == b && to == a);
    if from == to || (lower < upper && !pair("promql", "tsdb")) {
        return None;
    }
    if pair("promql", "tsdb") {
        return Some(format!("{place}: `{from}` imports `{to}`; the two know each other only through `storage`."));
    }
    if lower == upper {
        let listed = WITHIN_A_LAYER.iter().any(|(a, b, _)| from == a && to == b);
        return (!listed).then(|| {
            format!("{place}: `{from}` imports its neighbour `{to}`. Modules of one layer stand side by side; what both need belongs below them.")
        });
    }
    Some(format!(
        "{place}: `{from}` imports `{to}`, which lies above it. Imports point downward, from what uses to what is used; \
         pass the value in, or move the shared part down."
    ))
}

#[test]
fn modules_import_only_from_the_layers_below_them() {
    let imports = imports();
    assert!(imports.len() > 10, "the source was not read: {} imports", imports.len());
    let objections: BTreeSet<String> = imports.iter().filter_map(objection).collect();
    assert!(objections.is_empty(), "\n{}", objections.into_iter().collect::<Vec<_>>().join("\n"));
}

#[test]
fn every_module_has_its_layer() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let lib = fs::read_to_string(src.join("lib.rs")).expect("lib.rs");
    let modules = lib.lines().filter_map(|l| {
        let rest = l
            .strip_prefix("pub ")
            .unwrap_or(l)
            .strip_prefix("pub(crate) ")
            .unwrap_or(l.strip_prefix("pub ").unwrap_or(l));
        rest.strip_prefix("mod ").and_then(|m| m.strip_suffix(';'))
    });
    let strangers: Vec<&str> = modules.filter(|m| layer_of(m).is_none()).collect();
    assert!(strangers.is_empty(), "modules without a layer in tests/architecture.rs: {strangers:?}");
}

/// Where else a router of the HTTP library may be named: servers that tests talk to.
const OTHER_ROUTERS: &[&str] = &["discovery/providers/http.rs", "tsdb/ship/cloud/tests.rs"];

/// Protection of every route is tested against a list, so a route that is not in the list must not be possible.
#[test]
fn only_the_list_of_routes_makes_a_router() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    source_files(&src, &mut files);
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let names_router = |file: &PathBuf| {
        let text = fs::read_to_string(file).expect("a source file");
        let mut lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
        lines.any(|code| code.split(|c| !is_word(c)).any(|word| word == "Router"))
    };
    let inside = |file: PathBuf| file.strip_prefix(&src).expect("a file below src").to_string_lossy().into_owned();
    let found: BTreeSet<String> = files.into_iter().filter(names_router).map(inside).collect();
    let allowed = OTHER_ROUTERS.iter().chain(&["web/route_list.rs"]).map(|file| (*file).to_owned());
    assert_eq!(found, allowed.collect(), "routes are added to `web::route_list::Routes`, which tells them");
}

#[test]
fn an_upward_import_and_an_unlisted_neighbour_are_objected_to() {
    let import = |from: &str, to: &str| Import { from: from.into(), to: to.into(), place: "here".into() };
    assert!(objection(&import("model", "web")).is_some_and(|o| o.contains("lies above")));
    assert!(objection(&import("tsdb", "promql")).is_some_and(|o| o.contains("only through `storage`")));
    assert!(objection(&import("storage", "relabel")).is_some_and(|o| o.contains("neighbour")));
    assert!(objection(&import("web", "model")).is_none());
    assert_eq!(named_in("use crate::{model::{Labels, Matcher}, net, web::api};"), ["model", "net", "web"]);
    assert_eq!(named_in("let x = crate::tsdb::open(crate::model::now()); // crate::cli"), ["tsdb", "model"]);
}
