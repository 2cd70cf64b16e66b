//! The section `storage.ship`, of our own.

use url::Url;

use super::fields::{At, Fields, Shown};
use super::http;
use super::render::Out;
use super::scalar::ByteSize;
use crate::model::Labels;
use crate::net::{Secret, SecretSource};
use crate::tsdb::ship::{Config, Target};

const FORMS: &str =
    "a bucket is written like file:///mnt/bucket, s3://bucket/prefix, gs://bucket/prefix or azure://container/prefix";
const NO_LABELS: &str =
    "needs global.external_labels, by which Thanos and Mimir tell the blocks of one server from those of another";
const NOT_BUILT: &str = "this build ships to directories only (file:///...); object stores need one that was built with `cargo build --features ship`";

/// Reads the section. `None` after a mistake that leaves no bucket.
pub(super) fn read(at: &At<'_>, labels: &Labels) -> (Option<Config>, Shown) {
    let mut f = at.fields();
    if labels.is_empty() {
        at.mistake(NO_LABELS);
    }
    let place = read_url(&mut f);
    let upload_compacted = f.take("upload_compacted", false);
    let limit: ByteSize = f.take("bandwidth_limit", ByteSize(0));
    if limit.0 < 0 {
        f.mistake("bandwidth_limit", format!("must be the bytes of a second, or 0 for no limit, got {limit}"));
    }
    let target = place.as_ref().and_then(|url| read_target(&mut f, url));
    let tls = http::read_tls(&mut f, "tls_config");
    let proxy = http::read_proxy(&mut f);
    let bytes_per_second = u64::try_from(limit.0).ok().filter(|n| *n > 0);
    let config = target.map(|target| Config { target, upload_compacted, bytes_per_second, tls, proxy });
    if config.as_ref().is_some_and(|config| !config.target.is_supported()) {
        f.mistake("url", NOT_BUILT);
    }
    (config, f.finish())
}

fn read_url(f: &mut Fields<'_>) -> Option<Url> {
    let Some(at) = f.section("url") else {
        f.mistake("url", format!("is missing; {FORMS}"));
        return None;
    };
    let text = at.text()?;
    f.put("url", http::show_url(text));
    let known = |url: &Url| matches!(url.scheme(), "file" | "s3" | "gs" | "azure");
    // The text is not repeated: it may hold a secret in a place where none belongs.
    match Url::parse(text) {
        Ok(url) if !known(&url) => at.mistake(format!("unknown kind of bucket {:?}; {FORMS}", url.scheme())),
        Ok(url) if url.query().is_some() || url.fragment().is_some() || url.password().is_some() => {
            at.mistake(format!("has more than a bucket and a prefix; {FORMS}"));
        }
        Ok(url) => return Some(url),
        Err(error) => at.mistake(format!("not a URL: {error}; {FORMS}")),
    }
    None
}

fn read_target(f: &mut Fields<'_>, url: &Url) -> Option<Target> {
    let sections = ["s3", "gcs", "azure"].map(|key| f.section(key));
    let own = match url.scheme() {
        "s3" => Some(0),
        "gs" => Some(1),
        "azure" => Some(2),
        _ => None,
    };
    let foreign = sections.iter().enumerate().filter(|(i, _)| Some(*i) != own);
    for at in foreign.filter_map(|(_, section)| section.as_ref()) {
        at.mistake(format!("has no meaning for a bucket of the kind {}", url.scheme()));
    }
    let Some(own) = own else { return read_dir(f, url) };
    let Some(name) = url.host_str().filter(|host| !host.is_empty()) else {
        f.mistake("url", format!("names no bucket; {FORMS}"));
        return None;
    };
    let (name, prefix) = (name.to_owned(), url.path().trim_matches('/').to_owned());
    let null = super::yaml::Node::null(f.at().node.pos);
    let at = sections[own].clone().unwrap_or_else(|| At::root(f.reader(), &null));
    let mut s = at.fields();
    let (key, target) = match own {
        0 => ("s3", read_s3(&mut s, name, prefix)),
        1 => (
            "gcs",
            Target::Gcs {
                bucket: name,
                prefix,
                service_account: s.path("service_account_file").map(SecretSource::File),
            },
        ),
        _ => ("azure", read_azure(&mut s, name, prefix)),
    };
    let shown = s.finish();
    f.put(key, shown.into_out_or_omit());
    Some(target)
}

fn read_dir(f: &Fields<'_>, url: &Url) -> Option<Target> {
    let path = url.to_file_path().ok().filter(|path| path.parent().is_some());
    if path.is_none() {
        f.mistake(
            "url",
            "names no directory below the root; it is written with three slashes, like file:///mnt/bucket",
        );
    }
    path.map(Target::Dir)
}

fn read_s3(s: &mut Fields<'_>, bucket: String, prefix: String) -> Target {
    let region = non_empty(s, "region");
    let endpoint = read_endpoint(s);
    let access_key_id = non_empty(s, "access_key_id");
    let secret_access_key = secret(s, "secret_access_key", "secret_access_key_file");
    if access_key_id.is_some() != secret_access_key.is_some() && !s.has_faulty() {
        s.mistake(
            "access_key_id",
            "access_key_id and secret_access_key or its file go together; without both, they come from the environment",
        );
    }
    Target::S3 { bucket, prefix, region, endpoint, access_key_id, secret_access_key }
}

fn read_azure(s: &mut Fields<'_>, container: String, prefix: String) -> Target {
    let account = non_empty(s, "account");
    let access_key = secret(s, "access_key", "access_key_file");
    Target::Azure { container, prefix, account, access_key, endpoint: read_endpoint(s) }
}

fn non_empty(s: &mut Fields<'_>, key: &'static str) -> Option<String> {
    Some(s.take(key, String::new())).filter(|text| !text.is_empty())
}

fn secret(s: &mut Fields<'_>, key: &'static str, file_key: &'static str) -> Option<SecretSource> {
    let inline: Secret = s.take(key, Secret::default());
    let file = s.path(file_key);
    match (inline.reveal().is_empty(), file) {
        (false, Some(_)) => {
            s.mistake(file_key, format!("at most one of {key} & {file_key} must be configured"));
            None
        }
        (false, None) => Some(SecretSource::Inline(inline)),
        (true, file) => file.map(SecretSource::File),
    }
}

fn read_endpoint(s: &mut Fields<'_>) -> Option<Url> {
    let at = s.section("endpoint")?;
    let text = at.text()?;
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() && url.password().is_none() => {
            s.put("endpoint", Out::Text(text.to_owned()));
            Some(url)
        }
        _ => {
            at.mistake("is no URL like https://minio.example.org:9000");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const LABELS: &str = "global: {external_labels: {site: garage}}\n";

    fn load(ship: &str) -> Result<Option<Config>, Vec<String>> {
        match crate::config::load_str(&format!("{LABELS}storage: {{ship: {ship}}}\n"), Path::new("/etc/w")) {
            Ok(config) => Ok(config.storage.ship),
            Err(errors) => Err(errors.iter().map(ToString::to_string).collect()),
        }
    }

    fn refused(ship: &str, words: &str) {
        let told = load(ship).expect_err("a mistake");
        assert!(
            told.iter().any(|t| t.starts_with("<config>:2:") && t.contains(words)),
            "{words:?} is not in {told:#?}"
        );
    }

    #[test]
    fn a_directory_needs_nothing_but_its_url() {
        let config =
            load("{url: 'file:///mnt/a%20bucket', upload_compacted: true, bandwidth_limit: 2MB}").unwrap().unwrap();
        assert_eq!(config.target, Target::Dir("/mnt/a bucket".into()));
        assert!(config.upload_compacted);
        assert_eq!(config.bytes_per_second, Some(2 << 20));
        assert_eq!(load("{url: 'file:///b'}").unwrap().unwrap().bytes_per_second, None);
        assert_eq!(load("").unwrap(), None);
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        refused("{}", "storage.ship.url: is missing; a bucket is written like file:///mnt/bucket");
        refused("{ur: 'file:///b'}", "storage.ship.ur: unknown key; did you mean url?");
        refused("{url: /mnt/bucket}", "storage.ship.url: not a URL");
        refused("{url: 'ftp://b'}", "unknown kind of bucket \"ftp\"");
        refused("{url: 'file://mnt/bucket'}", "three slashes");
        refused("{url: 'file:///'}", "no directory below the root");
        refused("{url: 'file:///b', bandwidth_limit: -1MB}", "storage.ship.bandwidth_limit");
        refused("{url: 'file:///b', s3: {region: x}}", "storage.ship.s3: has no meaning for a bucket of the kind file");
        refused("{url: 's3:///b'}", "names no bucket");
        refused("{url: 's3://b', s3: {regoin: x}}", "storage.ship.s3.regoin: unknown key; did you mean region?");
        refused("{url: 's3://b', s3: {access_key_id: x}}", "go together");
        refused("{url: 's3://b', s3: {endpoint: 'minio:9000'}}", "is no URL like");
        refused("{url: 'azure://b', azure: {access_key: x, access_key_file: y}}", "at most one of access_key");
        let told = load("{url: 's3://me:hidden@b?key=hidden'}").expect_err("a mistake");
        assert!(!told.concat().contains("hidden"), "{told:?}");
    }

    #[test]
    fn shipping_without_external_labels_is_refused() {
        let told =
            crate::config::load_str("storage: {ship: {url: 'file:///b'}}", Path::new("")).expect_err("a mistake");
        assert!(told.to_string().contains("needs global.external_labels"), "{told}");
    }

    #[cfg(not(feature = "ship"))]
    #[test]
    fn a_build_without_object_stores_says_so() {
        refused("{url: 's3://b/p'}", "this build ships to directories only");
    }

    #[cfg(feature = "ship")]
    #[test]
    fn object_stores_have_a_bucket_a_prefix_and_credentials() {
        let text = "{url: 's3://blocks/a/b/', s3: {region: r, endpoint: 'http://minio:9000', access_key_id: me, secret_access_key: hidden}}";
        let expected = Target::S3 {
            bucket: "blocks".into(),
            prefix: "a/b".into(),
            region: Some("r".into()),
            endpoint: Some("http://minio:9000".parse().unwrap()),
            access_key_id: Some("me".into()),
            secret_access_key: Some(SecretSource::Inline(Secret::new("hidden"))),
        };
        assert_eq!(load(text).unwrap().unwrap().target, expected);
        let text = format!("{LABELS}storage: {{ship: {text}}}\n");
        let shown = crate::config::load_str(&text, Path::new("/etc/w")).unwrap().rendered;
        assert!(shown.contains("url: s3://blocks/a/b/") && !shown.contains("hidden"), "{shown}");
        let gcs = load("{url: 'gs://b', gcs: {service_account_file: key.json}}").unwrap().unwrap().target;
        let service_account = Some(SecretSource::File("/etc/w/key.json".into()));
        assert_eq!(gcs, Target::Gcs { bucket: "b".into(), prefix: String::new(), service_account });
        let azure = load("{url: 'azure://c/p', azure: {account: a, access_key_file: /k}}").unwrap().unwrap().target;
        let access_key = Some(SecretSource::File("/k".into()));
        let account = Some("a".to_owned());
        assert_eq!(
            azure,
            Target::Azure { container: "c".into(), prefix: "p".into(), account, access_key, endpoint: None }
        );
    }
}
