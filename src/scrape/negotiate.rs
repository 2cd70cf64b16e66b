//! Which formats a target is asked for.

use std::fmt::Write as _;

use super::config::{EscapingScheme, ScrapeProtocol};
use crate::exposition::MediaType;

/// Number of formats that the reference knows; weights count down from one more.
const KNOWN_FORMATS: usize = 5;

const PROTOBUF: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";

/// The `Accept` header for `protocols`, most wanted first.
pub(super) fn accept_header(protocols: &[ScrapeProtocol], escaping: EscapingScheme) -> String {
    let mut header = String::new();
    let mut weight = KNOWN_FORMATS + 1;
    for protocol in protocols {
        let (media, takes_escaping) = match protocol {
            ScrapeProtocol::PrometheusProto => (PROTOBUF, false),
            ScrapeProtocol::PrometheusText004 => ("text/plain;version=0.0.4", false),
            ScrapeProtocol::PrometheusText100 => ("text/plain;version=1.0.0", true),
            ScrapeProtocol::OpenMetricsText001 => ("application/openmetrics-text;version=0.0.1", false),
            ScrapeProtocol::OpenMetricsText100 => ("application/openmetrics-text;version=1.0.0", true),
        };
        header.push_str(media);
        if takes_escaping {
            header.push_str(";escaping=");
            header.push_str(escaping_name(escaping));
        }
        // Writing to a String cannot fail.
        let _ = write!(header, ";q=0.{weight},");
        weight -= 1;
    }
    let _ = write!(header, "*/*;q=0.{weight}");
    header
}

fn escaping_name(escaping: EscapingScheme) -> &'static str {
    match escaping {
        EscapingScheme::AllowUtf8 => "allow-utf-8",
        EscapingScheme::Underscores => "underscores",
        EscapingScheme::Dots => "dots",
        EscapingScheme::Values => "values",
    }
}

/// The media type that stands in for an unusable content type.
pub(super) fn fallback_media_type(protocol: ScrapeProtocol) -> MediaType {
    match protocol {
        ScrapeProtocol::PrometheusProto => MediaType::Protobuf,
        ScrapeProtocol::PrometheusText004 | ScrapeProtocol::PrometheusText100 => MediaType::TextPlain,
        ScrapeProtocol::OpenMetricsText001 | ScrapeProtocol::OpenMetricsText100 => MediaType::OpenMetricsText,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_count_down_and_only_newer_text_formats_take_an_escaping() {
        let all = [
            ScrapeProtocol::PrometheusProto,
            ScrapeProtocol::OpenMetricsText100,
            ScrapeProtocol::OpenMetricsText001,
            ScrapeProtocol::PrometheusText100,
            ScrapeProtocol::PrometheusText004,
        ];
        assert_eq!(
            accept_header(&all, EscapingScheme::AllowUtf8),
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,\
             application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
             application/openmetrics-text;version=0.0.1;q=0.4,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
        );
        assert_eq!(
            accept_header(&[ScrapeProtocol::PrometheusText004], EscapingScheme::Underscores),
            "text/plain;version=0.0.4;q=0.6,*/*;q=0.5"
        );
    }
}
