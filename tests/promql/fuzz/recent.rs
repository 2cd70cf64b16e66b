//! What came to the language late, and peers of some age do not know.

use super::expressions::Maker;

impl Maker {
    /// A vector by one of the younger parts of the language.
    pub(super) fn recent(&mut self, depth: u64) -> String {
        match self.random.below(9) {
            0 => self.info(depth),
            1 => {
                let ratio = self.random.of(&["0.5", "-0.3", "0.9", "0.1", "1", "-1", "2", "0"]);
                format!("limit_ratio({ratio}, {})", self.vector(depth))
            }
            2 | 3 => self.of_extended_range(),
            4 => format!("{} smoothed{}", self.series(), self.modifiers()),
            5 | 6 => self.filled(depth),
            7 => {
                let histogram = match self.random.below(3) {
                    0 => self.vector(depth),
                    1 => self.random.of(&["rate(latency[5m])", "sum by(job) (rate(size[5m]))"]).to_owned(),
                    _ => self.random.of(&["latency", "size", "balance", "mixed"]).to_owned(),
                };
                format!("({histogram}) {} {}", self.random.of(&["</", ">/"]), self.scalar(depth.min(1)))
            }
            _ => self.by_its_own_rule(depth),
        }
    }

    fn info(&mut self, depth: u64) -> String {
        let base = self.vector(depth);
        let labels = self.random.of(&[
            "",
            ", {version=~\".+\"}",
            ", {version=\"1.0\"}",
            ", {version!=\"1.0\"}",
            ", {version=~\".*\"}",
            ", {unknown=~\".+\"}",
            ", {__name__=\"target_info\"}",
            ", {__name__=~\".+_info\", version=\"1.1\"}",
            ", {__name__=\"up\"}",
            ", {job=\"api\"}",
        ]);
        format!("info({base}{labels})")
    }

    fn of_extended_range(&mut self) -> String {
        let (kind, function) = match self.random.one_in(2) {
            true => ("anchored", self.random.of(&["rate", "increase", "delta", "resets", "changes"])),
            false => ("smoothed", self.random.of(&["rate", "increase", "delta", "deriv"])),
        };
        let (series, window, modifiers) = (self.series(), self.window(), self.modifiers());
        format!("{function}({series}[{window}] {kind}{modifiers})")
    }

    /// Two vectors that need not have the same series.
    fn filled(&mut self, depth: u64) -> String {
        let op = self.random.of(&["+", "-", "*", "/", "^", ">", "== bool", "<=", "atan2"]);
        let value = self.random.of(&["0", "1", "-2.5", "NaN", "Inf", "1e3"]);
        let fill = match self.random.below(4) {
            0 => format!("fill({value})"),
            1 => format!("fill_left({value})"),
            2 => format!("fill_right({value})"),
            _ => format!("fill_left({value}) fill_right(7)"),
        };
        match self.random.below(4) {
            0 => format!("left {op} {fill} right{}", self.modifiers()),
            1 => {
                let group = self.random.of(&["job, instance", "job", "instance"]);
                let side = |maker: &mut Maker| format!("(sum by({group}) ({}))", maker.vector(depth));
                format!("{} {op} {fill} {}", side(self), side(self))
            }
            2 => {
                let (many, one) = (self.series(), self.random.of(&["target_info", "up", "seconds_total"]));
                let grouping = self.random.of(&["group_left()", "group_left(version)", "group_right()"]);
                match grouping.starts_with("group_left") {
                    true => format!("{many} {op} on(job, instance) {grouping} {fill} {one}"),
                    false => format!("{one} {op} on(job, instance) {grouping} {fill} {many}"),
                }
            }
            _ => format!("({}) {op} on(job) {fill} ({})", self.vector(depth), self.vector(depth)),
        }
    }

    fn by_its_own_rule(&mut self, depth: u64) -> String {
        match self.random.below(4) {
            0 => {
                let of = self.random.of(&["latency", "size", "latency_seconds_bucket", "rate(latency[5m])", "mixed"]);
                let label = self.random.of(&["q", "job"]);
                format!("histogram_quantiles({of}, \"{label}\", 0.5, {})", self.scalar(1))
            }
            1 => format!("start_timestamp({})", self.selector()),
            2 => {
                let call = self.random.of(&["step()", "range()", "start()", "end()"]);
                format!("({}) {} {call}", self.vector(depth), self.random.of(&["+", "-", ">", "%"]))
            }
            _ => {
                let of = self.random.of(&["min_of", "max_of"]);
                format!("vector({of}({}, {}))", self.scalar(depth.min(2)), self.scalar(depth.min(2)))
            }
        }
    }

    /// The length of a window, now and then as something to be computed.
    pub(super) fn window(&mut self) -> &'static str {
        const COMPUTED: &[&str] = &[
            "5m*2",
            "1m+30s",
            "10m-1m",
            "step()+1m",
            "max_of(step(), 1m)",
            "min_of(step()*2, 5m)",
            "-(1m)+3m",
            "2^7",
            "1h % 7m",
            "range()/2+1m",
        ];
        match self.is_recent && self.random.one_in(8) {
            true => self.random.of(COMPUTED),
            false => self.random.of(&["1m", "2m", "5m", "5m", "5m", "10m", "31s", "1h", "15s"]),
        }
    }
}
