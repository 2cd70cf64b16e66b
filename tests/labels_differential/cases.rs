//! The hand-made cases. In bodies and configurations `X_` stands for a prefix of the case's own, `<ms-60>` and `<s-60>`
//! for the time of the test's start less 60 seconds, in milliseconds and in seconds; in labels `ADDRESS` is the target's address.

use crate::support::target::{OPEN_METRICS, TEXT};

/// What a target answers to one scrape.
#[derive(Clone, Copy)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The content type.
    pub content_type: &'static str,
    /// The body before replacements.
    pub body: &'static str,
}

/// One job with one target.
pub struct Case {
    /// What it tries; also its name in a report.
    pub about: &'static str,
    /// Lines of the job's configuration.
    pub job: &'static str,
    /// Labels of its target, as the inside of a YAML flow map.
    pub labels: &'static str,
    /// The answers to successive scrapes; the last one stays.
    pub answers: Vec<Answer>,
}

impl Case {
    fn labels(mut self, labels: &'static str) -> Case {
        self.labels = labels;
        self
    }

    fn then(mut self, body: &'static str) -> Case {
        let content_type = self.answers[0].content_type;
        self.answers.push(Answer { status: 200, content_type, body });
        self
    }

    fn then_status(mut self, status: u16) -> Case {
        self.answers.push(Answer { status, content_type: TEXT, body: "X_a 1\n" });
        self
    }
}

fn typed(content_type: &'static str, about: &'static str, job: &'static str, body: &'static str) -> Case {
    Case { about, job, labels: "", answers: vec![Answer { status: 200, content_type, body }] }
}

fn text(about: &'static str, job: &'static str, body: &'static str) -> Case {
    typed(TEXT, about, job, body)
}

fn open_metrics(about: &'static str, body: &'static str) -> Case {
    typed(OPEN_METRICS, about, "", body)
}

/// All cases; a case's number is its place.
pub fn all() -> Vec<Case> {
    [
        collisions(),
        values_and_syntax(),
        types(),
        relabelling(),
        target_relabelling(),
        limits(),
        times(),
        staleness(),
        formats(),
        federated(),
        failures(),
        names(),
        neighbours(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn collisions() -> Vec<Case> {
    const OWN: &str = "X_a{job=\"other\",instance=\"theirs\",dc=\"x\"} 1\nX_b{dc=\"\"} 2\nX_c 3\n";
    vec![
        text("labels of the target win and the scraped ones are renamed", "honor_labels: false", OWN)
            .labels("dc: home"),
        text("labels of the body win with honor_labels", "honor_labels: true", OWN).labels("dc: home"),
        text("honor_labels is off by default", "", OWN).labels("dc: home"),
        text(
            "exported_ is repeated until the name is free",
            "",
            "X_a{job=\"j\",exported_job=\"e\"} 1\nX_b{exported_job=\"e\"} 2\nX_c{job=\"j\",exported_job=\"e\",exported_exported_job=\"f\"} 3\n",
        ),
        text(
            "an exported_ label of the target collides too",
            "",
            "X_a{dc=\"x\"} 1\nX_b{exported_dc=\"y\"} 2\nX_c{dc=\"x\",exported_dc=\"y\"} 3\n",
        )
        .labels("dc: home, exported_dc: away"),
        text(
            "an empty scraped label removes a target's label with honor_labels",
            "honor_labels: true",
            "X_a{job=\"\"} 1\nX_b{dc=\"\",instance=\"\"} 2\n",
        )
        .labels("dc: home"),
        text("an empty scraped label collides with nothing without it", "", "X_a{job=\"\"} 1\nX_b{dc=\"\"} 2\n")
            .labels("dc: home"),
        text("two series may become one through honor_labels", "honor_labels: true", "X_a{dc=\"home\"} 1\nX_a 2\n")
            .labels("dc: home"),
        text("labels with a double underscore", "", "X_a{__x=\"1\",__tmp=\"2\"} 1\nX_b{__x__=\"1\"} 2\n"),
        text("a label given twice", "", "X_a{b=\"1\",b=\"2\"} 1\nX_c 1\n"),
        text(
            "labels in any order are one series",
            "",
            "X_a{x=\"1\",y=\"2\"} 1\nX_a{y=\"2\",x=\"1\"} 1\nX_b{z=\"1\",a=\"2\"} 2\n",
        ),
        text("the target's labels may be of any language", "", "X_a{ort=\"Küche\"} 1\n")
            .labels("stadt: 'Zürich', \"ort.name\": 'β'"),
    ]
}

fn values_and_syntax() -> Vec<Case> {
    vec![
        text("numbers of every shape", "", "X_a 1e3\nX_b -0\nX_c +5\nX_d 0x1p4\nX_e 1_000\nX_f .5\nX_g 5.\n"),
        text(
            "numbers that are written plainly",
            "",
            "X_a 1e3\nX_b -0\nX_c +5\nX_f .5\nX_g 5.\nX_h 1e-320\nX_i 123456789012345678\nX_j 1e21\nX_k 0.1\n",
        ),
        text("not numbers and infinities", "", "X_a NaN\nX_b +Inf\nX_c -Inf\nX_d Inf\nX_e nan\nX_f inf\n"),
        text("a hexadecimal number", "", "X_a 0x10\n"),
        text("escapes in label values", "", "X_a{p=\"C:\\\\DIR\\\\\",q=\"say \\\"hi\\\"\",r=\"a\\nb\",s=\"\\t\"} 1\n"),
        text("label values that look like syntax", "", "X_a{p=\"}\",q=\",\",r=\"{a=\",s=\"# HELP\",t=\"=\"} 1\n"),
        text("spaces and tabs between everything", "", "  \tX_a { b = \"c\" , d = \"e\" }   1  \n\nX_b\t2\n \n"),
        text("a comma before the closing brace and empty braces", "", "X_a{b=\"c\",} 1\nX_b{} 2\n"),
        text("no line end after the last sample", "", "X_a 1\nX_b 2"),
        text("carriage returns", "", "X_a 1\r\nX_b 2\r\n"),
        text("an empty body", "", ""),
        text("only comments", "", "# nothing here\n# HELP X_a nothing\n"),
        text("bytes that are no UTF-8 would be refused: a name with a dash", "", "X_a-b 1\nX_c 2\n"),
        text("a value is missing", "", "X_a\nX_b 1\n"),
        text("a quote is not closed", "", "X_a 1\nX_b{c=\"d} 2\n"),
        text("a number with a word behind it", "", "X_a 1 2 3\n"),
        text("a good part before a bad line is not kept", "", "X_a 1\nX_b 2\n!!!\nX_c 3\n"),
        text("a colon in a name", "", "X_a:sum:rate5m 1\n:X_b 2\n"),
        text("a name that starts with a digit", "", "0X_a 1\n"),
        text(
            "quoted UTF-8 names",
            "",
            "{\"X_http.status\",\"a.b\"=\"c\",d=\"e\"} 1\n{\"X_größe\"} 2\nX_plain{\"ü\"=\"1\"} 3\n",
        ),
        text(
            "quoted UTF-8 names under the legacy scheme",
            "metric_name_validation_scheme: legacy\n  metric_name_escaping_scheme: underscores",
            "{\"X_http.status\",\"a.b\"=\"c\"} 1\n",
        ),
        text(
            "plain names under the legacy scheme",
            "metric_name_validation_scheme: legacy\n  metric_name_escaping_scheme: underscores",
            "X_http_status{a=\"b\"} 1\n",
        ),
        text(
            "a UTF-8 label name under the legacy scheme",
            "metric_name_validation_scheme: legacy\n  metric_name_escaping_scheme: underscores",
            "X_http_status{\"a.b\"=\"c\"} 1\n",
        ),
        text("the name given in braces without quotes of a label", "", "{\"X_a\"} 1\n{b=\"c\",\"X_d\"} 2\n"),
        text("no name at all", "", "{a=\"X_b\"} 1\n"),
        text("the name given as a label", "", "{__name__=\"X_a\"} 1\n"),
    ]
}

fn types() -> Vec<Case> {
    vec![
        text(
            "a histogram",
            "",
            "# HELP X_h A \\\\ histogram.\n# TYPE X_h histogram\nX_h_bucket{le=\"0.1\"} 1\nX_h_bucket{le=\"1\"} 2\nX_h_bucket{le=\"5.0\"} 2\nX_h_bucket{le=\"+Inf\"} 3\nX_h_sum 4.5\nX_h_count 3\n",
        ),
        text(
            "a summary",
            "",
            "# TYPE X_s summary\nX_s{quantile=\"0\"} 1\nX_s{quantile=\"0.5\"} NaN\nX_s{quantile=\"1\"} 3\nX_s_sum 9\nX_s_count 4\n",
        ),
        text(
            "integer bounds are written as floats",
            "",
            "# TYPE X_h histogram\nX_h_bucket{le=\"1\"} 1\nX_h_bucket{le=\"+Inf\"} 1\n# TYPE X_s summary\nX_s{quantile=\"1\"} 2\n",
        ),
        text("bounds without a type stay as they are", "", "X_h_bucket{le=\"1\"} 1\nX_s{quantile=\"1\"} 2\n"),
        text("types that do not exist", "", "# TYPE X_a wrong\nX_a 1\n"),
        text("a type given twice", "", "# TYPE X_a counter\n# TYPE X_a gauge\nX_a 1\n"),
        text(
            "a help text of two lines and one that is empty",
            "",
            "# HELP X_a one\\ntwo\n# TYPE X_a gauge\nX_a 1\n# HELP X_b\nX_b 2\n",
        ),
        text("the same series twice with equal values", "", "X_a 1\nX_a 1\n"),
        text("the same series twice with other values", "", "X_a{b=\"c\"} 1\nX_a{b=\"c\"} 2\nX_d 3\n"),
    ]
}

fn relabelling() -> Vec<Case> {
    const BODY: &str = "X_a{k=\"one\",l=\"two\"} 1\nX_b{k=\"Two\",l=\"Two\"} 2\nX_c{m_x=\"3\",m_y=\"4\"} 3\n";
    vec![
        text(
            "replace",
            "metric_relabel_configs: [{source_labels: [k, l], separator: '-', regex: '(.+)-(.+)', target_label: kl, replacement: '$2/${1}'}]",
            BODY,
        ),
        text(
            "replace by nothing removes the label",
            "metric_relabel_configs: [{target_label: k, replacement: ''}]",
            BODY,
        ),
        text(
            "replace without a match changes nothing",
            "metric_relabel_configs: [{source_labels: [k], regex: nothing, target_label: l, replacement: x}]",
            BODY,
        ),
        text(
            "a target label made of groups",
            "metric_relabel_configs: [{source_labels: [k], regex: '(.)(.*)', target_label: 'z_$1', replacement: '$2'}]",
            BODY,
        ),
        text(
            "a target label that is not valid",
            "metric_relabel_configs: [{source_labels: [k], regex: '(.)(.*)', target_label: '${3}', replacement: '$2'}]",
            BODY,
        ),
        text(
            "names are changed",
            "metric_relabel_configs: [{source_labels: [__name__], regex: '(.*)_a', target_label: __name__, replacement: '${1}_renamed'}]",
            BODY,
        ),
        text(
            "a name becomes empty",
            "metric_relabel_configs: [{source_labels: [__name__], regex: '.*_a', target_label: __name__, replacement: ''}]",
            BODY,
        ),
        text("keep", "metric_relabel_configs: [{source_labels: [__name__], regex: '.*_(a|b)', action: keep}]", BODY),
        text("drop", "metric_relabel_configs: [{source_labels: [__name__, k], regex: '.*_a;one', action: drop}]", BODY),
        text(
            "a regular expression is anchored at both ends",
            "metric_relabel_configs: [{source_labels: [k], regex: 'on|wo', action: drop}]",
            BODY,
        ),
        text("keepequal", "metric_relabel_configs: [{source_labels: [k], target_label: l, action: keepequal}]", BODY),
        text("dropequal", "metric_relabel_configs: [{source_labels: [k], target_label: l, action: dropequal}]", BODY),
        text(
            "hashmod",
            "metric_relabel_configs: [{source_labels: [k, l], modulus: 7, target_label: shard, action: hashmod}]",
            BODY,
        ),
        text(
            "hashmod with a modulus beyond 32 bits",
            "metric_relabel_configs: [{source_labels: [__name__, k], modulus: 18446744073709551557, target_label: shard, action: hashmod}]",
            "hash_of_nothing 1\nX_a{k=\"é\"} 1\n",
        ),
        text(
            "labelmap",
            "metric_relabel_configs: [{regex: 'm_(.+)', replacement: 'mapped_$1', action: labelmap}]",
            BODY,
        ),
        text("labeldrop", "metric_relabel_configs: [{regex: 'm_.+|l', action: labeldrop}]", BODY),
        text("labelkeep", "metric_relabel_configs: [{regex: '__name__|job|instance|k', action: labelkeep}]", BODY),
        text(
            "lowercase and uppercase",
            "metric_relabel_configs: [{source_labels: [k], target_label: low, action: lowercase}, {source_labels: [l], target_label: UP, action: uppercase}]",
            "X_a{k=\"ÄBC d\",l=\"straße İ\"} 1\n",
        ),
        text(
            "rules run one after another",
            "metric_relabel_configs: [{source_labels: [k], target_label: tmp}, {source_labels: [tmp], regex: one, target_label: seen, replacement: 'yes'}, {regex: tmp, action: labeldrop}]",
            BODY,
        ),
        text(
            "two series become one",
            "metric_relabel_configs: [{regex: k, action: labeldrop}]",
            "X_a{k=\"1\"} 1\nX_a{k=\"2\"} 2\n",
        ),
        text(
            "everything is dropped",
            "metric_relabel_configs: [{source_labels: [job], regex: '.*', action: drop}]",
            BODY,
        ),
        text(
            "the dot matches a line end",
            "metric_relabel_configs: [{source_labels: [k], regex: 'a.b', target_label: hit, replacement: 'yes'}]",
            "X_a{k=\"a\\nb\"} 1\n",
        ),
        text(
            "labels of the target are seen by metric rules",
            "metric_relabel_configs: [{source_labels: [dc, instance], target_label: place}]",
            BODY,
        )
        .labels("dc: home"),
        text(
            "classes of the regular expression are ASCII",
            "metric_relabel_configs: [{source_labels: [k], regex: '\\d+\\w*', target_label: hit, replacement: 'yes'}]",
            "X_a{k=\"12ab\"} 1\nX_b{k=\"١٢\"} 2\nX_c{k=\"1é\"} 3\n",
        ),
    ]
}

fn target_relabelling() -> Vec<Case> {
    vec![
        text(
            "instance from an own rule",
            "relabel_configs: [{source_labels: [dc], target_label: instance, replacement: 'host-$1'}]",
            "X_a 1\n",
        )
        .labels("dc: home"),
        text(
            "meta labels vanish after relabelling, temporary ones too",
            "relabel_configs: [{source_labels: [__meta_x], target_label: x}, {target_label: __tmp_y, replacement: z}]",
            "X_a 1\n",
        )
        .labels("__meta_x: seen"),
        text("labelmap over meta labels", "relabel_configs: [{regex: '__meta_(.+)', action: labelmap}]", "X_a 1\n")
            .labels("__meta_rack: r1, __meta_row: r2"),
        text(
            "parameters from labels",
            "relabel_configs: [{source_labels: [__param_module], target_label: module}]\n  params: {module: [http_2xx, second], other: [x]}",
            "X_a 1\n",
        ),
        text(
            "interval and timeout from labels",
            "relabel_configs: [{target_label: __scrape_interval__, replacement: 500ms}, {target_label: __scrape_timeout__, replacement: 400ms}]",
            "X_a 1\n",
        ),
        text(
            "a target dropped by its own rule",
            "relabel_configs: [{source_labels: [dc], regex: home, action: drop}]",
            "X_a 1\n",
        )
        .labels("dc: home"),
        text(
            "a target whose label has no valid value",
            "relabel_configs: [{source_labels: [dc], target_label: 'exported_job'}]",
            "X_a{job=\"x\"} 1\n",
        )
        .labels("dc: home"),
    ]
}

fn limits() -> Vec<Case> {
    const BODY: &str = "X_a{k=\"0123456789\"} 1\nX_b 2\nX_c 3\n";
    vec![
        text("sample_limit exceeded", "sample_limit: 2", BODY),
        text("sample_limit just kept", "sample_limit: 3", BODY),
        text(
            "sample_limit counts after relabelling",
            "sample_limit: 2\n  metric_relabel_configs: [{source_labels: [__name__], regex: '.*_a', action: drop}]",
            BODY,
        ),
        text("label_limit exceeded", "label_limit: 3", BODY),
        text("label_limit just kept", "label_limit: 4", BODY),
        text("label_name_length_limit exceeded", "label_name_length_limit: 7", BODY),
        text("label_value_length_limit exceeded", "label_value_length_limit: 9", BODY).labels("instance: short"),
        text("label_value_length_limit just kept", "label_value_length_limit: 10", BODY).labels("instance: short"),
        text("body_size_limit exceeded", "body_size_limit: 20B", BODY),
        text("target_limit just kept", "target_limit: 1", BODY),
        text("a limit that is exceeded only once", "sample_limit: 2", "X_a 1\n")
            .then("X_a 1\nX_b 2\nX_c 3\n")
            .then("X_a 4\n"),
    ]
}

fn times() -> Vec<Case> {
    vec![
        text("explicit timestamps are honoured", "", "X_a 1 <ms-60>\nX_b 2 <ms-30>\nX_c 3\n"),
        text("explicit timestamps are ignored when told so", "honor_timestamps: false", "X_a 1 <ms-60>\nX_b 2\n"),
        text(
            "explicit timestamps with staleness tracked",
            "track_timestamps_staleness: true",
            "X_a 1 <ms-60>\nX_b 2 <ms-50>\n",
        )
        .then("X_a 1 <ms-40>\n"),
        text("explicit timestamps without staleness stay", "", "X_a 1 <ms-60>\nX_b 2 <ms-50>\n")
            .then("X_a 1 <ms-40>\n"),
        text("one series at two times in one body", "", "X_a 1 <ms-60>\nX_a 2 <ms-50>\n"),
        text("one series at two times in the wrong order", "", "X_a 2 <ms-50>\nX_a 1 <ms-60>\nX_b 1\n"),
        text("a later scrape brings an earlier time", "", "X_a 2 <ms-50>\n").then("X_a 1 <ms-60>\n"),
        text("another value for a time that is known", "", "X_a 2 <ms-50>\n").then("X_a 3 <ms-50>\n"),
        text("a time too far in the future", "", "X_a 1\nX_b 2 <ms+7200>\n"),
        text("a time too far in the past", "", "X_b 1\n").then("X_b 1\n").then("X_a 1 <ms-86400>\nX_b 2\n"),
        text("a timestamp that is no number", "", "X_a 1 12x\n"),
        text("with and without a timestamp by turns", "", "X_a 1 <ms-60>\n")
            .then("X_a 2\n")
            .then("X_a 3 <ms-30>\nX_b 1\n"),
    ]
}

fn staleness() -> Vec<Case> {
    vec![
        text("a series that goes away", "", "X_a 1\nX_b 2\n").then("X_a 1\n"),
        text("a series that comes back", "", "X_a 1\nX_b 2\n").then("X_a 1\n").then("X_a 1\nX_b 5\n"),
        text("a target that fails", "", "X_a 1\nX_b 2\n").then_status(500),
        text("a target that recovers", "", "X_a 1\nX_b 2\n").then_status(503).then("X_b 7\n"),
        text("a body that becomes bad", "", "X_a 1\nX_b 2\n").then("X_a 1\nX_b{\n"),
        text("a body that becomes empty", "", "X_a 1\nX_b 2\n").then(""),
        text("a scraped staleness marker is an ordinary NaN", "", "X_a NaN\nX_b 1\n").then("X_a NaN\nX_b NaN\n"),
        text("a value that never changes and one that does", "", "X_a 1\nX_b 1\n")
            .then("X_a 1\nX_b 2\n")
            .then("X_a 1\nX_b 3\n"),
        text("lines that change their places", "", "X_a 1\nX_b 2\nX_c 3\n")
            .then("X_c 4\nX_a 5\nX_b 6\n")
            .then("X_b 7\nX_d 8\nX_c 9\nX_a 10\n"),
        text("labels that change their order", "", "X_a{p=\"1\",q=\"2\"} 1\n").then("X_a{q=\"2\",p=\"1\"} 2\n"),
        text("a counter that is written otherwise", "", "X_a 10\n").then("X_a 1e1\n").then("X_a 10.0\n"),
    ]
}

fn formats() -> Vec<Case> {
    vec![
        open_metrics("a counter", "# TYPE X_a counter\n# HELP X_a Text.\nX_a_total 5\nX_a_created 1.6e9\n# EOF\n"),
        open_metrics(
            "a gauge with a unit",
            "# TYPE X_a_seconds gauge\n# UNIT X_a_seconds seconds\nX_a_seconds 5\n# EOF\n",
        ),
        open_metrics(
            "exemplars",
            "# TYPE X_h histogram\nX_h_bucket{le=\"1.0\"} 1 # {trace_id=\"abc\"} 0.5\nX_h_bucket{le=\"+Inf\"} 2 # {trace_id=\"def\"} 3 <s-10>\nX_h_sum 3.5\nX_h_count 2\n# EOF\n",
        ),
        open_metrics(
            "integer bounds",
            "# TYPE X_h histogram\nX_h_bucket{le=\"1\"} 1\nX_h_bucket{le=\"+Inf\"} 2\nX_h_sum 3.5\nX_h_count 2\n# EOF\n",
        ),
        open_metrics(
            "info, stateset, unknown",
            "# TYPE X_i info\nX_i_info{version=\"1\"} 1\n# TYPE X_s stateset\nX_s{X_s=\"a\"} 1\nX_s{X_s=\"b\"} 0\n# TYPE X_u unknown\nX_u 3\n# EOF\n",
        ),
        open_metrics("timestamps in seconds", "# TYPE X_a gauge\nX_a 1 <s-60>\nX_b 2 <s-30>.25\n# EOF\n"),
        open_metrics("the end marker is missing", "X_a 1\n"),
        open_metrics("something after the end marker", "X_a 1\n# EOF\nX_b 2\n"),
        open_metrics("nothing but the end marker", "# EOF\n"),
        open_metrics("an empty line is an error here", "X_a 1\n\nX_b 2\n# EOF\n"),
        open_metrics("spaces are counted here", "X_a  1\n# EOF\n"),
        open_metrics("UTF-8 names", "# TYPE \"X_a.b\" gauge\n{\"X_a.b\",\"c.d\"=\"e\"} 1\n# EOF\n"),
        open_metrics("escapes", "X_a{b=\"\\\\ \\\" \\n\"} 1\n# EOF\n"),
        typed("text/plain", "a content type without a version", "", "X_a 1\n"),
        typed("text/plain; version=1.0.0; escaping=allow-utf-8", "text of version 1.0.0", "", "{\"X_a.b\"} 1\nX_c 2\n"),
        typed("application/json", "a content type that is no exposition", "", "X_a 1\n"),
        typed(
            "application/json",
            "the same with a fallback",
            "fallback_scrape_protocol: PrometheusText0.0.4",
            "X_a 1\n",
        ),
        typed("", "no content type", "", "X_a 1\n"),
        typed(
            "",
            "no content type with OpenMetrics as fallback",
            "fallback_scrape_protocol: OpenMetricsText1.0.0",
            "X_a 1\n# EOF\n",
        ),
        typed(OPEN_METRICS, "only classic text asked for", "scrape_protocols: [PrometheusText0.0.4]", "X_a 1\n# EOF\n"),
        typed("TEXT/Plain; Version=0.0.4", "a content type in capitals", "", "X_a 1\n"),
    ]
}

/// What another server's `/federate` says: every line with its own time.
fn federated() -> Vec<Case> {
    let over_time = |about, job| {
        text(about, job, "X_a 1 <ms-60>\nX_b 1 <ms-60>\nX_c 1 <ms-60>\nX_d 1 <ms-60>\n")
            .then("X_a 1 <ms-60>\nX_b 2 <ms-40>\nX_c 1 <ms-60>\nX_d 2 <ms-60>\n")
            .then("X_a 1 <ms-60>\nX_b 3 <ms-20>\nX_d 3 <ms-40>\n")
    };
    vec![
        over_time("federated times that stay, move on and go away", "honor_labels: true"),
        over_time("the same without honouring the times", "honor_labels: true\n  honor_timestamps: false"),
        over_time("the same with staleness tracked", "honor_labels: true\n  track_timestamps_staleness: true"),
        text("a federated series ends and comes back", "track_timestamps_staleness: true", "X_a 1 <ms-60>\nX_b 1\n")
            .then("X_b 1\n")
            .then("X_a 2 <ms-30>\nX_b 1\n"),
        text("tracked times that go backwards", "track_timestamps_staleness: true", "X_a 1 <ms-60>\nX_b 1\n")
            .then("X_a 2 <ms-70>\nX_b 1\n"),
        text("a time ahead, within what is allowed, and then none", "", "X_a 1 <ms+300>\nX_b 1\n")
            .then("X_a 2\nX_b 2\n"),
        text(
            "labels of another job and no instance",
            "honor_labels: true",
            "X_a{instance=\"\",job=\"X_other\"} 1 <ms-10>\n",
        ),
    ]
}

fn failures() -> Vec<Case> {
    vec![
        text("a body that is bad in its middle and then whole again", "", "X_a 1\nX_b 2\nX_c 3\n")
            .then("X_a 2\nX_b{\nX_c 4\n")
            .then("X_a 3\nX_b 4\nX_c 5\n"),
        text("a body that stays bad in its middle", "", "X_a 1\nX_b 2\nX_c 3\n")
            .then("X_a 2\nX_b{\nX_c 4\n")
            .then("X_a 2\nX_b{\nX_c 4\n"),
        text("a body that turns bad and then fails altogether", "", "X_a 1\nX_b 2\n")
            .then("X_a 2\nX_b{\n")
            .then_status(500),
        text("tracked times and a target that fails", "track_timestamps_staleness: true", "X_a 1 <ms-60>\nX_b 1\n")
            .then_status(500),
        text("a new series in a bad body", "", "X_a 1\n").then("X_b 1\n!!!\n").then("X_b 2\n"),
        text("a limit exceeded after a good scrape", "sample_limit: 2", "X_a 1\nX_b 1\n").then("X_a 1\nX_b 1\nX_c 1\n"),
        text("a label limit exceeded after a good scrape", "label_limit: 4", "X_a{p=\"1\"} 1\nX_b 1\n")
            .then("X_a{p=\"1\"} 2\nX_b{p=\"1\",q=\"2\"} 1\n"),
    ]
}

fn names() -> Vec<Case> {
    const UTF8: &str = "{\"X_a.b\",\"c.d\"=\"e\"} 1\nX_c 2\n";
    const RENAMED: &str =
        "metric_relabel_configs: [{source_labels: [__name__], regex: 'X_b', target_label: __name__, replacement: X_a}]";
    let long: &'static str = format!("X_a{{v=\"{}\"}} 1\nX_b 2\n", "0123456789".repeat(5000)).leak();
    vec![
        text("a metric renamed to one that the body has, too", RENAMED, "X_a 1\nX_b 2\nX_c 3\n"),
        text("of two texts of one series one goes away", RENAMED, "X_a 1\nX_b 2\n").then("X_b 3\n"),
        text("of two texts of one series the other goes away", RENAMED, "X_a 1\nX_b 2\n").then("X_a 3\n"),
        text("of two texts of one series both go away", RENAMED, "X_a 1\nX_b 2\nX_c 1\n").then("X_c 3\n"),
        text(
            "labelmap onto a label that is there",
            "metric_relabel_configs: [{action: labelmap, regex: '[pq]_(.*)'}]",
            "X_a{p_k=\"1\",k=\"2\"} 1\nX_b{p_k=\"1\",q_k=\"2\"} 2\nX_c{q_job=\"x\",p_=\"y\"} 3\n",
        ),
        text("a very long value", "", long),
        text("UTF-8 names asked for with underscores", "metric_name_escaping_scheme: underscores", UTF8),
        text("UTF-8 names asked for with dots", "metric_name_escaping_scheme: dots", UTF8),
        text("UTF-8 names asked for with values", "metric_name_escaping_scheme: values", UTF8),
        text("UTF-8 names asked for as they are", "metric_name_escaping_scheme: allow-utf-8", UTF8),
        text(
            "UTF-8 names where only legacy ones are valid",
            "metric_name_validation_scheme: legacy\n  metric_name_escaping_scheme: values",
            UTF8,
        ),
        text(
            "legacy names where only they are valid",
            "metric_name_validation_scheme: legacy\n  metric_name_escaping_scheme: underscores",
            "X_a{b=\"c\"} 1\n",
        ),
        text(
            "names escaped by dots where only legacy ones are valid",
            "metric_name_validation_scheme: legacy\n  metric_name_escaping_scheme: dots",
            "X_a_dot_b 1\n",
        ),
        text("a name and a TYPE that changes", "", "# TYPE X_a counter\nX_a 1\n")
            .then("# TYPE X_a histogram\nX_a_bucket{le=\"1\"} 2\nX_a 1\n"),
    ]
}

/// Several targets in one job.
fn neighbours() -> Vec<Case> {
    const SECOND: &str = "instance: target, n: one}}, {targets: ['ADDRESS'], labels: {instance: target, n: two";
    vec![
        text("two targets in one job", "", "X_a 1\n").labels(SECOND),
        text("two targets that are equal are one", "", "X_a 1\n")
            .labels("instance: target, n: one}}, {targets: ['ADDRESS'], labels: {instance: target, n: one"),
        text("targets over target_limit", "target_limit: 1", "X_a 1\n").labels(SECOND),
        text("two targets whose interval differs are two", "", "X_a 1\n")
            .labels("instance: target, n: one}}, {targets: ['ADDRESS'], labels: {instance: target, n: one, __scrape_interval__: 2s"),
        text(
            "two targets whose series are the same",
            "metric_relabel_configs: [{action: labeldrop, regex: n}]",
            "X_a 1\nX_b 1\n",
        )
        .labels(SECOND),
    ]
}
