//! Answers of the query API, to be compared.

use std::collections::BTreeMap;

use crate::support::http;

/// How a query is asked.
#[derive(Clone, Copy)]
pub enum Asked {
    /// At the end of the data.
    Instant,
    /// Over so many seconds until the end of the data, at steps of so many seconds.
    Range(i64, i64),
}

impl Asked {
    /// The question to an API whose prefix is `base`; the data ends at `end`, seconds. `further` are further parameters.
    pub fn url(self, base: &str, query: &str, end: i64, further: &[(&str, &str)]) -> String {
        let seconds = |back: i64| (end - back).to_string();
        let (path, times) = match self {
            Asked::Instant => ("/api/v1/query", vec![("time", seconds(0))]),
            Asked::Range(back, step) => {
                let times = vec![("start", seconds(back)), ("end", seconds(0)), ("step", step.to_string())];
                ("/api/v1/query_range", times)
            }
        };
        let times = times.iter().map(|(name, value)| (*name, value.as_str()));
        let all: Vec<(&str, &str)> = times.chain([("query", query)]).chain(further.iter().copied()).collect();
        http::url(base, path, &all)
    }

    /// As the table shows it.
    pub fn shown(self) -> String {
        match self {
            Asked::Instant => String::from("instant"),
            Asked::Range(seconds, step) => format!("{:.1} h / {step} s", seconds as f64 / 3600.0),
        }
    }
}

/// Times and values by labels.
pub type Answer = BTreeMap<String, Vec<(f64, f64)>>;

/// What a server answers.
pub fn answer(url: &str) -> Answer {
    let data = http::get_api(url).unwrap_or_else(|e| panic!("{url}: {e}"));
    let point = |pair: &serde_json::Value| {
        let number = pair[1].as_str().and_then(|text| text.parse::<f64>().ok()).expect("a number");
        (pair[0].as_f64().expect("a time"), number)
    };
    let all = data["result"].as_array().expect("a list").iter();
    all.map(|series| {
        let values = series["values"].as_array().map(|values| values.iter().map(point).collect());
        (series["metric"].to_string(), values.unwrap_or_else(|| vec![point(&series["value"])]))
    })
    .collect()
}

/// Ends the benchmark if our answer is not theirs.
pub fn assert_same(query: &str, ours: &Answer, theirs: &Answer) {
    assert_eq!(ours.len(), theirs.len(), "{query}: another number of series");
    for (labels, values) in theirs {
        let own = ours.get(labels).unwrap_or_else(|| panic!("{query}: no series {labels}"));
        assert_eq!(own.len(), values.len(), "{query}: another number of values of {labels}");
        for ((t, v), (own_t, own_v)) in values.iter().zip(own) {
            let is_close = (v - own_v).abs() <= 1e-9 * v.abs() || v.is_nan() && own_v.is_nan() || v == own_v;
            assert!(t == own_t && is_close, "{query}: {labels} at {t}: {own_v} instead of {v}");
        }
    }
}
