//! Selectors: `name{label="value", ...}` in all spellings.

use super::ast::{Extension, Position, VectorSelector};
use super::error::ParseError;
use super::lex::{Kind, Token};
use super::tokens::{Context, Tokens};
use crate::model::{GoQuoted, METRIC_NAME, MatchOp, Matcher};
use crate::storage::Selector;

/// Most matchers of one selector.
const MAX_MATCHERS: usize = 10_000;

/// Reads a selector as it may stand in an expression: it names the metric at most once, and it must not match every
/// series there is.
pub fn parse_selector(text: &str) -> Result<Selector, ParseError> {
    let selector = parse(text)?;
    match mistake(&selector) {
        Some(message) => Err(ParseError::new(text, selector.position, message)),
        None => Ok(selector.matchers),
    }
}

/// Reads a selector as `match[]` takes it: the grammar alone. The reference's `/federate` serves everything for `{}`, and
/// lets a name outside of the braces stand beside conditions on it; its other endpoints ask for
/// [`has_non_empty_matcher`] besides.
pub fn parse_match(text: &str) -> Result<Selector, ParseError> {
    parse(text).map(|selector| selector.matchers)
}

/// Whether any condition excludes the empty string, so that the selector cannot mean every series by mistake.
pub fn has_non_empty_matcher(matchers: &[Matcher]) -> bool {
    matchers.iter().any(|m| !m.matches_empty())
}

/// What is wrong with a selector whose grammar is right.
pub(super) fn mistake(selector: &VectorSelector) -> Option<String> {
    match (&selector.name, selector.matchers.split_last()) {
        (Some(name), Some((_, inside))) => {
            let other = inside.iter().find(|m| &*m.name == METRIC_NAME)?;
            Some(format!("metric name must not be set twice: {} or {}", GoQuoted(name), GoQuoted(&other.value)))
        }
        _ if has_non_empty_matcher(&selector.matchers) => None,
        _ => Some("vector selector must contain at least one non-empty matcher".to_owned()),
    }
}

fn parse(text: &str) -> Result<VectorSelector, ParseError> {
    let mut tokens = Tokens::new(text)?;
    let name = if tokens.peek()?.is_metric_name() { Some(tokens.take()?) } else { None };
    let selector = vector_selector(&mut tokens, name)?;
    match tokens.peek()?.kind {
        Kind::End => Ok(selector),
        _ => Err(tokens.unexpected(Context::NONE)),
    }
}

const CONTEXT: &str = "label matching";

/// Reads braces, which may be missing behind a name that has been passed over. The name's matcher becomes the last one.
pub(super) fn vector_selector(tokens: &mut Tokens<'_>, name: Option<Token>) -> Result<VectorSelector, ParseError> {
    let brace = tokens.take_if(Kind::LeftBrace)?;
    let Some(first) = name.or(brace) else { return Err(tokens.unexpected(Context::NONE)) };
    let mut selector = VectorSelector {
        name: name.map(|token| token.of(tokens.text).to_owned()),
        matchers: Vec::new(),
        offset: None,
        at: None,
        extension: Extension::None,
        position: first.position,
    };
    if brace.is_some() {
        selector.position.end = braces(tokens, &mut selector.matchers)?;
    }
    selector.matchers.extend(selector.name.as_ref().map(|name| Matcher::equal(METRIC_NAME, name)));
    Ok(selector)
}

/// What is between braces, and the closing one, whose end is returned. A comma may stand before it, but not alone.
fn braces(tokens: &mut Tokens<'_>, matchers: &mut Selector) -> Result<u32, ParseError> {
    loop {
        if let Some(brace) = tokens.take_if(Kind::RightBrace)? {
            return Ok(brace.position.end);
        }
        if matchers.len() == MAX_MATCHERS {
            let place = tokens.peek()?.position;
            return Err(tokens.error(place, format!("more than {MAX_MATCHERS} label matchers")));
        }
        matchers.push(matcher(tokens)?);
        match tokens.peek()?.kind {
            Kind::Comma => drop(tokens.take()?),
            Kind::RightBrace => {}
            _ => return Err(tokens.unexpected(Context::new(CONTEXT, r#""," or "}""#))),
        }
    }
}

fn matcher(tokens: &mut Tokens<'_>) -> Result<Matcher, ParseError> {
    let first = tokens.peek()?;
    let name = match first.kind {
        Kind::Identifier => tokens.take()?.of(tokens.text).to_owned(),
        Kind::String => {
            tokens.take()?;
            tokens.unquote(first)?
        }
        _ => return Err(tokens.unexpected(Context::new(CONTEXT, r#"identifier or "}""#))),
    };
    let op = match tokens.peek()?.kind {
        Kind::Equal => MatchOp::Equal,
        Kind::Operator(_) => MatchOp::NotEqual,
        Kind::EqualRegex => MatchOp::Regex,
        Kind::NotEqualRegex => MatchOp::NotRegex,
        _ if first.kind == Kind::String => return Ok(Matcher::equal(METRIC_NAME, &name)),
        _ => return Err(tokens.unexpected(Context::new(CONTEXT, "label matching operator"))),
    };
    tokens.take()?;
    if tokens.peek()?.kind != Kind::String {
        return Err(tokens.unexpected(Context::new(CONTEXT, "string")));
    }
    let token = tokens.take()?;
    let value = tokens.unquote(token)?;
    let place = Position { start: first.position.start, end: token.position.end };
    Matcher::new(op, &name, &value).map_err(|e| tokens.error(place, e.to_string()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::lex::MAX_LEN;
    use super::*;

    /// The matchers as `op name value` triples.
    fn triples(text: &str) -> Vec<(String, &'static str, String)> {
        let selector = parse_selector(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        selector.iter().map(|m| (m.name.to_string(), m.op.as_str(), m.value.to_string())).collect()
    }

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &'static str, &str)]) {
        let expected: Vec<_> = expected.iter().map(|(n, o, v)| (n.to_string(), *o, v.to_string())).collect();
        assert_eq!(triples(text), expected, "{text}");
    }

    #[track_caller]
    fn refused(text: &str, error: &str) {
        assert_eq!(parse_selector(text).map_err(|e| e.to_string()), Err(error.to_owned()), "{text}");
    }

    #[test]
    fn names_and_braces_come_in_all_combinations() {
        let name = |n| ("__name__", "=", n);
        check("up", &[name("up")]);
        check(" up { } ", &[name("up")]);
        check("a:b_c{}", &[name("a:b_c")]);
        check(":a", &[name(":a")]);
        check(
            r#"up{job="a",x!="b",y=~"c.*",z!~"d",}"#,
            &[("job", "=", "a"), ("x", "!=", "b"), ("y", "=~", "c.*"), ("z", "!~", "d"), name("up")],
        );
        check(r#"{__name__="up"}"#, &[name("up")]);
        check(r#"{"my.metric","l.x"="v", 'q'!~`r`}"#, &[name("my.metric"), ("l.x", "=", "v"), ("q", "!~", "r")]);
        check(r#"{a="x","foo",}"#, &[("a", "=", "x"), name("foo")]);
        check(r#"{by="1",Sum="2",inf="3"}"#, &[("by", "=", "1"), ("Sum", "=", "2"), ("inf", "=", "3")]);
    }

    #[test]
    fn comments_and_white_space_may_stand_between_all_tokens() {
        check("# c\nup # {\n{ # }\r\n\ta # =\n=\n'b' # x\n} # end", &[("a", "=", "b"), ("__name__", "=", "up")]);
    }

    #[test]
    fn most_keywords_are_metric_names_too() {
        for word in ["sum", "BY", "offset", "and", "start", "step", "fill", "fill_left", "limitk", "min_of", "smoothed"]
        {
            check(&format!("{word}{{}}"), &[("__name__", "=", word)]);
        }
        refused(r#"on{a="b"}"#, "1:1: parse error: unexpected <on>");
        refused("bool", "1:1: parse error: unexpected <bool>");
        refused("atan2", "1:1: parse error: unexpected <op:atan2>");
        refused(r#"inf{a="b"}"#, r#"1:1: parse error: unexpected number "inf""#);
    }

    #[test]
    fn strings_have_gos_escapes() {
        check(r#"{a="\a\b\f\n\r\t\v\\\"\101\x41\u00e9\U0001F600"}"#, &[("a", "=", "\x07\x08\x0c\n\r\t\x0b\\\"AAé😀")]);
        check(r#"{a='\'"'}"#, &[("a", "=", "'\"")]);
        check("{a=`\\n\n\"'`}", &[("a", "=", "\\n\n\"'")]);
        check(r#"{a="\xc3\xa9"}"#, &[("a", "=", "é")]);
        check(r#"{"\x61\u0062"="c"}"#, &[("ab", "=", "c")]);
        for (text, error) in [
            (r#"{a="\xff"}"#, r#"1:4: parse error: error unquoting string "\"\\xff\"": invalid UTF-8 rune"#),
            (r#"up{a="\400"}"#, "1:6: parse error: escape sequence is an invalid Unicode code point"),
            (r#"up{a="\ud800"}"#, "1:6: parse error: escape sequence is an invalid Unicode code point"),
            (r#"up{a="\U00110000"}"#, "1:6: parse error: escape sequence is an invalid Unicode code point"),
            (r#"up{a="\q"}"#, "1:6: parse error: unknown escape sequence U+0071 'q'"),
            (r#"up{a="\'"}"#, "1:6: parse error: unknown escape sequence U+0027 '''"),
            (r#"up{a="\x4g"}"#, "1:6: parse error: illegal character U+0067 'g' in escape sequence"),
            (r#"up{a="\x4"#, "1:6: parse error: escape sequence not terminated"),
            (r#"up{a="\"#, "1:6: parse error: escape sequence not terminated"),
            ("up{a=\"x\ny\"}", "1:6: parse error: unterminated quoted string"),
            ("up{a=`x", "1:6: parse error: unterminated raw string"),
            ("up{a='\u{fffd}'}", "1:6: parse error: invalid UTF-8 rune"),
        ] {
            refused(text, error);
        }
    }

    #[test]
    fn mistakes_are_told_in_the_words_of_the_reference() {
        for (text, error) in [
            ("", "unknown position: parse error: unexpected end of input"),
            ("  ", "1:3: parse error: unexpected end of input"),
            ("foo bar", r#"1:5: parse error: unexpected identifier "bar""#),
            (r#"{a=~"("}"#, "1:2: parse error: error parsing regexp: missing closing ): `(`"),
            ("{,}", r#"1:2: parse error: unexpected "," in label matching, expected identifier or "}""#),
            (r#"{a="b",,}"#, r#"1:8: parse error: unexpected "," in label matching, expected identifier or "}""#),
            (
                r#"up{a="b" c="d"}"#,
                r#"1:10: parse error: unexpected identifier "c" in label matching, expected "," or "}""#,
            ),
            ("up{a}", r#"1:5: parse error: unexpected "}" in label matching, expected label matching operator"#),
            (r#"up{a==="b"}"#, r#"1:6: parse error: unexpected "=" in label matching, expected string"#),
            (r#"up{a=~!="b"}"#, "1:7: parse error: unexpected <op:!=> in label matching, expected string"),
            ("up{a=b}", r#"1:6: parse error: unexpected identifier "b" in label matching, expected string"#),
            ("up{a=5}", "1:6: parse error: unexpected character inside braces: '5'"),
            (r#"up{a="b""#, "1:9: parse error: unexpected end of input inside braces"),
            ("up{é=\"b\"}", "1:4: parse error: unexpected character inside braces: 'é'"),
            ("up{{", "1:4: parse error: unexpected left brace '{'"),
            ("up{a!\"b\"}", "1:5: parse error: unexpected character after '!' inside braces: '\"'"),
            ("up}", "1:3: parse error: unexpected character: '}'"),
            ("a ! b", "1:3: parse error: unexpected character after '!': ' '"),
            ("a =~ b", "1:3: parse error: unexpected character after '=': '~'"),
            ("☺", "1:1: parse error: unexpected character: '☺'"),
            (r#"{a="b"} or x"#, "1:9: parse error: unexpected <op:or>"),
            ("up offset 5m", "1:4: parse error: unexpected <offset>"),
            ("up sum", "1:4: parse error: unexpected <aggr:sum>"),
            ("up[5m]", r#"1:3: parse error: unexpected "[""#),
            ("up(1)", r#"1:3: parse error: unexpected "(""#),
            ("up)", "1:4: parse error: unexpected right parenthesis ')'"),
            ("up 1.5e3", r#"1:4: parse error: unexpected number "1.5e3""#),
            ("up 1h30m", r#"1:4: parse error: unexpected duration "1h30m""#),
            ("up 1x", r#"1:4: parse error: bad number or duration syntax: "1""#),
            ("up 1hx", r#"1:4: parse error: bad number or duration syntax: "1hx""#),
            ("up 1__0", r#"1:4: parse error: bad number or duration syntax: "1__""#),
            (r#""foo""#, r#"1:1: parse error: unexpected string "\"foo\"""#),
            (
                r#"{"a" "bbbbbbbbbbbbbbbbbbbb"}"#,
                r#"1:6: parse error: unexpected string "\"bbbbbbbbb"... in label matching, expected "," or "}""#,
            ),
            ("up{\n  a=\"}", "2:5: parse error: unterminated quoted string"),
            ("{}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
            (" {x=~\".*\"}", "1:2: parse error: vector selector must contain at least one non-empty matcher"),
            (r#"up{__name__=~"u.*"}"#, r#"1:1: parse error: metric name must not be set twice: "up" or "u.*""#),
            (r#"foo{"bar"}"#, r#"1:1: parse error: metric name must not be set twice: "foo" or "bar""#),
        ] {
            refused(text, error);
        }
    }

    #[test]
    fn a_match_parameter_may_mean_everything() {
        assert_eq!(parse_match("{}"), Ok(Vec::new()));
        assert_eq!(parse_match(r#"up{__name__=~"u.*"}"#).map(|m| m.len()), Ok(2));
        assert!(parse_match("").is_err());
        assert!(!has_non_empty_matcher(&parse_match(r#"{a!="x",b=~".*"}"#).unwrap()));
        assert!(has_non_empty_matcher(&parse_match(r#"{a!=""}"#).unwrap()));
    }

    #[test]
    fn oversized_selectors_are_refused() {
        let many = format!("{{{}}}", "a=\"b\",".repeat(MAX_MATCHERS + 1));
        assert!(parse_match(&many).is_err_and(|e| e.message.contains("more than")));
        let long = format!("{{a=\"{}\"}}", "x".repeat(MAX_LEN));
        assert!(parse_match(&long).is_err_and(|e| e.message.contains("longer than")));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in r#"([a-z_:{}()\[\],=!~"'`\\#.0-9 \n☺]|\\x|\\u|sum|"a"|=~|up\{){0,20}"#) {
            let _ = parse_selector(&text);
        }

        #[test]
        fn any_value_survives_being_quoted(value in any::<String>().prop_filter("replacement", |v| !v.contains('\u{fffd}'))) {
            let selector = parse_selector(&format!("up{{a={}}}", GoQuoted(&value))).unwrap();
            prop_assert_eq!(&*selector[0].value, value.as_str());
        }
    }
}
