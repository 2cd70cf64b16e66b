use std::path::Path;

use watershed::config::{load_str, load_web_str, recording_groups_str};
use watershed::discovery::parse_groups;

pub fn config(data: &[u8]) {
    let text = super::text(data);
    // Globs of an input would look at the machine's files.
    if !text.contains('/') {
        let _ = load_str(text, Path::new("/nowhere"));
    }
}

pub fn web_config(data: &[u8]) {
    let text = super::text(data);
    // It may name files.
    if !text.contains('/') {
        let _ = load_web_str(text, Path::new("/nowhere"));
    }
}

pub fn rules(data: &[u8]) {
    let _ = recording_groups_str(super::text(data));
}

/// What is written as JSON is the same as YAML.
pub fn target_groups(data: &[u8]) {
    let text = super::text(data);
    let (json, yaml) = (parse_groups(text, true, "here"), parse_groups(text, false, "here"));
    if let (Ok(json), Ok(yaml)) = (json, yaml) {
        assert_eq!(format!("{json:?}"), format!("{yaml:?}"), "{text:?}");
    }
}
