use proptest::prelude::*;

use super::*;

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap_or_else(|e| panic!("{pattern}: {e}"))
}

#[track_caller]
fn check(pattern: &str, matching: &[&str], others: &[&str]) {
    let regex = regex(pattern);
    for text in matching {
        assert!(regex.is_match(text), "{pattern:?} must match {text:?}");
        assert!(text.starts_with(regex.prefix()), "{pattern:?} has the prefix {:?}", regex.prefix());
    }
    for text in others {
        assert!(!regex.is_match(text), "{pattern:?} must not match {text:?}");
    }
}

#[track_caller]
fn refused(pattern: &str, reason: &str) {
    match Regex::new(pattern) {
        Ok(_) => panic!("{pattern:?} must be refused"),
        Err(e) => assert_eq!(e.to_string(), format!("error parsing regexp: {reason}")),
    }
}

#[test]
fn braces_that_are_no_count_are_ordinary_characters() {
    check("a{", &["a{"], &["a"]);
    check("{", &["{"], &[""]);
    check("a{x}", &["a{x}"], &["a"]);
    check("a{,2}", &["a{,2}"], &["", "a", "aa"]);
    check("a{ 2}", &["a{ 2}"], &["aa"]);
    check("a{01}", &["a{01}"], &["a"]);
    check("a{2}}", &["aa}"], &["aa"]);
}

#[test]
fn quotations_octal_and_hexadecimal_escapes_are_understood() {
    check(r"\Qa.b{2}\E+", &["a.b{2}", "a.b{2}}}"], &["axb{2}"]);
    check(r"\101\x41\x{263a}", &["AA☺"], &["101"]);
    check(r"\0", &["\0"], &["0"]);
    check(r"[\101-\103]", &["A", "B", "C"], &["1", "0"]);
    check(r"\a\f\n\r\t\v\_\-", &["\x07\x0c\n\r\t\x0b_-"], &[]);
    refused(r"a\Qb", r"missing closing ): `^(?s:a\Qb)$`");
}

#[test]
fn what_re2_refuses_is_refused_in_its_words() {
    for (pattern, reason) in [
        ("a(b", "missing closing ): `a(b`"),
        ("a)b", "unexpected ): `a)b`"),
        ("[a", "missing closing ]: `[a`"),
        ("*", "missing argument to repetition operator: `*`"),
        ("a|+?", "missing argument to repetition operator: `+?`"),
        ("({2})", "missing argument to repetition operator: `{2}`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("a*+", "invalid nested repetition operator: `*+`"),
        ("x{2}{3}", "invalid nested repetition operator: `{2}{3}`"),
        ("a{1001}", "invalid repeat count: `{1001}`"),
        ("a{2,1}", "invalid repeat count: `{2,1}`"),
        ("a{99999999999}", "invalid repeat count: `{99999999999}`"),
        ("(a{100}){100}", "invalid repeat count: `{100}`"),
        ("(?x)a", "invalid or unsupported Perl syntax: `(?x`"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        ("(?i-)a", "invalid or unsupported Perl syntax: `(?i-)`"),
        ("(?<1-a>b)", "invalid named capture: `(?<1-a>`"),
        ("(?P<name", "invalid named capture: `(?P<name`"),
        (r"\u0041", r"invalid escape sequence: `\u`"),
        (r"\1", r"invalid escape sequence: `\1`"),
        (r"\Z", r"invalid escape sequence: `\Z`"),
        (r"\C", r"invalid escape sequence: `\C`"),
        (r"\x{110000}", r"invalid escape sequence: `\x{110000`"),
        (r"[\b]", r"invalid escape sequence: `\b`"),
        ("a\\", "trailing backslash at end of expression: ``"),
        ("[c-a]", "invalid character class range: `c-a`"),
        ("[[:foo:]]", "invalid character class range: `[:foo:]`"),
        (r"\p{Foo}", r"invalid character class range: `\p{Foo}`"),
        (r"\p{Alphabetic}", r"invalid character class range: `\p{Alphabetic}`"),
        (r"\pX", r"invalid character class range: `\pX`"),
    ] {
        refused(pattern, reason);
    }
    // Punctuation may be escaped, and braces without a count are text: no word boundaries in another syntax.
    check(r"\<a", &["<a"], &["a"]);
    check(r"\b{start}a", &[], &["a", "{start}a"]);
}

#[test]
fn perl_classes_and_boundaries_are_ascii() {
    check(r"\d", &["7"], &["٣", "a"]);
    check(r"\w+", &["a_1"], &["é", "٣", "-"]);
    check(r"\s+", &[" \t\r\n\x0c"], &["\x0b", "\u{a0}"]);
    check(r"\D\W\S", &["٣é\x0b"], &["3éx", "aax"]);
    check(r"é\ba", &["éa"], &["éé"]);
    check(r"a\Bb", &["ab"], &["a b"]);
    check(r".*\bfoo\b.*", &["a foo b", "éfooé"], &["afoo"]);
}

#[test]
fn brackets_hold_no_set_operations() {
    check("[a&&b]", &["a", "&", "b"], &["", "c"]);
    check("[+--b]", &["+", ",", "-", "b"], &["a", "."]);
    refused("[a--b]", "invalid character class range: `a--`");
    check("[[a]]", &["[]", "a]"], &["a", "["]);
    check("[a~~b]", &["~", "a", "b"], &["c"]);
    check("[]a]", &["]", "a"], &["[]a]"]);
    check("[^]a]", &["b", "\n", "é"], &["]", "a"]);
    check(r"[\d\-x]+", &["3-x"], &["٣", r"\"]);
    check("[a-]", &["a", "-"], &["b"]);
    check("[ #]", &[" ", "#"], &[""]);
}

#[test]
fn posix_and_unicode_classes_are_known() {
    check("[[:alpha:]]+", &["aZ"], &["é", "1"]);
    check("[[:^alpha:]]", &["é", "1", "\n"], &["a"]);
    check("[[:word:].]", &["_", "."], &[":"]);
    check("[[:x]", &["[", ":", "x"], &["a"]);
    check(r"\pN", &["٣", "1"], &["a"]);
    check(r"\p{Greek}\P{Greek}\p{^Greek}", &["Σab"], &["aΣb"]);
    check(r"[^\p{L}\d]", &["-"], &["é", "1"]);
    check(r"\p{Any}\p{ASCII}\p{Assigned}", &["éaé"], &["ééé"]);
}

#[test]
fn groups_and_flags_are_known_in_all_spellings() {
    check("(?P<a>x)(?<b>y)(?:z)", &["xyz"], &["xy"]);
    check("(?i)strasse(?-i)x", &["STRASSEx", "\u{17f}trassex"], &["strasseX"]);
    check("(?i:a)b", &["Ab", "ab"], &["aB"]);
    check("(?-s).", &["a"], &["\n"]);
    check("(?-s:.)(?s:.)", &["a\n"], &["\na"]);
    check("a(?m)$\n^b", &["a\nb"], &["ab"]);
    check("a$\nb", &[], &["a\nb"]);
    check("(?U)a+?", &["aaa"], &[""]);
    check("((?i)a)b", &["Ab"], &["AB"]);
    check("(?i)k", &["k", "K", "\u{212a}"], &["x"]);
    check("(?i)[k]|[^a]", &["\u{212a}", "b"], &["A", "a"]);
}

#[test]
fn dots_match_newlines_and_ends_are_ends_of_the_text() {
    check("a.b", &["a\nb"], &["a\nb\n"]);
    check("foo$", &["foo"], &["foo\n"]);
    check("^foo|bar$", &["foo", "bar"], &["foobar", "xfoo"]);
    check("a|b", &["a", "b"], &["ab", "ac"]);
    check("", &[""], &["a"]);
}

#[test]
fn hostile_expressions_are_refused_without_harm() {
    let many = |s: &str, n: usize| s.repeat(n);
    for pattern in [
        many("(", 100_000),
        many("(?:", 100_000),
        many("(", 100_000) + &many(")", 100_000),
        many("(?:a|", 50_000) + &many(")", 50_000),
        many("x", (1 << 20) + 1),
        many("[", 100_000),
        many(r"[ab].?\pL", 100_000),
        many(r"(\pL{30}){30}", 40),
        "((((a{1,10}){1,10}){1,10}){1,10})".to_owned(),
        many("(a", 999) + &many(")*", 999),
    ] {
        let error = Regex::new(&pattern).expect_err("too much").to_string();
        assert!(error.len() < 2000, "the error must not repeat the whole expression: {}", error.len());
    }
}

#[test]
fn deep_nesting_within_the_limit_works() {
    let deep = "(".repeat(990) + "a.?b" + &")".repeat(990);
    assert!(regex(&deep).is_match("axb"));
    let repeated = "(?:".repeat(990) + "[ab]+" + &")*".repeat(990);
    assert!(regex(&repeated).is_match("abab"));
}

#[test]
fn long_concatenations_take_time_in_proportion() {
    // Quadratic work would take minutes on these.
    let long = regex(&"a(?:b)".repeat(150_000));
    assert!(long.is_match(&"ab".repeat(150_000)) && !long.is_match("ab"));
    assert!(regex(&"a.*".repeat(60)).is_match(&"ab".repeat(60)));
    assert!(regex(&".*(?:)".repeat(100_000)).is_match("x"));
}

#[test]
fn thousands_of_alternatives_are_answered_by_a_table() {
    let names: Vec<String> = (0..4001).map(|i| format!("host-{i:05}.example.org")).collect();
    let regex = regex(&names[..4000].join("|").replace('.', r"\."));
    assert_eq!(regex.literals().map(<[_]>::len), Some(4000));
    assert!(regex.is_match("host-03999.example.org") && !regex.is_match("host-04000.example.org"));
    assert_eq!(regex.prefix(), "host-0");
}

#[test]
fn finite_sets_are_listed() {
    for (pattern, expected) in [
        ("foo", &["foo"][..]),
        ("", &[""]),
        ("foo|bar|foo", &["foo", "bar"]),
        ("a(b|c)d", &["abd", "acd"]),
        ("[ab]c", &["ac", "bc"]),
        ("(api|web)-[12]", &["api-1", "api-2", "web-1", "web-2"]),
        ("^(?:x|y?)$", &["x", "", "y"]),
        ("a{2}b{0,1}", &["aa", "aab"]),
        (r"a\.b", &["a.b"]),
        ("(?i)[0-1]-", &["0-", "1-"]),
        ("a{0}", &[""]),
    ] {
        let regex = regex(pattern);
        let literals: Vec<&str> = regex.literals().unwrap_or_default().iter().map(|l| &**l).collect();
        assert_eq!(literals, expected, "{pattern}");
    }
    assert_eq!(regex("[0-9a-f][0-9a-f]").literals().map(<[_]>::len), Some(256));
    for pattern in
        ["host[0-9]{1,3}", "(a|b){9}", "a.", "a*", "(?i)a", "a|b.*", r"\W", "[^a]", "a^b", "[a-z]{9}", "a(?m)$"]
    {
        assert_eq!(regex(pattern).literals(), None, "{pattern}");
    }
}

#[test]
fn common_forms_need_no_automaton() {
    for pattern in ["foo", ".*", ".+", "foo.*", ".*foo", ".*foo.*", "foo.+", "a.*b.+c", "(.*)", "a|b|c.*", "x(y|z).*"] {
        let regex = regex(pattern);
        assert!(regex.0.shape.is_exact() && regex.0.automaton.get().is_none(), "{pattern}");
    }
    check(".+", &["a", "\n", "é"], &[""]);
    check("a.*b.+c", &["abxc", "axxbybc", "abbc"], &["abc", "abx", "ac"]);
    check(".*aba.*aba", &["abaaba", "xabaxaba"], &["aba", "ababa"]);
    check("..*é.{2,}", &["xé☺☺", "éééé"], &["éxx", "xé☺"]);
    check("foo.*foo", &["foofoo", "foo foo"], &["foo"]);
    check("(?i)api|WEB", &["API", "web"], &["ap", "wéb"]);
}

#[test]
fn prefixes_are_found_through_groups_and_alternatives() {
    for (pattern, prefix) in [
        ("node_(cpu|memory)_[a-z]+", "node_"),
        ("(?:foobar|foobaz).\\d", "fooba"),
        ("^abc\\d+", "abc"),
        ("a+b", "a"),
        ("a?b[0-9]", ""),
        ("(?i)abc.", ""),
        ("é[a-z]+|è[a-z]+", ""),
    ] {
        assert_eq!(regex(pattern).prefix(), prefix, "{pattern}");
    }
}

#[test]
fn templates_are_expanded_as_go_does() {
    let expand = |pattern: &str, text: &str, template: &str| {
        let mut out = String::from(">");
        regex(pattern).expand(text, template, &mut out).then_some(out)
    };
    let some = |s: &str| Some(s.to_owned());
    assert_eq!(expand("(a)(b)?(?P<n>c)", "ac", "$1-$2-$n-${n}-$0"), some(">a--c-c-ac"));
    assert_eq!(expand("(a)", "a", "$1x"), some(">"));
    assert_eq!(expand("(a)", "a", "${1}x"), some(">ax"));
    assert_eq!(expand("(a)", "a", "$$1$"), some(">$1$"));
    assert_eq!(expand("(a)", "a", "$2${3}${-}${1"), some(">${-}${1"));
    assert_eq!(expand("(?P<1a>a)", "a", "$1a"), some(">a"));
    assert_eq!(expand("(?P<x>a)|(?P<x>b)", "b", "$x"), some(">b"));
    assert_eq!(expand("(.*)", "whole", "$1$0$2"), some(">wholewhole"));
    assert_eq!(expand("(.*):(.*)", "h:9100", "$1"), some(">h"));
    assert_eq!(expand("(a)", "a", "$01|$1é|$é"), some(">||"));
    assert_eq!(expand("foo", "bar", "x"), None);
}

fn pattern() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        "[abKs.]{1,3}",
        Just(".*".to_owned()),
        Just(".+".to_owned()),
        Just("[ab]".to_owned()),
        Just("".to_owned()),
        Just("^".to_owned()),
        Just("$".to_owned()),
        Just("é".to_owned()),
        Just("(?i:ks)".to_owned()),
        Just(r"\d".to_owned()),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 1..4).prop_map(|v| v.concat()),
            proptest::collection::vec(inner.clone(), 1..4).prop_map(|v| format!("({})", v.join("|"))),
            inner.clone().prop_map(|p| format!("(?:{p})?")),
            inner.prop_map(|p| format!("(?:{p}){{1,2}}")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn fast_paths_answer_as_the_automaton_does(
        pattern in pattern(),
        texts in proptest::collection::vec("([abKs.é\u{212a}1\n]|ab|KS|ks){0,6}", 1..20),
    ) {
        let Ok(regex) = Regex::new(&pattern) else { return Ok(()) };
        let plain = regex::Regex::new(&regex.0.translated).unwrap();
        let searcher = regex.0.searcher().unwrap();
        let literals = regex.literals().unwrap_or_default().iter().map(|l| l.to_string());
        for text in texts.into_iter().chain(literals) {
            prop_assert_eq!(regex.is_match(&text), plain.is_match(&text), "{} on {:?}", pattern, text);
            if let Some(literals) = regex.literals() {
                prop_assert_eq!(literals.iter().any(|l| **l == *text), plain.is_match(&text), "{} lists", pattern);
            }
            prop_assert_eq!(searcher.is_match(&text), plain.is_match(&text), "{} with groups on {:?}", pattern, text);
            if plain.is_match(&text) {
                prop_assert!(text.starts_with(regex.prefix()), "{} prefix of {:?}", pattern, text);
            }
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(pattern in r"([(){}\[\]\\*+?|^$.:<>P,0-9a-zQEpéi-]|\(\?|\[:|\\p\{){0,40}") {
        let _ = Regex::new(&pattern);
    }
}

/// Each was seen to keep a machine busy for seconds, or to ask it for terabytes.
#[test]
fn what_takes_long_to_compile_is_refused_before_it_is_tried() {
    for pattern in [
        ".+x".repeat(300_000),
        ".".repeat(1_000_000),
        r"\p{L}".repeat(200_000),
        format!("(?i){}", r"[\p{L}a-z]".repeat(80_000)),
        "[^a]".repeat(250_000),
        r"(?i)[\p{L}\p{N}]{1000}".repeat(1000),
    ] {
        assert!(effort(&parse::parse(&pattern).unwrap().root) > MAX_EFFORT, "{pattern:.40}");
        let error = Regex::new(&pattern).unwrap_err().to_string();
        assert!(error.starts_with("error parsing regexp: expression too large: `"), "{error}");
        assert!(error.ends_with("...`") && error.len() < 1100, "{error}");
    }
    for pattern in [r"\p{L}{1000}".to_owned(), "[a-z]".repeat(1000), "(?i)abcdefghij".repeat(1000)] {
        Regex::new(&pattern).unwrap();
    }
}

#[test]
fn very_many_groups_are_matched_and_not_searched_for() {
    let pattern = "(a|b)?".repeat(20_000);
    assert!(Regex::new(&pattern).unwrap().is_match(&"ab".repeat(10_000)));
    assert!(Regex::with_groups(&pattern).is_err());
    let few = Regex::with_groups(&"(a|b)?".repeat(20)).unwrap();
    assert_eq!(few.captures("aab").unwrap().group(3), Some("b"));
}
