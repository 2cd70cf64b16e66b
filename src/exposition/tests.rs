use super::*;
use crate::model::MetricType;
use proptest::prelude::*;

/// Every event of a body, one line each, or the error's problem.
fn read(body: &[u8], format: Format) -> Result<Vec<String>, String> {
    let mut parser = Parser::new(body, format);
    let mut labels = SeriesLabels::new();
    let mut out = Vec::new();
    loop {
        let event = parser.next().map_err(|e| e.problem)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        out.push(match event {
            None => return Ok(out),
            Some(Event::Comment) => "comment".to_owned(),
            Some(Event::Type(name, kind)) => format!("type {} {kind}", text(name)),
            Some(Event::Help(name, help)) => format!("help {} {}", text(name), unescape_help(help, format)),
            Some(Event::Unit(name, unit)) => format!("unit {} {}", text(name), text(unit)),
            Some(Event::Series(sample)) => {
                labels.decode(sample.series, format, parser.family_type()).map_err(|e| e.problem)?;
                let pairs: Vec<String> = labels.iter().map(|(n, v)| format!("{n}={v:?}")).collect();
                let t = sample.timestamp.map_or(String::new(), |t| format!(" @{}", t.0));
                let exemplar = sample.exemplar.map_or(String::new(), |e| {
                    let e = e.decode();
                    format!(" # {} {} {:?}", e.labels, e.value, e.t.map(|t| t.0))
                });
                format!("{} {}{t}{exemplar}", pairs.join(","), sample.value)
            }
        });
    }
}

fn text(body: &str) -> Result<Vec<String>, String> {
    read(body.as_bytes(), Format::Text)
}

#[test]
fn a_metric_name_behind_labels_comes_first() {
    let line = r#"__name__="m.x",a="b",c="d\"e""#;
    for series in [r#"{"m.x",a="b",c="d\"e"}"#, r#"{a="b","m.x",c="d\"e"}"#, r#"{a="b",c="d\"e","m.x"}"#] {
        assert_eq!(text(&format!("{series} 1\n")), Ok(vec![format!("{line} 1")]), "{series}");
    }
}

fn openmetrics(body: &str) -> Result<Vec<String>, String> {
    read(body.as_bytes(), Format::OpenMetrics)
}

#[test]
fn text_lines_yield_what_the_reference_yields() {
    for (body, expected) in [
        ("", &[][..]),
        ("\n \t\n", &[]),
        ("a 1", &["__name__=\"a\" 1"]),
        ("a 1\n", &["__name__=\"a\" 1"]),
        ("a\t1  \t123 \n", &["__name__=\"a\" 1 @123"]),
        ("a+1\n", &["__name__=\"a\" 1"]),
        ("a{} NaN\n", &["__name__=\"a\" NaN"]),
        ("a{b=\"c\"}1\n", &["__name__=\"a\",b=\"c\" 1"]),
        ("a { b = \"c\" , d= \"e\", } -Inf\n", &["__name__=\"a\",b=\"c\",d=\"e\" -inf"]),
        ("a{b=\"c\"d=\"e\"} 1\n", &["__name__=\"a\",b=\"c\",d=\"e\" 1"]),
        (" a 1\n", &["__name__=\" a\" 1"]),
        (" {\"a\"} 1\n", &["__name__=\"a\" 1"]),
        ("{x=\"1\",\"my.metric\",\"l.x\"=\"2\"} 1\n", &["__name__=\"my.metric\",x=\"1\",l.x=\"2\" 1"]),
        (r#"a{b="\"\\\n\x"} 1"#, &[r#"__name__="a",b="\"\\\n\\x" 1"#]),
        ("a{b=\"x\ny}\"} 1\n", &["__name__=\"a\",b=\"x\\ny}\" 1"]),
        ("a{b=\"abc\0\"} 1\n", &["__name__=\"a\",b=\"abc\\0\" 1"]),
        ("a{b=\"\",b=\"2\"} 1\n", &["__name__=\"a\",b=\"\",b=\"2\" 1"]),
        ("a:b 1e3\n", &["__name__=\"a:b\" 1000"]),
        ("#\n# HELP\n#TYPE a b\n# Hx\n# UNIT a b\n", &["comment"; 5]),
        ("#  HELP a b\\\\c\\n\\\"d\n", &["help a b\\c\n\\\"d"]),
        ("# HELP a  two\n# HELP b\n# HELP c \t\n# HELP d!x", &["help a  two", "help b ", "help c ", "help d x"]),
        ("#\tTYPE  \"a.b\" untyped\n", &["type a.b unknown"]),
        (
            "# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 2\nq{quantile=\"1\"} 3\n",
            &[
                "type h histogram",
                "__name__=\"h_bucket\",le=\"1.0\" 2",
                "__name__=\"h_bucket\",le=\"+Inf\" 2",
                "__name__=\"q\",quantile=\"1\" 3",
            ],
        ),
        (
            "# TYPE s summary\ns{quantile=\"0\",le=\"1\"} 2\n",
            &["type s summary", "__name__=\"s\",quantile=\"0.0\",le=\"1\" 2"],
        ),
    ] {
        assert_eq!(text(body), Ok(expected.iter().map(|s| (*s).to_owned()).collect()), "{body:?}");
    }
}

#[test]
fn text_that_the_reference_refuses_is_refused() {
    for (body, problem) in [
        ("a", "expected a value after the metric"),
        ("a{b='c'} 1\n", "expected a quoted label value"),
        ("a{b=\n", "expected a quoted label value"),
        ("a{\u{e9}=\"foo\"} 1\n", "expected a label name"),
        ("{\"a\", \"b = \"c\"}", "expected `=` after the label name"),
        ("{\"a\",b\\nc=\"d\"} 1", "expected `=` after the label name"),
        ("a true\n", "parsing number \"true\": invalid syntax"),
        ("x{problem=\"", "expected a quoted label value"),
        ("x{a=\"b\\", "expected a quoted label value"),
        ("x{a=\"b\\\nc\"} 1\n", "expected a quoted label value"),
        ("e{=\"\"} 0", "expected a label name"),
        ("e{,} 0", "expected a label name"),
        ("{A}0", "expected `=` after the label name"),
        ("foo 1_2\n", "parsing number \"1_2\": unsupported character in float"),
        ("foo 1e999\n", "parsing number \"1e999\": value out of range"),
        ("foo 0 1_2\n", "expected the next line after the timestamp"),
        ("foo 0 -1\n", "expected a timestamp or the next line"),
        ("foo 0 99999999999999999999\n", "expected a timestamp that fits into 64 bits"),
        ("foo 0 1 2\n", "expected the next line after the timestamp"),
        ("foo 1\r\n", "parsing number \"1\\r\": invalid syntax"),
        ("{a=\"ok\"} 1", "metric name not set"),
        ("a{\"b\"} 1", "metric name already set"),
        ("{\"a\",\"b\"} 1", "metric name already set"),
        ("a{b=\"c\"}{d=\"e\"} 1", "expected a value after the metric"),
        ("# TYPE #\n", "expected a metric name after TYPE"),
        ("# TYPE a counter \n", "invalid metric type \"counter \""),
        ("# TYPE a\n", "invalid metric type \"\""),
        ("# TYPE a counter\r\n", "invalid metric type \"counter\\r\""),
        ("# HELP #\n", "expected a metric name after HELP"),
        ("a{b=\0\"s\"} 1\n", "expected a quoted label value"),
        ("a{b\0=\"h\"}\t1", "expected `=` after the label name"),
        ("a{\"b\0\"=\"h\"}\t1", "expected a label name"),
        ("a\0{b=\"d\"} 1", "expected a value after the metric"),
        ("a 0 1\0", "expected the next line after the timestamp"),
        ("\0a 1\n", "expected a valid start of a line"),
        ("9a 1\n", "expected a valid start of a line"),
    ] {
        assert_eq!(text(body), Err(problem.to_owned()), "{body:?}");
    }
    for body in [&b"a{b=\"\xff\"} 1\n"[..], b"{\"a\xff\"} 1\n", b"# HELP a \xff\n"] {
        assert!(read(body, Format::Text).is_err(), "{}", body.escape_ascii());
    }
}

#[test]
fn openmetrics_lines_yield_what_the_reference_yields() {
    for (body, expected) in [
        ("# EOF", &[][..]),
        ("# EOF\n", &[]),
        ("a 1 1.5\n# EOF\n", &["__name__=\"a\" 1 @1500"]),
        ("a 1 -0.0015\n# EOF\n", &["__name__=\"a\" 1 @-1"]),
        ("a{b=\"c\",} 1\n# EOF\n", &["__name__=\"a\",b=\"c\" 1"]),
        ("{\"a.b\",c=\"d\"} 1e3\n# EOF", &["__name__=\"a.b\",c=\"d\" 1000"]),
        ("a_total 1 # {t=\"x\\\"\"} 4 1.25\n# EOF\n", &["__name__=\"a_total\" 1 # {t=\"x\\\\\\\"\"} 4 Some(1250)"]),
        ("a_total 1 2 # {} 4\n# EOF\n", &["__name__=\"a_total\" 1 @2000 # {} 4 None"]),
        (
            "# TYPE a_s stateset\n# UNIT a_s s\n# HELP a_s q\\\"\\n \n# EOF\n",
            &["type a_s stateset", "unit a_s s", "help a_s q\"\n "],
        ),
        ("# HELP a \n# UNIT a \n# EOF\n", &["help a ", "unit a "]),
        ("a_created 1.5\n# EOF\n", &["__name__=\"a_created\" 1.5"]),
    ] {
        assert_eq!(openmetrics(body), Ok(expected.iter().map(|s| (*s).to_owned()).collect()), "{body:?}");
    }
}

#[test]
fn openmetrics_that_the_reference_refuses_is_refused() {
    for body in [
        "",
        "\n",
        "metric",
        "metric 1",
        "metric 1\n",
        "a_total 1 # {a=\"b\"} 4",
        "a\n# EOF\n",
        " a 1\n# EOF\n",
        "9\n# EOF\n",
        "# TYPE u untyped\n# EOF\n",
        "# TYPE c counter \n# EOF\n",
        "#  TYPE c counter\n# EOF\n",
        "# TYPE \n# EOF\n",
        "# TYPE m\n# EOF\n",
        "# UNIT metric suffix\n# EOF\n",
        "# UNIT metricsuffix suffix\n# EOF\n",
        "# UNIT m\n# EOF\n",
        "# HELP m\n# EOF\n",
        "# HELP m text",
        "a\t1\n# EOF\n",
        "a 1\t2\n# EOF\n",
        "a 1 2 \n# EOF\n",
        "a 1 \n# EOF\n",
        "a 1 2 #\n# EOF\n",
        "a 1 1z\n# EOF\n",
        " # EOF\n",
        "# EOF\na 1",
        "# EOF\n\n",
        "# EOFa 1",
        "#\tTYPE c counter\n",
        "# TYPE c  counter\n",
        "a 1 1 1\n# EOF\n",
        "a{b='c'} 1\n# EOF\n",
        "a{,b=\"c\"} 1\n# EOF\n",
        "a{b=\"c\"d=\"e\"} 1\n# EOF\n",
        "a{b=\"c\",,d=\"e\"} 1\n# EOF\n",
        "a{b=\"c\", d=\"e\"} 1\n# EOF\n",
        "a {b=\"c\"} 1\n# EOF\n",
        "a{b=\"c\"}1\n# EOF\n",
        "a{b=\"x\ny\"} 1\n# EOF\n",
        "a 1 NaN\n# EOF\n",
        "a 1 -Inf\n# EOF\n",
        "c_total 1 # {aa=bb}\n# EOF\n",
        "c_total 1 # {aa=\"bb\"}\n# EOF\n",
        "c_total 1 # {bb}\n# EOF\n",
        "c_total 1 # {\"bb\"} 1\n# EOF\n",
        "c_total 1 # {a=\"b\",,c=\"d\"} 1\n# EOF\n",
        "c_total 1 # {a=\"b\"} 1_2\n# EOF\n",
        "c_total 1 # {a=\"b\"} 4 NaN\n# EOF\n",
        "c_total 1 # {a=\"b\"} 4 1 1\n# EOF\n",
        "c_total 1 #{a=\"b\"} 4\n# EOF\n",
        "# comment\n# EOF\n",
        "#\n# EOF\n",
        "a 1\n\n# EOF\n",
        "a{b=\"c\0\"} 1\n# E",
    ] {
        assert!(openmetrics(body).is_err(), "{body:?} must be refused, but gives {:?}", openmetrics(body));
    }
    assert!(openmetrics("a{b=\"c\0\"} 1\n# EOF\n").is_ok(), "label values may hold NUL");
    assert!(openmetrics("c 1 # {b=\"\0s\"} 1\n# EOF\n").is_err(), "exemplar labels may not");
}

#[test]
fn errors_tell_line_offset_and_what_was_found() {
    let mut parser = Parser::new(b"ok 1\n# HELP ok fine\nbad{a=\"b\" 1\n", Format::Text);
    let error = loop {
        match parser.next() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the body must be refused"),
            Err(error) => break error,
        }
    };
    assert_eq!((error.line, error.offset), (3, 30));
    assert_eq!(error.to_string(), r#"line 3, byte 30: expected a label name, found "1" in "bad{a=\"b\" 1""#,);
}

#[test]
fn a_known_series_part_is_accepted_only_where_it_ends() {
    let value = |body: &str, len| {
        let sample = Parser::new(body.as_bytes(), Format::Text).accept_series(len);
        sample.map(|s| s.map(|s| s.value)).map_err(|e| e.problem)
    };
    assert_eq!(value("foo 12\n", 3), Ok(Some(12.0)));
    assert_eq!(value("foo 12", 3), Ok(Some(12.0)));
    assert_eq!(value("foo 1.25e-3 77\n", 3), Ok(Some(0.00125)));
    assert_eq!(value("foo_bar 12\n", 3), Ok(None), "the name goes on");
    assert_eq!(value("foo {a=\"b\"} 12\n", 3), Ok(None), "labels follow");
    assert_eq!(value("foo", 3), Ok(None));
    assert_eq!(value("fo", 3), Ok(None));
    assert!(value("foo x\n", 3).is_err());
    let mut parser = Parser::new(b"# a\nb 1\n", Format::Text);
    assert!(!parser.accept_line(2));
    assert!(parser.accept_line(3));
    assert_eq!(parser.accept_series(1).map(|s| s.map(|s| s.series)), Ok(Some(&b"b"[..])));
    assert_eq!(parser.next().map(|e| e.is_none()), Ok(true));
}

/// Name, labels, value.
type PlainSample = (String, Vec<(String, String)>, f64);

/// Where the independent parser gets things right: plain names, simple labels, no escapes, known types.
#[test]
fn an_independent_parser_agrees_on_the_plain_subset() {
    let body = "# TYPE http_requests_total counter\n\
                http_requests_total{method=\"post\",code=\"200\"} 1027\n\
                http_requests_total{method=\"post\",code=\"400\"} 3\n\
                # TYPE temperature gauge\n\
                temperature{room=\"cellar\"} -3.5\n\
                temperature{room=\"attic\"} 1.5e2\n\
                # TYPE load gauge\n\
                load 0.25\n";
    let lines = body.lines().map(|l| Ok(l.to_owned()));
    let oracle = prometheus_parse::Scrape::parse(lines).expect("the oracle reads the plain subset");
    let mut theirs: Vec<PlainSample> = oracle
        .samples
        .iter()
        .map(|s| {
            let mut labels: Vec<(String, String)> = s.labels.iter().map(|(n, v)| (n.clone(), v.clone())).collect();
            labels.sort();
            let value = match s.value {
                prometheus_parse::Value::Counter(v)
                | prometheus_parse::Value::Gauge(v)
                | prometheus_parse::Value::Untyped(v) => v,
                _ => panic!("the body holds only plain values"),
            };
            (s.metric.clone(), labels, value)
        })
        .collect();
    let mut ours = Vec::new();
    let mut parser = Parser::new(body.as_bytes(), Format::Text);
    let mut scratch = SeriesLabels::new();
    while let Some(event) = parser.next().expect("valid") {
        if let Event::Series(sample) = event {
            scratch.decode(sample.series, Format::Text, parser.family_type()).expect("valid");
            let mut pairs: Vec<(String, String)> = scratch.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
            let (_, name) = pairs.remove(0);
            pairs.sort();
            ours.push((name, pairs, sample.value));
        }
    }
    let key = |s: &(String, Vec<(String, String)>, f64)| (s.0.clone(), s.1.clone());
    theirs.sort_by_key(key);
    ours.sort_by_key(key);
    assert_eq!(ours, theirs);
    assert_eq!(ours.len(), 5);
}

fn drain(body: &[u8], format: Format) {
    let mut parser = Parser::new(body, format);
    let mut labels = SeriesLabels::new();
    while let Ok(Some(event)) = parser.next() {
        if let Event::Series(sample) = event {
            labels.decode(sample.series, format, MetricType::Histogram).expect("a yielded series part decodes");
        }
    }
}

proptest! {
    #[test]
    fn no_input_makes_a_parser_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        drain(&body, Format::Text);
        drain(&body, Format::OpenMetrics);
    }

    #[test]
    fn no_near_valid_input_makes_a_parser_panic(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "a", "{", "}", "\"", "b", "=", ",", " ", "\n", "\\", "1", ".5", "e9", "#", "# HELP ", "# TYPE ", "# UNIT ",
            "# EOF", "\0", "é", "NaN", "+Inf", "\t", " # {", "le",
        ]), 0..40)
    ) {
        let body = pieces.concat();
        drain(body.as_bytes(), Format::Text);
        drain(body.as_bytes(), Format::OpenMetrics);
    }

    #[test]
    fn written_labels_are_read_back(value in "\\PC{0,20}", number in any::<i32>()) {
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let body = format!("m{{l=\"{escaped}\"}} {number}\n");
        let expected = vec![format!("__name__=\"m\",l={value:?} {number}")];
        prop_assert_eq!(text(&body), Ok(expected));
    }
}
