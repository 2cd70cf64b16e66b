use std::time::Instant;

use super::*;
use crate::promql::ast::{At, DurationExpr, Extension, Extent, ValueType};
use crate::promql::same::same_tree;
use crate::promql::{pretty, tree_json};

fn read(text: &str) -> Expr {
    parse(text, &ParserOptions::ALL).unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// Each text and how it is printed.
#[track_caller]
fn prints(cases: &[(&str, &str)]) {
    for (text, printed) in cases {
        let tree = read(text);
        assert_eq!(tree.to_string(), *printed, "{text}");
        assert!(same_tree(&tree, &read(printed)), "{text}");
    }
}

#[track_caller]
fn refused(options: ParserOptions, cases: &[(&str, &str)]) {
    for (text, error) in cases {
        let found = parse(text, &options).map(|e| e.to_string()).map_err(|e| e.to_string());
        assert_eq!(found, Err((*error).to_owned()), "{text}");
    }
}

fn range_of(text: &str) -> (usize, usize) {
    let position = read(text).position();
    (position.start as usize, position.end as usize)
}

#[test]
fn operators_bind_in_six_levels_and_powers_from_the_right() {
    // Every operator is put in parentheses, to show what it takes.
    fn shape(e: &Expr) -> String {
        match e {
            Expr::Binary(b) => format!("({} {} {})", shape(&b.left), b.op.as_str(), shape(&b.right)),
            Expr::Unary(u) => format!("{}[{}]", if u.is_minus { '-' } else { '+' }, shape(&u.expr)),
            other => other.to_string(),
        }
    }
    for (text, expected) in [
        ("a or b and c", "(a or (b and c))"),
        ("a unless b and c", "((a unless b) and c)"),
        ("a and b == c", "(a and (b == c))"),
        ("a < b + c", "(a < (b + c))"),
        ("a > b </ c", "((a > b) </ c)"),
        ("a + b * c - d", "((a + (b * c)) - d)"),
        ("a / b atan2 c % d", "(((a / b) atan2 c) % d)"),
        ("a * b ^ c ^ d", "(a * (b ^ (c ^ d)))"),
        ("-a ^ b", "-[(a ^ b)]"),
        ("-a * b", "(-[a] * b)"),
        ("2 ^ -a * b", "((2 ^ -[a]) * b)"),
        ("a - -b", "(a - -[b])"),
        ("- + a", "-[+[a]]"),
        ("-a[1m:] ", "-[a[1m:]]"),
    ] {
        assert_eq!(shape(&parse_any(text)), expected, "{text}");
    }
}

/// Reads without checking types.
fn parse_any(text: &str) -> Expr {
    let mut parser = Parser { tokens: Tokens::new(text).unwrap(), options: ParserOptions::ALL, open: Vec::new() };
    parser.expression().unwrap_or_else(|e| panic!("{text}: {e}"))
}

#[test]
fn numbers_take_their_signs_in_and_durations_are_seconds() {
    for (text, value, is_duration) in [
        ("-1", -1.0, false),
        ("+-+-2", 2.0, false),
        ("-0x1F", -31.0, false),
        ("017", 15.0, false),
        ("1_000", 1000.0, false),
        ("-Inf", f64::NEG_INFINITY, false),
        ("1h30m", 5400.0, true),
        ("-5m", -300.0, true),
    ] {
        let Expr::Number(number) = read(text) else { panic!("{text}") };
        assert_eq!((number.value, number.is_duration), (value, is_duration), "{text}");
        assert_eq!(number.position, Position { start: 0, end: text.len() as u32 }, "{text}");
    }
    prints(&[("- (1)", "-(1)"), ("1e3", "1000"), ("NAN", "NaN"), ("90m", "1h30m"), ("-1500ms", "-1s500ms")]);
    prints(&[("1s7ms", "1s7ms"), ("1e-9", "0.000000001"), ("+inf", "+Inf"), ("-0", "-0")]);
}

/// Found by fuzzing; the reference prints the same.
#[test]
fn the_sign_that_infinity_is_printed_with_is_read_as_an_operator_before_a_power() {
    assert_eq!(read("inf ^ m").to_string(), "+Inf ^ m");
    assert_eq!(read("+Inf ^ m").to_string(), "++Inf ^ m");
    prints(&[("1 * inf", "1 * +Inf"), ("(inf) ^ m", "(+Inf) ^ m")]);
}

#[test]
fn modifiers_of_selectors_may_come_in_any_order() {
    for text in ["x[5m] offset 1h @ 7.5 anchored", "x[5m] anchored @ 7.5 offset 1h", "x anchored [5m] @ 7.5 offset 60m"]
    {
        let Expr::Matrix(matrix) = read(text) else { panic!("{text}") };
        assert!(matches!(matrix.range, Extent::Fixed(300_000)), "{text}");
        assert!(matches!(matrix.selector.offset, Some(Extent::Fixed(3_600_000))), "{text}");
        assert_eq!(matrix.selector.at, Some(At::Time(crate::model::TimestampMs(7500))), "{text}");
        assert_eq!(matrix.selector.extension, Extension::Anchored, "{text}");
    }
    prints(&[
        ("x offset -5m @ end()", "x @ end() offset -5m"),
        ("x @ -1.2345", "x @ -1.235"),
        ("x smoothed @ start()", "x @ start() smoothed"),
        ("x offset 0s offset 1m", "x offset 1m"),
        ("rate(x[1m]) [ 1h : 30s ] @ 1 offset 1d", "rate(x[1m])[1h:30s] @ 1.000 offset 1d"),
        ("x[1h:]", "x[1h:]"),
        ("sum(x)[1d2h:] offset 1w", "sum(x)[1d2h:] offset 1w"),
    ]);
}

#[test]
fn durations_are_computed_with_an_arithmetic_of_their_own() {
    prints(&[
        ("x[5m*2]", "x[5m * 2]"),
        ("x[ step() + 2*3 ^ 2 ]", "x[step() + 2 * 3 ^ 2]"),
        ("x[((1m))]", "x[(1m)]"),
        ("x[-(-5m)]", "x[-(-5m)]"),
        ("x[Max_Of(range(), 5m):min_of(step(), 1m) % 7]", "x[max_of(range(), 5m):min_of(step(), 1m) % 7]"),
        ("x[5m # comment\n + 1m]", "x[5m + 1m]"),
        // A lone operand behind `offset` ends it.
        ("x offset 5m * 2", "x offset 5m * 2"),
        ("x offset (5m) * 2", "x offset (5m) * 2"),
        ("x offset +(5m) * 2", "x offset +(5m) * 2"),
        ("x offset -step() * 2", "x offset -step() * 2"),
        ("x offset +step()", "x offset step()"),
        ("x offset -min_of(1m, -2m)", "x offset -min_of(1m, -2m)"),
        // But two signs do not; the reference prints this as the product of a selector.
        ("x offset --5m * 2", "x offset ++5m * 2"),
        ("x offset -+step() * 2", "x offset +-step() * 2"),
        ("x offset -+5m ^ 2", "x offset +-5m ^ 2"),
    ]);
    let offset = |text| match parse_any(text) {
        Expr::Vector(selector) => selector.offset,
        _ => None,
    };
    assert!(
        matches!(offset("x offset (5m) * 2"), Some(Extent::Computed(e)) if matches!(*e, DurationExpr::Binary { .. }))
    );
    assert!(offset("x offset 5m * 2").is_none());
}

#[test]
fn what_is_not_switched_on_is_refused() {
    let stable = ParserOptions::default();
    refused(
        stable,
        &[
            (
                "limitk(2, x)",
                "1:1: parse error: limitk() is experimental and must be enabled with --enable-feature=promql-experimental-functions",
            ),
            ("info(x)", "1:1: parse error: function \"info\" is not enabled"),
            ("1 + step()", "1:5: parse error: function \"step\" is not enabled"),
            ("x[5m + 1m]", "1:3: parse error: experimental duration expression is not enabled"),
            ("x[max_of(1m, 2m)]", "1:10: parse error: experimental duration expression is not enabled"),
            ("x offset -step()", "1:10: parse error: experimental duration expression is not enabled"),
            ("x[1m] smoothed", "1:1: parse error: smoothed modifier is experimental and not enabled"),
            ("x + fill(0) y", "1:1: parse error: binop fill modifiers are experimental and not enabled"),
        ],
    );
    for text in ["x offset -(5m)", "fill + fill_left", "sum(anchored) by (step, fill)", "start + smoothed offset 1m"] {
        assert!(parse(text, &stable).is_ok(), "{text}");
    }
}

#[test]
fn keywords_are_names_where_they_can_be() {
    prints(&[
        ("sum", "sum"),
        ("SUM by (By) (offset)", "sum by (By) (offset)"),
        ("and and and", "and and and"),
        ("start() + start", "start() + start"),
        ("sum(by) by (\"a b\", 'c',)", "sum by (\"a b\", c) (by)"),
        ("count without () (group)", "count without () (group)"),
        ("x * on (inf_, nan_) y", "x * on (inf_, nan_) y"),
        ("sum by (\"without\", \"Inf\") (x)", "sum by (\"without\", \"Inf\") (x)"),
        ("fill(0)".replace("(0)", "").as_str(), "fill"),
        ("x + fill (-1) fill", "x + fill (-1) fill"),
    ]);
}

#[test]
fn binary_modifiers_say_how_series_find_each_other() {
    prints(&[
        ("a == bool on (x) group_left (y) b", "a == bool on (x) group_left (y) b"),
        ("a / ignoring (x,) group_right b", "a / ignoring (x) group_right () b"),
        ("a - on () b", "a - on () b"),
        ("a - ignoring () b", "a - b"),
        ("a + fill(1e6) b", "a + fill (1e+06) b"),
        ("a + fill_right(5m) fill_left(-1) b", "a + fill_left (-1) fill_right (300) b"),
        ("1 > bool on () 2", "1 > bool 2"),
    ]);
    let Expr::Binary(set) = read("a and on (x) b") else { panic!("an operator") };
    assert_eq!(set.matching.map(|m| m.cardinality.as_str()), Some("many-to-many"));
}

#[test]
fn mistakes_of_grammar_are_told_in_the_words_of_the_reference() {
    refused(
        ParserOptions::ALL,
        &[
            ("", "unknown position: parse error: no expression found in input"),
            (" # nothing", "1:1: parse error: no expression found in input"),
            ("a b", r#"1:3: parse error: unexpected identifier "b""#),
            ("(a", "1:3: parse error: unclosed left parenthesis"),
            ("a)", "1:3: parse error: unexpected right parenthesis ')'"),
            ("a +", "1:4: parse error: unexpected end of input"),
            ("a + * b", "1:5: parse error: unexpected <op:*>"),
            ("a,b", r#"1:2: parse error: unexpected ",""#),
            ("(a,b)", r#"1:3: parse error: unexpected ",""#),
            ("a:b(c)", r#"1:4: parse error: unexpected "(""#),
            ("abs(a,)", "1:6: parse error: trailing commas not allowed in function call args"),
            ("nope(a)", r#"1:1: parse error: unknown function with name "nope""#),
            ("Rate(a[1m])", r#"1:1: parse error: unknown function with name "Rate""#),
            ("sum(a b)", r#"1:7: parse error: unexpected identifier "b" in aggregation"#),
            ("sum(abs(a b))", r#"1:11: parse error: unexpected identifier "b" in aggregation"#),
            ("sum by (x) a", r#"1:12: parse error: unexpected identifier "a" in aggregation"#),
            ("sum()", "1:1: parse error: no arguments for aggregate expression provided"),
            (
                "topk(a)",
                "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 2, got 1",
            ),
            ("sum(a) by b", r#"1:11: parse error: unexpected identifier "b" in grouping opts, expected "(""#),
            ("sum(a) by (1)", r#"1:12: parse error: unexpected number "1" in grouping opts, expected label"#),
            (
                "sum(a) by (b c)",
                r#"1:14: parse error: unexpected identifier "c" in grouping opts, expected "," or ")""#,
            ),
            ("sum(a) by (without)", "1:12: parse error: unexpected <without> in grouping opts, expected label"),
            (r#"sum(a) by ("")"#, r#"1:12: parse error: invalid label name for grouping: """#),
            (r#"sum(a) by ("\xff")"#, r#"1:12: parse error: invalid label name for grouping: "\xff""#),
            ("a + on (x) group_left) b", "1:23: parse error: unexpected right parenthesis ')'"),
            ("(a + on (x) group_left)", r#"1:23: parse error: unexpected ")" in grouping opts, expected "(""#),
            (
                "a[]",
                r#"1:3: parse error: unexpected "]" in subquery or range selector, expected number, duration, step(), or range()"#,
            ),
            ("a[5m 1m]", r#"1:6: parse error: unexpected duration "1m" in subquery or range, expected ":" or "]""#),
            ("a[5m:1m 2]", r#"1:9: parse error: unexpected number "2" in subquery selector, expected "]""#),
            ("a[5m", "1:5: parse error: unclosed left bracket"),
            ("a[", "1:3: parse error: unexpected end of input in duration expression"),
            ("a[x]", "1:3: parse error: unexpected character in duration expression: 'x'"),
            ("a[5m x]", "1:6: parse error: unexpected character: 'x', expected ':'"),
            ("a[:5m]", "1:4: parse error: unexpected colon before duration in duration expression"),
            ("a[5m::]", "1:6: parse error: unexpected colon ':'"),
            ("a[5m[", "1:5: parse error: unexpected left bracket '['"),
            ("a[0s]", "1:3: parse error: duration must be greater than 0"),
            ("a[1m:-1s]", "1:6: parse error: duration must be greater than 0"),
            ("a[1m/0]", "1:5: parse error: division by zero"),
            ("a[1e20]", "1:3: parse error: duration out of range"),
            ("a[5hs]", r#"1:3: parse error: unknown unit "hs" in duration "5hs""#),
            ("1.5h", r#"1:1: parse error: unknown unit "." in duration "1.5h""#),
            ("(a + b)[5m]", "1:8: parse error: ranges only allowed for vector selectors"),
            ("a offset 1m [5m]", "1:13: parse error: no offset modifiers allowed before range"),
            ("a @ end() [5m]", "1:11: parse error: no @ modifiers allowed before range"),
            (
                "a offset b",
                r#"1:10: parse error: unexpected identifier "b" in offset, expected number, duration, step(), or range()"#,
            ),
            ("a offset 1m offset 2m", "1:1: parse error: offset may not be set multiple times"),
            ("a @ b", r#"1:5: parse error: unexpected identifier "b" in @, expected timestamp"#),
            ("a @ inf", "1:1: parse error: timestamp out of bounds for @ modifier: +Inf"),
            ("a @ 1 @ end()", "1:1: parse error: @ <timestamp> may not be set multiple times"),
            (
                "1 @ 2",
                "1:1: parse error: @ modifier must be preceded by an instant vector selector or range vector selector or a subquery",
            ),
            (
                "(a) offset 1m",
                "1:1: parse error: offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
            ),
            ("a[1m] anchored smoothed", "1:1: parse error: anchored and smoothed modifiers cannot be used together"),
            ("a[1m:] anchored", "1:1: parse error: anchored modifier is not supported for subqueries"),
            ("abs(a) smoothed", "1:1: parse error: smoothed modifier not implemented"),
            ("1e", "1:1: parse error: bad number or duration syntax: \"1e\""),
            (
                "1e999",
                "1:1: parse error: error parsing number: strconv.ParseFloat: parsing \"1e999\": value out of range",
            ),
        ],
    );
}

#[test]
fn a_mistake_behind_a_closing_parenthesis_does_not_hide_the_one_before_it() {
    // What ends at its own parenthesis is judged before the next token is read; an aggregation does not end there.
    refused(
        ParserOptions::ALL,
        &[
            ("nope() \"open", r#"1:1: parse error: unknown function with name "nope""#),
            ("topk(a) \"open", "1:9: parse error: unterminated quoted string"),
            ("a offset 1m offset 1m ☺", "1:1: parse error: offset may not be set multiple times"),
            ("a offset 1m offset (1m) ☺", "1:25: parse error: unexpected character: '☺'"),
        ],
    );
}

#[test]
fn mistakes_of_type_are_told_in_the_words_of_the_reference() {
    refused(
        ParserOptions::ALL,
        &[
            ("sum(1)", "1:5: parse error: expected type instant vector in aggregation expression, got scalar"),
            ("topk(\"x\", a)", "1:6: parse error: expected type scalar in aggregation parameter, got string"),
            ("count_values(1, a)", "1:14: parse error: expected type string in aggregation parameter, got scalar"),
            ("1 == 1", "1:3: parse error: comparisons between scalars must use BOOL modifier"),
            ("a + bool b", "1:3: parse error: bool modifier can only be used on comparison operators"),
            ("a[1m] + 1", "1:1: parse error: binary expression must contain only scalar and instant vector types"),
            ("1 + \"x\"", "1:5: parse error: binary expression must contain only scalar and instant vector types"),
            ("a and 1", "1:1: parse error: set operator \"and\" not allowed in binary scalar expression"),
            ("a + on (x) 1", "1:1: parse error: vector matching only allowed between instant vectors"),
            ("a + fill (0) 1", "1:1: parse error: filling in missing series only allowed between instant vectors"),
            ("a or on (x) group_left b", "1:1: parse error: no grouping allowed for \"or\" operation"),
            ("a or fill (0) b", "1:1: parse error: filling in missing series not allowed for set operators"),
            (
                "a * on (x, y) group_left (y) b",
                "1:3: parse error: label \"y\" must not occur in ON and GROUP clause at once",
            ),
            (
                "-\"x\"",
                "1:1: parse error: unary expression only allowed on expressions of type scalar or instant vector, got \"string\"",
            ),
            ("1[1m:]", "1:1: parse error: subquery is only allowed on instant vector, got scalar instead"),
            (
                "rate(a)",
                "1:6: parse error: expected type range vector in call to function \"rate\", got instant vector",
            ),
            ("abs()", "1:1: parse error: expected 1 argument(s) in call to \"abs\", got 0"),
            (
                "label_join(a, \"b\")",
                "1:1: parse error: expected at least 3 argument(s) in call to \"label_join\", got 2",
            ),
            ("round(a, 1, 2)", "1:1: parse error: expected at most 2 argument(s) in call to \"round\", got 3"),
            (
                "label_join(a, \"b\", \"c\", \"d\", 1)",
                "1:30: parse error: expected type string in call to function \"label_join\", got scalar",
            ),
            ("info(a, b)", "1:9: parse error: expected label selectors only, got vector selector instead"),
            ("info(a, abs(b))", "1:9: parse error: expected label selectors only"),
            ("info(a, 1)", "1:1: parse error: expected type instant vector in call to function \"info\", got scalar"),
            ("{}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
            ("abs(a{__name__=\"b\"})", "1:5: parse error: metric name must not be set twice: \"a\" or \"b\""),
            // Grammar goes first.
            ("sum(1) + nope(2)", "1:10: parse error: unknown function with name \"nope\""),
        ],
    );
    assert!(parse("info(a, {x=~\".*\"})", &ParserOptions::ALL).is_ok());
    assert_eq!(read("1 + vector(1)").value_type(), ValueType::Vector);
}

#[test]
fn places_are_bytes_of_the_text() {
    assert_eq!(range_of(" a{b=\"é\"}[5m] "), (1, 14));
    assert_eq!(range_of("a offset 5m "), (0, 11));
    assert_eq!(range_of("sum (a) by (b) "), (0, 14));
    // Without modifier, the parenthesis behind counts in if a comment stands between; so it does in the reference.
    let inner = |text| match read(text) {
        Expr::Paren(paren) => paren.expr.position().end,
        _ => 0,
    };
    assert_eq!((inner("(sum(a) )"), inner("(sum(a) # c\n)")), (7, 13));
}

#[test]
fn strings_may_hold_what_is_not_utf8() {
    let Expr::String(string) = read(r#""a\xc5z""#) else { panic!("a string") };
    assert_eq!((string.value.as_str(), string.bytes.as_deref()), ("a\u{fffd}z", Some(&b"a\xc5z"[..])));
    prints(&[(r#"'a\xc5"z'"#, r#""a\xc5\"z""#), (r#""\ufffd""#, r#""\ufffd""#), ("`\\`", r#""\\""#)]);
}

#[test]
fn long_expressions_are_broken_at_operators_arguments_and_parentheses() {
    let text = "-(sum by (job) (rate(http_requests_total{code=~\"5..\"}[5m])) / on (job) group_left () \
                topk(3, sum by (job) (rate(http_requests_total[5m]))))";
    let expected = r#"-(
    sum by (job) (rate(http_requests_total{code=~"5.."}[5m]))
  / on (job) group_left ()
    topk(3, sum by (job) (rate(http_requests_total[5m])))
)"#;
    assert_eq!(pretty(&read(text)), expected);
    assert_eq!(pretty(&read("abs( a )")), "abs(a)");
    let call = format!("clamp_max({} + b, 1)", "a".repeat(100));
    let expected = format!("clamp_max(\n    {}\n  +\n    b,\n  1\n)", "a".repeat(100));
    assert_eq!(pretty(&read(&call)), expected);
}

#[test]
fn a_tree_is_shown_as_json() {
    let shown = tree_json(&read("sum by (job) (rate(up{a!=\"b\"}[5m] @ 1 offset (1m))) > bool -2"));
    assert_eq!(
        shown.to_string(),
        concat!(
            r#"{"bool":true,"lhs":{"expr":{"args":[{"anchored":false,"matchers":[{"name":"a","type":"!=","value":"b"},"#,
            r#"{"name":"__name__","type":"=","value":"up"}],"name":"up","offset":0,"offsetExpr":{"lhs":null,"op":"+","#,
            r#""rhs":{"duration":true,"type":"numberLiteral","val":"60"},"type":"durationExpr","wrapped":true},"#,
            r#""range":300000,"rangeExpr":null,"smoothed":false,"startOrEnd":null,"timestamp":1000,"#,
            r#""type":"matrixSelector"}],"func":{"argTypes":["matrix"],"name":"rate","returnType":"vector","variadic":0},"#,
            r#""type":"call"},"grouping":["job"],"op":"sum","param":null,"type":"aggregation","without":false},"#,
            r#""matching":null,"op":">","rhs":{"type":"numberLiteral","val":"-2"},"type":"binaryExpr"}"#
        )
    );
    let matching = &tree_json(&read("a + on (x) fill_left (1.5) b"))["matching"];
    assert_eq!(matching["fillValues"].to_string(), r#"{"lhs":1.5,"rhs":null}"#);
    assert_eq!(matching["card"], "one-to-one");
}

#[test]
fn hostile_depth_is_refused_and_costs_neither_stack_nor_time() {
    let deep = |open: &str, inner: &str, close: &str, n: usize| format!("{}{inner}{}", open.repeat(n), close.repeat(n));
    let started = Instant::now();
    for text in [
        deep("(", "a", ")", 100_000),
        deep("-", "a", "", 100_000),
        deep("-", "1", "", 100_000),
        deep("abs(", "a", ")", 100_000),
        deep("sum(", "a", ")", 100_000),
        deep("a ^ ", "a", "", 100_000),
        deep("a + ", "a", "", 100_000),
        deep("", "a", "[1m:]", 100_000),
        format!("a[{}1{}]", "(".repeat(100_000), ")".repeat(100_000)),
        format!("a[1{}]", "+1".repeat(100_000)),
        format!("a offset {}1", "-".repeat(100_000)),
    ] {
        let error = parse(&text, &ParserOptions::ALL).map(drop).map_err(|e| e.message);
        assert!(error.as_ref().is_err_and(|e| e.contains("levels deep") || e.contains("parts")), "{error:?}");
    }
    let long = format!("a{{b=\"{}\"}}", "x".repeat(5 << 20));
    assert!(parse(&long, &ParserOptions::ALL).is_err_and(|e| e.message.contains("longer than")));
    assert!(started.elapsed().as_secs() < 60, "quadratic in the length of the text");
}

#[test]
fn the_deepest_trees_are_read_on_a_small_stack_and_walked_on_a_large_one() {
    let work = || {
        let most = MAX_DEPTH as usize - 1;
        for text in [
            format!("{}a{}", "(".repeat(most), ")".repeat(most)),
            format!("{}a", "-".repeat(most)),
            format!("{}a", "a + ".repeat(most)),
            format!("{}a", "a ^ ".repeat(most)),
            format!("{}a{}", "topk(1, ".repeat(most), ")".repeat(most)),
            format!("{}a{}", "abs(".repeat(most), ")".repeat(most)),
        ] {
            let small = || drop(read(&text));
            std::thread::scope(|scope| {
                std::thread::Builder::new().stack_size(512 << 10).spawn_scoped(scope, small).unwrap();
            });
            let tree = read(&text);
            assert!(same_tree(&tree, &read(&tree.to_string())));
            assert!(same_tree(&tree.clone(), &read(&pretty(&tree))));
            assert!(tree_json(&tree).is_object());
            tree.walk(&mut |_| ());
            assert_eq!(tree.value_type(), ValueType::Vector);
        }
    };
    std::thread::Builder::new().stack_size(16 << 20).spawn(work).unwrap().join().unwrap();
}
