use watershed::exposition::protobuf::{LabelPair, MessageParser, MetricValue};
use watershed::exposition::{Event, Format, Parser, SeriesLabels, choose_format, unescape_help};
use watershed::federate::negotiate;
use watershed::model::MetricType;
use watershed::remote::write::{AcceptedMessages, Content};

pub fn text(data: &[u8]) {
    parse(data, Format::Text);
}

pub fn openmetrics(data: &[u8]) {
    parse(data, Format::OpenMetrics);
}

/// What is a sample has labels that can be read; lines are consumed in order; and a line that is predicted is the same sample.
fn parse(body: &[u8], format: Format) {
    let mut parser = Parser::new(body, format);
    let mut labels = SeriesLabels::new();
    let mut before = body.len() + 1;
    loop {
        let mut twin = parser.clone();
        let Ok(Some(event)) = parser.next() else { break };
        assert!(parser.rest().len() < before, "a line is consumed");
        before = parser.rest().len();
        match event {
            Event::Series(sample) => {
                if labels.decode(sample.series, format, MetricType::Unknown).is_ok() {
                    assert!(labels.iter().count() == labels.len());
                }
                sample.exemplar.map(|exemplar| exemplar.decode());
                if let Ok(Some(again)) = twin.accept_series(sample.series.len()) {
                    assert_eq!(again.series, sample.series);
                    assert_eq!((again.value.to_bits(), again.timestamp), (sample.value.to_bits(), sample.timestamp));
                }
            }
            Event::Help(_, text) => drop(unescape_help(text, format)),
            Event::Type(..) | Event::Unit(..) | Event::Comment => {}
        }
    }
}

/// Whatever is offered of a message can be asked for.
pub fn protobuf(data: &[u8]) {
    let mut parser = MessageParser::new(data);
    while let Ok(Some(mut family)) = parser.next() {
        while let Ok(Some(metric)) = family.next_metric() {
            for label in metric.label_messages() {
                let _ = LabelPair::read(label);
            }
            match &metric.value {
                MetricValue::Number(_) => {}
                MetricValue::Summary(summary) => drop(summary.quantiles().count()),
                MetricValue::Histogram(h) => {
                    let _ = (h.is_native(), h.has_classic_buckets(), h.count(), h.is_gauge());
                    let _ = (h.buckets().count(), h.exemplars().count(), h.native());
                }
            }
            family.error(&metric, "nothing");
        }
    }
}

/// What a target says that it answers, what a client of `/federate` takes, and what a sender says that it sends.
pub fn content_type(data: &[u8]) {
    let text = super::text(data);
    let _ = choose_format(text, None);
    let format = negotiate(text);
    assert!(format.content_type().contains('/'));
    let _ = Content::negotiate(text, "snappy", AcceptedMessages::ALL);
    let _ = Content::negotiate("", text, AcceptedMessages::ALL);
}
