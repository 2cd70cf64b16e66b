//! The rules for receivers in the specifications of remote write 2.0 (2.0-rc.4) and 1.0, each with a test named after it.
//!
//! Source: prometheus.io/docs/specs/prw/remote_write_spec_2_0 and .../remote_write_spec. Rules for senders are here where a
//! receiver sees them broken. That 5xx is for what may succeed later is tested where a store can be made to fail, in
//! `web::tests`; that metadata and start timestamps are kept, in `remote::write::tests`.

use super::{Receiver, Request, V1, V2, histogram, packed, sample, v1, written};
use crate::support::http::{self, Response};
use crate::support::now_ms;
use crate::support::process::Home;
use crate::support::remote_write::Message;

const UP: &[(&str, &str)] = &[("__name__", "up"), ("job", "a")];

fn exemplar(request: &mut Request, t: i64) -> Message {
    let refs = request.refs(&[("trace_id", "abc")]);
    Message::default().bytes(4, &Message::default().bytes(1, &refs).double(2, 0.5).int(3, t).0)
}

fn up(t: i64, v: f64) -> Message {
    Request::new().series(UP, &sample(t, v)).message()
}

fn join(parts: &[Message]) -> Message {
    Message(parts.iter().flat_map(|part| part.0.clone()).collect())
}

fn is_2xx(response: &Response) -> bool {
    (200..300).contains(&response.status)
}

// Protocol.

#[test]
fn receivers_must_support_the_message_of_2_0() {
    let receiver = Receiver::start(&[]);
    let t = now_ms();
    assert_eq!(receiver.send(V2, &up(t, 1.0)).status, 204);
    assert_eq!(receiver.samples("up"), [(t, "1".to_owned())]);
}

#[test]
fn receivers_may_support_the_message_of_1_0() {
    let receiver = Receiver::start(&[]);
    let t = now_ms();
    for (i, content_type) in [V1, "application/x-protobuf;proto=prometheus.WriteRequest"].into_iter().enumerate() {
        let message = v1(&[(UP, &[(t + i as i64, 1.0)])]);
        assert_eq!(receiver.send(content_type, &message).status, 204, "{content_type}");
    }
    assert_eq!(receiver.samples("up").len(), 2);
}

#[test]
fn receivers_must_support_snappy_in_its_block_format_and_not_the_framed_one() {
    let receiver = Receiver::start(&[]);
    let message = up(now_ms(), 1.0);
    assert_eq!(receiver.post(V2, "snappy", &packed(&message)).status, 204);
    let mut framed = Vec::new();
    std::io::Write::write_all(&mut snap::write::FrameEncoder::new(&mut framed), &message.0).expect("packed");
    assert_eq!(receiver.post(V2, "snappy", &framed).status, 400);
    assert_eq!(receiver.post(V2, "snappy", &message.0).status, 400, "not packed at all");
}

#[test]
fn receivers_must_use_the_content_type_to_identify_the_message() {
    let receiver = Receiver::start(&[]);
    let t = now_ms();
    // Each message read by the other's schema is empty: their fields have other numbers.
    let answer = receiver.send(V1, &up(t, 1.0));
    assert_eq!((answer.status, written(&answer)), (204, [-1, -1, -1]));
    let answer = receiver.send(V2, &v1(&[(UP, &[(t, 1.0)])]));
    assert_eq!((answer.status, written(&answer)), (204, [0, 0, 0]));
    assert!(receiver.samples("up").is_empty());
}

#[test]
fn receivers_may_specify_any_path() {
    let home = Home::new();
    home.write_config("{}");
    let flags = ["--web.enable-remote-write-receiver", "--web.route-prefix=/any/where"];
    let server = home.watershed_unready(&flags).wait_ready("/any/where/-/ready");
    let headers = format!("Content-Encoding: snappy\r\nContent-Type: {V2}\r\n");
    let url = format!("http://{}/any/where/api/v1/write", server.address);
    let answer = http::post_bytes(&url, &headers, &packed(&up(now_ms(), 1.0))).expect("an answer");
    assert_eq!((answer.status, written(&answer)), (204, [1, 0, 0]));
}

#[test]
fn the_content_type_must_follow_rfc_9110() {
    let receiver = Receiver::start(&[]);
    let t = now_ms();
    // Types and names of parameters in any case, space around the semicolon, quoted values, further parameters.
    for (i, content_type) in [
        "Application/X-Protobuf;proto=io.prometheus.write.v2.Request",
        "application/x-protobuf ; PROTO=io.prometheus.write.v2.Request",
        "application/x-protobuf; proto=\"io.prometheus.write.v2.Request\"",
        "application/x-protobuf;charset=utf-8;proto=io.prometheus.write.v2.Request",
    ]
    .into_iter()
    .enumerate()
    {
        let answer = receiver.send(content_type, &up(t + i as i64, 1.0));
        assert_eq!((answer.status, written(&answer)), (204, [1, 0, 0]), "{content_type}");
    }
}

#[test]
fn the_content_encoding_must_follow_rfc_9110() {
    let receiver = Receiver::start(&[]);
    let body = packed(&up(now_ms(), 1.0));
    assert_eq!(receiver.post(V2, "Snappy", &body).status, 204, "names of codings are case-insensitive");
    assert_eq!(receiver.post(V2, "snappy, snappy", &body).status, 415, "a list is not one coding");
}

// Response.

#[test]
fn receivers_that_wrote_everything_must_answer_2xx_and_should_answer_204_without_a_body() {
    let receiver = Receiver::start(&[]);
    for (content_type, message) in [(V1, v1(&[(UP, &[(now_ms(), 1.0)])])), (V2, up(now_ms() + 1, 1.0))] {
        let answer = receiver.send(content_type, &message);
        assert_eq!((answer.status, answer.body.len()), (204, 0), "{content_type}");
    }
}

#[test]
fn receivers_must_not_answer_2xx_if_a_sample_was_not_written() {
    let receiver = Receiver::start(&[]);
    let t = now_ms();
    assert!(is_2xx(&receiver.send(V2, &up(t, 1.0))));
    for (why, message) in [("older", up(t - 1, 1.0)), ("another value", up(t, 2.0)), ("future", up(t + 3_600_000, 1.0))]
    {
        let answer = receiver.send(V2, &message);
        assert_eq!((answer.status, written(&answer)), (400, [0, 0, 0]), "{why}");
    }
}

#[test]
fn receivers_must_not_answer_2xx_if_a_histogram_was_not_written() {
    let receiver = Receiver::start(&[]);
    let t = now_ms();
    // Three observations and no bucket that has them.
    let wrong = Message::default().bytes(3, &Message::default().int(1, 3).int(15, t).0);
    let answer = receiver.send(V2, &Request::new().series(UP, &wrong).message());
    assert_eq!((answer.status, written(&answer)), (400, [0, 0, 0]));
}

#[test]
fn receivers_must_not_answer_2xx_if_an_exemplar_was_not_written() {
    let receiver = Receiver::start(&["--enable-feature=exemplar-storage"]);
    let t = now_ms();
    let send = |at: i64, t: i64| {
        let mut request = Request::new();
        let rest = join(&[sample(t, 1.0), exemplar(&mut request, at)]);
        receiver.send(V2, &request.series(UP, &rest).message())
    };
    let answer = send(t, t);
    assert_eq!((answer.status, written(&answer)), (204, [1, 0, 1]));
    let answer = send(t - 5, t + 1);
    assert_eq!((answer.status, written(&answer)), (400, [1, 0, 0]));
}

#[test]
fn receivers_must_provide_a_readable_error_that_should_tell_how_many_samples_and_why() {
    let receiver = Receiver::start(&[]);
    let t = now_ms();
    assert!(is_2xx(&receiver.send(V2, &up(t, 1.0))));
    for (content_type, message) in
        [(V2, up(t - 1, 1.0)), (V1, v1(&[(UP, &[(t - 1, 1.0), (t - 2, 1.0)]), (&[("job", "a")], &[(t, 1.0)])]))]
    {
        let text = receiver.send(content_type, &message).text();
        let expected =
            if content_type == V2 { "1 x out of order sample" } else { "1 x no metric name, 2 x out of order sample" };
        assert!(text.starts_with(&format!("not written: {expected}\n")), "{text}");
        assert!(text.contains("series {__name__=\"up\", job=\"a\"}"), "{text}");
    }
}

#[test]
fn receivers_must_send_the_written_headers_with_precise_counts_on_success_and_failure() {
    let receiver = Receiver::start(&["--enable-feature=exemplar-storage"]);
    let t = now_ms();
    let mut request = Request::new();
    let rest = join(&[sample(t, 1.0), sample(t + 1, 2.0), exemplar(&mut request, t)]);
    let request = request.series(UP, &rest).series(&[("__name__", "h")], &histogram(t, 3));
    assert_eq!(written(&receiver.send(V2, &request.message())), [2, 1, 1]);
    // The same once more with one sample more, and a series that is refused.
    let request = request.series(UP, &sample(t + 2, 1.0)).series(&[("job", "b")], &histogram(t, 3));
    let answer = receiver.send(V2, &request.message());
    assert_eq!((answer.status, written(&answer)), (400, [2, 1, 1]), "{}", answer.text());
    let broken = Message(vec![0x2a, 5, 1]);
    let answer = receiver.send(V2, &broken);
    assert_eq!((answer.status, written(&answer)), (400, [0, 0, 0]));
}

#[test]
fn a_partial_write_must_be_answered_by_another_status_than_2xx() {
    let receiver = Receiver::start(&[]);
    let t = now_ms();
    let request = Request::new().series(UP, &sample(t, 1.0)).series(&[("job", "b")], &sample(t, 1.0));
    let answer = receiver.send(V2, &request.message());
    assert_eq!((answer.status, written(&answer)), (400, [1, 0, 0]));
    assert_eq!(receiver.samples("up").len(), 1, "what is valid is written");
}

#[test]
fn receivers_must_answer_415_to_content_that_they_do_not_support() {
    let receiver = Receiver::start(&[]);
    let body = packed(&up(now_ms(), 1.0));
    for (content_type, encoding) in [
        (V2, "gzip"),
        (V2, "br"),
        ("application/json", "snappy"),
        ("application/x-protobuf;proto=io.prometheus.write.v3.Request", "snappy"),
        ("application/x-protobuf;proto", "snappy"),
    ] {
        assert_eq!(receiver.post(content_type, encoding, &body).status, 415, "{content_type} {encoding}");
    }
}

#[test]
fn receivers_must_answer_400_to_invalid_samples() {
    let receiver = Receiver::start(&[]);
    let t = now_ms();
    let labels: [&[(&str, &str)]; 4] = [
        &[("job", "a")],
        &[("__name__", "")],
        &[("__name__", "x"), ("", "v")],
        &[("__name__", "x"), ("a", "1"), ("a", "2")],
    ];
    for labels in labels {
        let answer = receiver.send(V2, &Request::new().series(labels, &sample(t, 1.0)).message());
        assert_eq!((answer.status, written(&answer)), (400, [0, 0, 0]), "{labels:?}");
        assert_eq!(receiver.send(V1, &v1(&[(labels, &[(t, 1.0)])])).status, 400, "{labels:?}");
    }
    assert_eq!(receiver.metric("watershed_api_remote_write_invalid_labels_samples_total"), 8.0);
}

#[test]
fn what_can_never_succeed_must_be_answered_4xx() {
    let receiver = Receiver::start(&["--web.remote-write-receiver.max-message-size=1KB"]);
    let message = up(now_ms(), 1.0);
    let cut = packed(&message);
    for (body, status) in [
        (&cut[..cut.len() - 1], 400),
        (&b""[..], 400),
        (&packed(&Message(message.0[..message.0.len() - 3].to_vec())), 400),
        (&packed(&Message(vec![0; 1025])), 413),
    ] {
        assert_eq!(receiver.post(V2, "snappy", body).status, status);
    }
}

// Retries.

#[test]
fn receivers_may_answer_5xx_with_retry_after_when_they_are_overloaded() {
    let receiver = Receiver::start(&["--web.remote-write-receiver.max-held-size=1KB"]);
    let answer = receiver.post(V2, "snappy", &[0; 2000]);
    assert_eq!((answer.status, answer.header("Retry-After")), (503, Some("1")));
    assert_eq!(receiver.send(V2, &up(now_ms(), 1.0)).status, 204, "the load has passed");
}

#[test]
fn a_partial_write_that_is_sent_again_must_change_nothing() {
    let receiver = Receiver::start(&[]);
    let t = now_ms();
    let request = Request::new().series(UP, &sample(t, 1.0)).series(&[("job", "b")], &sample(t, 1.0));
    for _ in 0..3 {
        let answer = receiver.send(V2, &request.message());
        assert_eq!((answer.status, written(&answer)), (400, [1, 0, 0]));
    }
    assert_eq!(receiver.samples("up"), [(t, "1".to_owned())]);
}

#[test]
fn a_request_that_is_sent_again_must_change_nothing() {
    let receiver = Receiver::start(&[]);
    let t = now_ms();
    let request = Request::new().series(UP, &sample(t, 1.0)).series(&[("__name__", "h")], &histogram(t, 3));
    for _ in 0..3 {
        let answer = receiver.send(V2, &request.message());
        assert_eq!((answer.status, written(&answer)), (204, [1, 1, 0]));
    }
    assert_eq!(receiver.samples("up").len(), 1);
}

// Compatibility.

#[test]
fn receivers_must_read_messages_with_fields_that_later_versions_add() {
    let receiver = Receiver::start(&[]);
    let t = now_ms();
    let new_in_sample = Message::default().double(1, 4.0).int(2, t).int(99, 7).bytes(100, b"new");
    let rest = Message::default().bytes(2, &new_in_sample.0).int(6, 5).bytes(77, b"new");
    let request = Request::new().series(UP, &rest).message().bytes(50, b"new");
    assert_eq!(receiver.send(V2, &request).status, 204);
    assert_eq!(receiver.samples("up"), [(t, "4".to_owned())]);
}

// The message.

#[test]
fn series_without_samples_and_histograms_must_not_be_sent_and_are_refused() {
    let receiver = Receiver::start(&[]);
    let answer = receiver.send(V2, &Request::new().series(UP, &Message::default()).message());
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("no sample and no histogram"), "{}", answer.text());
}

#[test]
fn references_must_point_into_the_symbols_and_come_in_pairs() {
    let receiver = Receiver::start(&[]);
    let symbols = Message::default().bytes(4, b"").bytes(4, b"__name__").bytes(4, b"up");
    for refs in [&[1, 2, 1][..], &[1, 3], &[1, 0xff, 0xff, 0xff, 0xff, 0x0f], &[]] {
        let series = join(&[Message::default().bytes(1, refs), sample(now_ms(), 1.0)]);
        let answer = receiver.send(V2, &symbols.clone().bytes(5, &series.0));
        assert_eq!((answer.status, written(&answer)), (400, [0, 0, 0]), "{refs:?}");
    }
}

#[test]
fn references_of_metadata_and_exemplars_must_point_into_the_symbols() {
    let receiver = Receiver::start(&["--enable-feature=exemplar-storage"]);
    let t = now_ms();
    let help = Message::default().bytes(5, &Message::default().int(1, 1).int(3, 99).0);
    let answer = receiver.send(V2, &Request::new().series(UP, &join(&[sample(t, 1.0), help])).message());
    assert_eq!((answer.status, written(&answer)), (400, [0, 0, 0]));
    let label = Message::default().bytes(4, &Message::default().bytes(1, &[1, 99]).int(3, t).0);
    let answer = receiver.send(V2, &Request::new().series(UP, &join(&[sample(t, 1.0), label])).message());
    assert_eq!((answer.status, written(&answer)), (400, [1, 0, 0]));
}

#[test]
fn symbols_must_be_deduplicated_and_doubles_name_the_same_series() {
    let receiver = Receiver::start(&[]);
    let t = now_ms();
    let table = ["", "__name__", "up", "__name__", "up"];
    let symbols = table.iter().fold(Message::default(), |m, symbol| m.bytes(4, symbol.as_bytes()));
    let series =
        |refs: &[u8], t| Message::default().bytes(5, &join(&[Message::default().bytes(1, refs), sample(t, 1.0)]).0);
    let message = join(&[symbols, series(&[1, 2], t), series(&[3, 4], t + 1)]);
    let answer = receiver.send(V2, &message);
    assert_eq!((answer.status, written(&answer)), (204, [2, 0, 0]));
    assert_eq!(receiver.samples("up").len(), 2);
}

#[test]
fn symbols_must_be_provided() {
    let receiver = Receiver::start(&[]);
    let series = join(&[Message::default().bytes(1, &[1, 2]), sample(now_ms(), 1.0)]);
    let answer = receiver.send(V2, &Message::default().bytes(5, &series.0));
    assert_eq!((answer.status, written(&answer)), (400, [0, 0, 0]));
}

#[test]
fn series_must_not_include_both_samples_and_histograms_and_are_taken_nevertheless() {
    let receiver = Receiver::start(&[]);
    let t = now_ms();
    let both = join(&[sample(t, 1.0), histogram(t + 1, 3)]);
    let answer = receiver.send(V2, &Request::new().series(UP, &both).message());
    assert_eq!((answer.status, written(&answer)), (204, [1, 1, 0]));
}

#[test]
fn label_values_must_not_be_empty_and_mean_absence_if_they_are() {
    let receiver = Receiver::start(&[]);
    let t = now_ms();
    let with_empty = [UP, &[("none", "")][..]].concat();
    assert_eq!(receiver.send(V2, &Request::new().series(&with_empty, &sample(t, 1.0)).message()).status, 204);
    assert_eq!(receiver.send(V2, &up(t + 1, 1.0)).status, 204);
    assert_eq!(receiver.samples("up{none=\"\"}").len(), 2, "both name one series");
}

#[test]
fn receivers_may_impose_limits_on_the_number_and_length_of_labels() {
    let receiver = Receiver::start(&[]);
    let long = "v".repeat(2 << 20);
    let request = Request::new().series(&[("__name__", "up"), ("long", &long)], &sample(now_ms(), 1.0));
    let refs = [[1, 2].repeat(20_000), vec![1]].concat();
    let symbols = Message::default().bytes(4, b"").bytes(4, b"__name__").bytes(4, b"up");
    let many = join(&[Message::default().bytes(1, &refs), sample(now_ms(), 1.0)]);
    for (message, why) in [
        (request.message(), "more than 1048576 bytes of labels"),
        (symbols.bytes(5, &many.0), "more than 16384 labels"),
    ] {
        let answer = receiver.send(V2, &message);
        assert_eq!((answer.status, written(&answer)), (400, [0, 0, 0]));
        assert!(answer.text().contains(why) && answer.text().len() < 1000, "{}", answer.text());
    }
}

#[test]
fn samples_must_come_in_the_order_of_their_timestamps_or_are_refused() {
    let receiver = Receiver::start(&[]);
    let t = now_ms();
    let turned = join(&[sample(t, 1.0), sample(t - 1, 2.0)]);
    let answer = receiver.send(V2, &Request::new().series(UP, &turned).message());
    assert_eq!((answer.status, written(&answer)), (400, [1, 0, 0]));
    assert_eq!(receiver.samples("up"), [(t, "1".to_owned())]);
}

#[test]
fn exemplars_must_contain_a_timestamp() {
    let receiver = Receiver::start(&["--enable-feature=exemplar-storage"]);
    let mut request = Request::new();
    let rest = join(&[sample(now_ms(), 1.0), exemplar(&mut request, 0)]);
    let answer = receiver.send(V2, &request.series(UP, &rest).message());
    assert_eq!((answer.status, written(&answer)), (400, [1, 0, 0]));
    assert!(answer.text().contains("exemplar without a timestamp"), "{}", answer.text());
}

#[test]
fn exemplars_may_be_without_labels() {
    let receiver = Receiver::start(&["--enable-feature=exemplar-storage"]);
    let t = now_ms();
    let bare = Message::default().bytes(4, &Message::default().double(2, 0.5).int(3, t).0);
    let answer = receiver.send(V2, &Request::new().series(UP, &join(&[sample(t, 1.0), bare])).message());
    assert_eq!((answer.status, written(&answer)), (204, [1, 0, 1]));
}

#[test]
fn names_and_values_must_be_any_utf_8_and_nothing_else() {
    let receiver = Receiver::start(&[]);
    let t = now_ms();
    let request = Request::new().series(&[("__name__", "höhe.m"), ("a b", "\u{1f600}\n")], &sample(t, 1.0));
    assert_eq!(receiver.send(V2, &request.message()).status, 204);
    assert_eq!(receiver.samples("{\"höhe.m\"}").len(), 1);
    let symbols = Message::default().bytes(4, b"").bytes(4, b"__name__").bytes(4, &[b'u', 0xff]);
    let series = join(&[Message::default().bytes(1, &[1, 2]), sample(t, 1.0)]);
    let answer = receiver.send(V2, &symbols.bytes(5, &series.0));
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("not valid UTF-8"), "{}", answer.text());
}

#[test]
fn labels_out_of_order_name_the_same_series() {
    let receiver = Receiver::start(&[]);
    let t = now_ms();
    let turned: Vec<(&str, &str)> = UP.iter().rev().copied().collect();
    assert_eq!(receiver.send(V2, &up(t, 1.0)).status, 204);
    assert_eq!(receiver.send(V2, &Request::new().series(&turned, &sample(t + 1, 2.0)).message()).status, 204);
    assert_eq!(receiver.samples("up").len(), 2);
}

#[test]
fn a_start_timestamp_of_0_must_be_treated_as_unset() {
    let receiver = Receiver::start(&["--enable-feature=st-storage"]);
    let t = now_ms();
    let with_start = |t: i64, start: i64| {
        let sample = Message::default().double(1, 1.0).int(2, t).int(3, start);
        Request::new().series(UP, &Message::default().bytes(2, &sample.0)).message()
    };
    assert_eq!(receiver.send(V2, &with_start(t, 0)).status, 204);
    assert_eq!(receiver.send(V2, &with_start(t + 1, t - 1000)).status, 204);
    assert_eq!(receiver.samples("up").len(), 2, "no sample was made of a start");
}

#[test]
fn stale_markers_end_their_series() {
    let receiver = Receiver::start(&[]);
    let t = now_ms() - 2000;
    let marker = f64::from_bits(0x7ff0_0000_0000_0002);
    assert_eq!(receiver.send(V2, &up(t, 1.0)).status, 204);
    let at = |ms: i64| {
        let time = (ms as f64 / 1000.0).to_string();
        let url = http::url(&receiver.server.url, "/api/v1/query", &[("query", "up"), ("time", &time)]);
        http::get_api(&url).expect("an answer")["result"].as_array().expect("a list").len()
    };
    assert_eq!(receiver.send(V2, &up(t + 1000, marker)).status, 204);
    assert_eq!((at(t), at(t + 1000)), (1, 0));
}

// 1.0.

#[test]
fn receivers_of_1_0_may_take_what_is_valid_and_must_answer_400_if_not_all_is() {
    let receiver = Receiver::start(&[]);
    let t = now_ms();
    let request = v1(&[(&[("job", "b")], &[(t, 1.0)]), (UP, &[(t, 1.0)])]);
    assert_eq!(receiver.send(V1, &request).status, 400);
    assert_eq!(receiver.samples("up").len(), 1);
}

#[test]
fn senders_of_1_0_are_told_nothing_of_2_0() {
    let receiver = Receiver::start(&[]);
    assert_eq!(written(&receiver.send(V1, &v1(&[(UP, &[(now_ms(), 1.0)])]))), [-1, -1, -1]);
}
