//! Which parser a content type asks for.

/// The media types of the exposition formats.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MediaType {
    /// `text/plain`.
    TextPlain,
    /// `application/openmetrics-text`.
    OpenMetricsText,
    /// `application/vnd.google.protobuf`.
    Protobuf,
}

/// A body cannot be parsed because of its content type.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ContentTypeError {
    /// There is none.
    #[error(
        "non-compliant scrape target sending blank Content-Type and no fallback_scrape_protocol specified for target"
    )]
    Blank,
    /// It does not follow the grammar of media types.
    #[error("cannot parse Content-Type {0:?} and no fallback_scrape_protocol for target: {1}")]
    Malformed(String, &'static str),
    /// It names another format.
    #[error("received unsupported Content-Type {0:?} and no fallback_scrape_protocol specified for target")]
    Unsupported(String),
}

/// Chooses the format of a body by its content type (empty where there is none), or by `fallback` where that is unusable.
pub fn choose_format(content_type: &str, fallback: Option<MediaType>) -> Result<MediaType, ContentTypeError> {
    let named = if content_type.is_empty() {
        Err(ContentTypeError::Blank)
    } else {
        match media_type(content_type) {
            Err(problem) => Err(ContentTypeError::Malformed(content_type.to_owned(), problem)),
            Ok(media) => known_media_type(&media).ok_or_else(|| ContentTypeError::Unsupported(content_type.to_owned())),
        }
    };
    match (named, fallback) {
        (Ok(media), _) | (Err(_), Some(media)) => Ok(media),
        (Err(error), None) => Err(error),
    }
}

fn known_media_type(media: &str) -> Option<MediaType> {
    match media {
        "text/plain" => Some(MediaType::TextPlain),
        "application/openmetrics-text" => Some(MediaType::OpenMetricsText),
        "application/vnd.google.protobuf" => Some(MediaType::Protobuf),
        _ => None,
    }
}

/// The media type in lower case, after a check of the whole header as Go's `mime.ParseMediaType` does it.
fn media_type(content_type: &str) -> Result<String, &'static str> {
    let (base, mut rest) = content_type.split_at(content_type.find(';').unwrap_or(content_type.len()));
    let media = base.trim().to_ascii_lowercase();
    let (kind, slash) = take_token(&media);
    if kind.is_empty() {
        return Err("no media type");
    }
    if !slash.is_empty() {
        let subtype = slash.strip_prefix('/').ok_or("expected slash after first token")?;
        match take_token(subtype) {
            ("", _) => return Err("expected token after slash"),
            (_, "") => {}
            _ => return Err("unexpected content after media subtype"),
        }
    }
    let mut names: Vec<String> = Vec::new();
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return Ok(media);
        }
        let Some((name, behind)) = take_parameter(rest) else {
            // A lone semicolon at the end is forgiven.
            return if rest.trim() == ";" { Ok(media) } else { Err("invalid media parameter") };
        };
        if names.contains(&name) {
            return Err("duplicate parameter name");
        }
        names.push(name);
        rest = behind;
    }
}

/// `; name=value`; returns the name in lower case and what follows.
fn take_parameter(text: &str) -> Option<(String, &str)> {
    let (name, rest) = take_token(text.strip_prefix(';')?.trim_start());
    let rest = rest.trim_start().strip_prefix('=')?.trim_start();
    if name.is_empty() {
        return None;
    }
    let rest = match rest.strip_prefix('"') {
        Some(quoted) => behind_quoted(quoted)?,
        None => match take_token(rest) {
            ("", _) => return None,
            (_, rest) => rest,
        },
    };
    Some((name.to_ascii_lowercase(), rest))
}

fn behind_quoted(text: &str) -> Option<&str> {
    let mut escaped = false;
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(&text[i + 1..]),
            '\r' | '\n' => return None,
            _ => {}
        }
    }
    None
}

fn take_token(text: &str) -> (&str, &str) {
    let is_token = |c: char| c.is_ascii_graphic() && !"()<>@,;:\\\"/[]?=".contains(c);
    text.split_at(text.find(|c| !is_token(c)).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_choose_the_parser() {
        for (content_type, format) in [
            ("text/plain", MediaType::TextPlain),
            ("text/plain; version=0.0.4; charset=utf-8", MediaType::TextPlain),
            ("TEXT/PLAIN;version=\"1.0.0\";", MediaType::TextPlain),
            ("application/openmetrics-text; version=1.0.0; charset=utf-8", MediaType::OpenMetricsText),
            ("application/openmetrics-text;version=9", MediaType::OpenMetricsText),
            (
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
                MediaType::Protobuf,
            ),
        ] {
            assert_eq!(choose_format(content_type, None), Ok(format), "{content_type}");
        }
    }

    #[test]
    fn an_unusable_content_type_needs_a_fallback() {
        for content_type in ["", "text/html", "application/json", "text/plain; a=1; a=2", "text/", "/", "text/plain; x"]
        {
            assert!(choose_format(content_type, None).is_err(), "{content_type}");
            assert_eq!(
                choose_format(content_type, Some(MediaType::TextPlain)),
                Ok(MediaType::TextPlain),
                "{content_type}"
            );
        }
        let html = choose_format("text/html", None).map_err(|e| e.to_string());
        let sentence =
            r#"received unsupported Content-Type "text/html" and no fallback_scrape_protocol specified for target"#;
        assert_eq!(html, Err(sentence.to_owned()));
    }
}
