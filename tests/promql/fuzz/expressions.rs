//! Expressions at random: well typed, mostly about series that exist, sometimes about none.

use super::random::Random;

/// A metric with the labels that its series have.
struct Metric {
    name: &'static str,
    labels: &'static [(&'static str, &'static [&'static str])],
}

const JOB: (&str, &[&str]) = ("job", &["api", "web"]);
const INSTANCE: (&str, &[&str]) = ("instance", &["0", "1", "2", "3"]);
const ROOM: (&str, &[&str]) = ("room", &["bath", "kitchen", "cellar"]);
const FLOOR: (&str, &[&str]) = ("floor", &["-1", "0"]);
const L: (&str, &[&str]) = ("l", &["x", "y", "z"]);

const FLOATS: &[Metric] = &[
    Metric { name: "requests_total", labels: &[JOB, INSTANCE, ("code", &["200", "500"])] },
    Metric { name: "up", labels: &[JOB, INSTANCE] },
    Metric { name: "seconds_total", labels: &[JOB, INSTANCE] },
    Metric { name: "target_info", labels: &[JOB, INSTANCE, ("version", &["1.0", "1.1"])] },
    Metric { name: "temperature", labels: &[ROOM, FLOOR] },
    Metric { name: "humidity", labels: &[ROOM, FLOOR] },
    Metric { name: "left", labels: &[L] },
    Metric { name: "right", labels: &[L] },
    Metric { name: "awkward", labels: &[("kind", &["a", "b", "c"])] },
    Metric { name: "latency_seconds_bucket", labels: &[JOB, INSTANCE, ("le", &["0.1", "0.5", "1", "10", "+Inf"])] },
    Metric { name: "latency_seconds_count", labels: &[JOB, INSTANCE] },
];
const HISTOGRAMS: &[Metric] = &[
    Metric { name: "latency", labels: &[JOB, INSTANCE] },
    Metric { name: "balance", labels: &[ROOM, FLOOR] },
    Metric { name: "size", labels: &[JOB, INSTANCE] },
    Metric { name: "mixed", labels: &[L] },
];

/// Functions from a vector to a vector.
const SIMPLE: &[&str] = &[
    "abs",
    "ceil",
    "floor",
    "exp",
    "ln",
    "log2",
    "log10",
    "sqrt",
    "sgn",
    "deg",
    "rad",
    "sin",
    "cos",
    "tan",
    "asin",
    "acos",
    "atan",
    "sinh",
    "cosh",
    "tanh",
    "asinh",
    "acosh",
    "atanh",
    "absent",
    "timestamp",
    "sort",
    "sort_desc",
    "round",
];
const DATES: &[&str] =
    &["day_of_month", "day_of_week", "day_of_year", "days_in_month", "hour", "minute", "month", "year"];
const OF_HISTOGRAM: &[&str] =
    &["histogram_avg", "histogram_count", "histogram_sum", "histogram_stddev", "histogram_stdvar"];
/// Functions from a range to a vector.
const OF_RANGE: &[&str] = &[
    "rate",
    "rate",
    "rate",
    "increase",
    "increase",
    "delta",
    "irate",
    "idelta",
    "deriv",
    "changes",
    "resets",
    "avg_over_time",
    "min_over_time",
    "max_over_time",
    "sum_over_time",
    "count_over_time",
    "last_over_time",
    "present_over_time",
    "absent_over_time",
    "stddev_over_time",
    "stdvar_over_time",
    "mad_over_time",
    "ts_of_min_over_time",
    "ts_of_max_over_time",
    "ts_of_last_over_time",
    "first_over_time",
    "ts_of_first_over_time",
];

/// Makes expressions.
pub struct Maker {
    /// Where chance comes from.
    pub random: Random,
    /// Whether they may have what came to the language late.
    pub is_recent: bool,
}

impl Maker {
    /// An expression that can be run at an instant and over a range.
    pub fn expression(&mut self) -> String {
        let depth = 1 + self.random.below(4);
        if self.random.one_in(25) { self.scalar(depth) } else { self.vector(depth) }
    }

    pub(super) fn vector(&mut self, depth: u64) -> String {
        if depth == 0 {
            return self.selector();
        }
        if self.is_recent && self.random.one_in(6) {
            return self.recent(depth - 1);
        }
        match self.random.below(20) {
            0 => self.selector(),
            1 => format!("-{}", self.atom(depth - 1)),
            2..=6 => self.aggregation(depth - 1),
            7..=11 => self.of_range(depth - 1),
            12..=14 => self.binary(depth - 1),
            15 => self.of_histogram(depth - 1),
            _ => self.function(depth - 1),
        }
    }

    /// A vector that an operator may be put beside.
    fn atom(&mut self, depth: u64) -> String {
        format!("({})", self.vector(depth))
    }

    pub(super) fn scalar(&mut self, depth: u64) -> String {
        if depth == 0 || self.random.one_in(3) {
            return self.number();
        }
        match self.random.below(5) {
            0 => "time()".to_owned(),
            1 => "pi()".to_owned(),
            2 => format!("scalar({})", self.vector(depth - 1)),
            3 => format!("-({})", self.scalar(depth - 1)),
            _ => {
                let op = self.random.of(&["+", "-", "*", "/", "%", "^", "> bool", "<= bool", "== bool"]);
                format!("({} {op} {})", self.scalar(depth - 1), self.scalar(depth - 1))
            }
        }
    }

    fn number(&mut self) -> String {
        self.random
            .of(&["0", "1", "2", "-1", "0.5", "3.7", "1e3", "100", "-0.25", "Inf", "NaN", "0.9", "10"])
            .to_owned()
    }

    pub(super) fn selector(&mut self) -> String {
        let modifiers = self.modifiers();
        format!("{}{modifiers}", self.series())
    }

    pub(super) fn series(&mut self) -> String {
        if self.random.one_in(30) {
            return self
                .random
                .of(&["nothing", r#"{__name__=~"left|right"}"#, r#"{l=~".+"}"#, r#"{__name__=~"lat.*"}"#])
                .to_owned();
        }
        let metrics = if self.random.one_in(4) { HISTOGRAMS } else { FLOATS };
        let metric = &metrics[self.random.below(metrics.len() as u64) as usize];
        format!("{}{}", metric.name, self.matchers(metric))
    }

    fn matchers(&mut self, metric: &Metric) -> String {
        let mut matchers = Vec::new();
        for (label, values) in metric.labels {
            if !self.random.one_in(4) {
                continue;
            }
            let value = self.random.of(values);
            let matcher = match self.random.below(5) {
                0 | 1 => format!("{label}=\"{value}\""),
                2 => format!("{label}!=\"{value}\""),
                3 => format!("{label}=~\"{value}|{}\"", self.random.of(values)),
                _ => format!("{label}!~\"{value}.*\""),
            };
            matchers.push(matcher.replace("+Inf|", "[+]Inf|").replace("+Inf.*", "[+]Inf.*"));
        }
        if matchers.is_empty() { String::new() } else { format!("{{{}}}", matchers.join(",")) }
    }

    pub(super) fn modifiers(&mut self) -> String {
        if self.is_recent && self.random.one_in(40) {
            let offset = self.random.of(&["(1m*2)", "step()", "-(step()/2)", "min_of(step(), 1m)", "(range()-1m)"]);
            return format!(" offset {offset}");
        }
        match self.random.below(14) {
            0 => format!(" offset {}", self.random.of(&["1m", "10m", "17s", "-2m"])),
            1 => format!(" @ {}", super::data::START / 1000 + self.random.between(-100, 4000)),
            2 => self.random.of(&[" @ start()", " @ end()", " @ end() offset 5m"]).to_owned(),
            _ => String::new(),
        }
    }

    fn range(&mut self, depth: u64) -> String {
        let window = self.window();
        if depth > 0 && self.random.one_in(3) {
            let step = self.random.of(&["", "30s", "1m", "47s"]);
            let inner = self.vector(depth - 1);
            let modifiers = self.modifiers();
            let window = if window == "1h" { "20m" } else { window };
            return format!("({inner})[{window}:{step}]{modifiers}");
        }
        let series = self.series();
        let modifiers = self.modifiers();
        format!("{series}[{window}]{modifiers}")
    }

    fn of_range(&mut self, depth: u64) -> String {
        let range = self.range(depth);
        match self.random.below(12) {
            0 => format!("quantile_over_time({}, {range})", self.scalar(depth.min(1))),
            1 => format!("predict_linear({range}, {})", self.random.of(&["600", "-60", "0", "3600.5"])),
            2 => {
                let (sf, tf) = (self.random.of(&["0.1", "0.5", "0.9"]), self.random.of(&["0.2", "0.5"]));
                format!("double_exponential_smoothing({range}, {sf}, {tf})")
            }
            _ => format!("{}({range})", self.random.of(OF_RANGE)),
        }
    }

    fn labels(&mut self) -> String {
        let all = ["job", "instance", "code", "room", "floor", "l", "le", "kind", "version", "__name__"];
        let labels: Vec<&str> = (0..self.random.below(3)).map(|_| self.random.of(&all)).collect();
        labels.join(", ")
    }

    fn aggregation(&mut self, depth: u64) -> String {
        let grouping = match self.random.below(5) {
            0 => String::new(),
            1 => format!(" without({})", self.labels()),
            _ => format!(" by({})", self.labels()),
        };
        let inner = self.vector(depth);
        const PLAIN: &[&str] = &["sum", "sum", "sum", "avg", "avg", "count", "min", "max", "group", "stddev", "stdvar"];
        match self.random.below(12) {
            0 => {
                let op = self.random.of(&["topk", "bottomk", "limitk"]);
                format!("{op}{grouping}({}, {inner})", self.random.of(&["1", "2", "3", "5", "0", "-1"]))
            }
            1 => format!("quantile{grouping}({}, {inner})", self.scalar(depth.min(1))),
            2 => format!("count_values{grouping}(\"{}\", {inner})", self.random.of(&["v", "job", "le", "__name__"])),
            _ => format!("{}{grouping}({inner})", self.random.of(PLAIN)),
        }
    }

    fn binary(&mut self, depth: u64) -> String {
        const ARITHMETIC: &[&str] = &["+", "-", "*", "/", "%", "^", "atan2"];
        const COMPARISON: &[&str] = &["==", "!=", ">", "<", ">=", "<="];
        let is_comparison = self.random.one_in(3);
        let mut op = self.random.of(if is_comparison { COMPARISON } else { ARITHMETIC }).to_owned();
        if is_comparison && self.random.one_in(2) {
            op.push_str(" bool");
        }
        match self.random.below(8) {
            0 | 1 => format!("{} {op} {}", self.atom(depth), self.scalar(depth.min(2))),
            2 => format!("{} {op} {}", self.scalar(depth.min(2)), self.atom(depth)),
            3 => {
                let op = self.random.of(&["and", "or", "unless"]);
                let matching = if self.random.one_in(2) { self.on_or_ignoring() } else { String::new() };
                format!("{} {op}{matching} {}", self.atom(depth), self.atom(depth))
            }
            4 => self.join(&op, depth),
            _ => self.alike(&op, depth),
        }
    }

    fn on_or_ignoring(&mut self) -> String {
        format!(" {}({})", self.random.of(&["on", "ignoring"]), self.labels())
    }

    /// Two vectors that may have nothing in common.
    fn join(&mut self, op: &str, depth: u64) -> String {
        let matching = self.on_or_ignoring();
        let group = match self.random.below(4) {
            0 => format!(" {}({})", self.random.of(&["group_left", "group_right"]), self.random.of(&["", "version"])),
            _ => String::new(),
        };
        format!("{} {op}{matching}{group} {}", self.atom(depth), self.atom(depth))
    }

    /// Two vectors whose series have the same labels.
    fn alike(&mut self, op: &str, depth: u64) -> String {
        match self.random.below(5) {
            0 => format!("temperature {op} humidity"),
            1 => format!("left {op} right{}", self.modifiers()),
            2 => {
                let group = self.random.of(&["job, instance", "job", "instance"]);
                let side = |maker: &mut Maker| format!("sum by({group}) ({})", maker.vector(depth));
                format!("{} {op} {}", side(self), side(self))
            }
            3 => {
                let extra = self.random.of(&["", "version"]);
                let many =
                    self.random.of(&["requests_total", "rate(requests_total[5m])", "latency", "rate(latency[5m])"]);
                format!("{many} {op} on(job, instance) group_left({extra}) target_info")
            }
            _ => {
                let series = self.series();
                let (first, second) = (self.modifiers(), self.modifiers());
                format!("{series}{first} {op} {series}{second}")
            }
        }
    }

    fn of_histogram(&mut self, depth: u64) -> String {
        let input = match self.random.below(6) {
            0 => self.vector(depth),
            1 => "latency_seconds_bucket".to_owned(),
            2 => format!("sum by(le{}) (rate(latency_seconds_bucket[5m]))", self.random.of(&["", ", job"])),
            3 => format!("rate({}[{}])", self.random.of(&["latency", "size"]), self.random.of(&["5m", "1m"])),
            4 => {
                format!("sum by(job) ({})", self.random.of(&["latency", "size", "rate(latency[5m])", "rate(size[5m])"]))
            }
            _ => self.random.of(&["latency", "size", "balance", "mixed"]).to_owned(),
        };
        match self.random.below(4) {
            0 | 1 => {
                let quantile = self.random.of(&["0.5", "0.9", "0.99", "0", "1", "-1", "2", "NaN", "0.25"]);
                format!("histogram_quantile({quantile}, {input})")
            }
            2 => {
                let (low, high) =
                    (self.random.of(&["0", "-1", "0.2", "-Inf"]), self.random.of(&["1", "0.5", "Inf", "3"]));
                format!("histogram_fraction({low}, {high}, {input})")
            }
            _ => format!("{}({input})", self.random.of(OF_HISTOGRAM)),
        }
    }

    fn function(&mut self, depth: u64) -> String {
        let inner = self.vector(depth);
        match self.random.below(14) {
            0 => format!("clamp({inner}, {}, {})", self.scalar(depth.min(1)), self.scalar(depth.min(1))),
            1 => format!(
                "{}({inner}, {})",
                self.random.of(&["clamp_min", "clamp_max", "round"]),
                self.scalar(depth.min(1))
            ),
            2 => {
                let (replacement, source) =
                    (self.random.of(&["$1", "x-$1-$2", ""]), self.random.of(&["job", "instance", "l"]));
                let target = self.random.of(&["job", "new", "__name__"]);
                let pattern = self.random.of(&["(.*)", "(.)(.*)", "a(.*)"]);
                format!("label_replace({inner}, \"{target}\", \"{replacement}\", \"{source}\", \"{pattern}\")")
            }
            3 => {
                let (target, sources) =
                    (self.random.of(&["new", "job"]), self.random.of(&["\"job\", \"instance\"", "\"l\""]));
                format!("label_join({inner}, \"{target}\", \"-\", {sources})")
            }
            4 => format!("vector({})", self.scalar(depth)),
            5 => format!("{}({inner})", self.random.of(DATES)),
            6 => format!(
                "{}({inner}, \"{}\")",
                self.random.of(&["sort_by_label", "sort_by_label_desc"]),
                self.random.of(&["job", "l", "code"])
            ),
            _ => format!("{}({inner})", self.random.of(SIMPLE)),
        }
    }
}
