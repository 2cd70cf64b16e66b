//! Random expressions, and random text.

use proptest::prelude::*;

use super::*;
use crate::promql::same::same_tree;
use crate::promql::{pretty, tree_json};

/// What may stand in brackets.
fn durations() -> impl Strategy<Value = String> {
    prop_oneof![Just("5m".to_owned()), Just("90".to_owned()), Just("step()".to_owned()), Just("1h2ms".to_owned()),]
        .prop_recursive(3, 8, 2, |inner| {
            prop_oneof![
                (inner.clone(), "[-+*%/^]", inner.clone()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
                inner.clone().prop_map(|a| format!("({a})")),
                inner.clone().prop_map(|a| format!("max_of({a}, 2)")),
                inner.prop_map(|a| format!("-({a})")),
            ]
        })
}

/// What may stand behind a selector.
fn offsets() -> impl Strategy<Value = String> {
    let signed = ("[-+]{0,2}", durations()).prop_map(|(sign, d)| format!(" offset {sign}({d})"));
    let mixed = ("[-+]{0,3}", durations()).prop_map(|(sign, d)| format!(" offset {sign}{d}"));
    prop_oneof![Just(String::new()), Just(" @ end()".to_owned()), Just(" @ -1.5".to_owned()), signed, mixed]
}

/// Selectors in several spellings.
fn selectors() -> impl Strategy<Value = String> {
    let named =
        prop_oneof![Just("up"), Just("sum"), Just("a:b"), Just("{\"m n\"}"), Just("x{b!~\"c|\",a=\"\\u00e9\\n\"}")];
    (named, offsets()).prop_map(|(name, offset)| format!("{name}{offset}"))
}

/// Expressions that evaluate to a vector.
fn vectors() -> impl Strategy<Value = String> {
    let windows = (prop_oneof![Just("up"), Just("{a=\"b\"}")], durations(), offsets())
        .prop_map(|(name, d, offset)| format!("rate({name}[{d}] smoothed{offset})"));
    prop_oneof![selectors(), windows].prop_recursive(5, 24, 3, move |inner| {
        let operators = prop_oneof![
            Just("+"), Just("-"), Just("^"), Just("* on (a, \"b c\")"), Just("and"), Just("or"), Just("unless"), Just("atan2"),
            Just("> bool"), Just("== ignoring (a) group_left (b)"), Just("/ on () group_right ()"), Just("</"),
            Just("% fill (-1)"), Just("- fill_left (1e9) fill_right (NaN)"),
        ];
        let aggregations = prop_oneof![
            Just("sum by (a, \"without\")"), Just("avg"), Just("count without ()"), Just("quantile by (a) (0.5 ^ 2, "),
            Just("count_values(\"l\", "), Just("topk(scalar(up) % 3, "),
        ];
        prop_oneof![
            3 => (inner.clone(), operators, inner.clone()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            1 => inner.clone().prop_map(|a| format!("({a})")),
            1 => inner.clone().prop_map(|a| format!("-{a}")),
            1 => (inner.clone(), "[-+]{1,2}", inner.clone()).prop_map(|(a, sign, b)| format!("2 * {sign}1 ^ {a} + {b}")),
            1 => (aggregations, inner.clone()).prop_map(|(op, a)| match op.ends_with(' ') {
                true => format!("{op}{a})"),
                false => format!("{op}({a})"),
            }),
            1 => (inner.clone(), durations(), offsets())
                .prop_map(|(a, d, offset)| format!("max_over_time(({a})[{d}:30s]{offset})")),
            1 => inner.prop_map(|a| format!("label_replace({a}, \"dst\", \"$1-\\xff\", `s\"rc`, \"(.*)\")")),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back_as_the_same_tree(text in vectors()) {
        // Zeros and negative durations are refused.
        let Ok(tree) = parse(&text, &ParserOptions::ALL) else { return Ok(()) };
        for printed in [tree.to_string(), pretty(&tree)] {
            let again = parse(&printed, &ParserOptions::ALL);
            prop_assert!(again.as_ref().is_ok_and(|again| same_tree(&tree, again)), "{text}\n{printed}\n{again:?}");
            prop_assert_eq!(again.map(|e| e.to_string()).ok(), Some(tree.to_string()));
        }
        prop_assert!(tree_json(&tree).is_object());
    }

    #[test]
    fn no_soup_of_tokens_makes_the_parser_panic(
        tokens in prop::collection::vec(prop_oneof![
            "[a-z_:{}()\\[\\],=!~\"'`\\\\#.0-9@<>/+*%^ \n☺-]",
            Just("sum".to_owned()), Just("by(a)".to_owned()), Just("offset".to_owned()), Just("5m".to_owned()),
            Just("[5m:]".to_owned()), Just("rate(".to_owned()), Just("on(".to_owned()), Just("group_left".to_owned()),
            Just("fill(".to_owned()), Just("max_of(".to_owned()), Just("step()".to_owned()), Just("\"\\x".to_owned()),
            Just("x{".to_owned()), Just("=~\"a\"".to_owned()), Just("@ end()".to_owned()), Just("1".to_owned()),
            Just("x".to_owned()), Just("info(".to_owned()), Just("topk(".to_owned()), Just(" and ".to_owned()),
        ], 0..20)
    ) {
        let text = tokens.concat();
        for options in [ParserOptions::ALL, ParserOptions::default()] {
            match parse(&text, &options) {
                Ok(tree) => prop_assert!(!pretty(&tree).is_empty() && tree_json(&tree).is_object()),
                Err(error) => prop_assert!(error.range.start <= text.len() && error.to_string().contains("parse error")),
            }
        }
    }
}
