//! Parts of a plan that stand in it more than once, such as `rate(a[5m])` in `rate(a[5m]) / (rate(a[5m]) + b)`, run once.

use hashbrown::HashMap;

use super::{Node, Op};
use crate::promql::ast::ValueType;

/// Plans with more parts than this are not searched: finding repetition takes time by the square of their number.
const MAX_PARTS: usize = 300;

/// One of several places where the same part stands. Each has a copy of it; the first to run leaves its series to the
/// others.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The same in all places.
    pub id: usize,
    /// Number of places.
    pub uses: usize,
    /// The part.
    pub node: Node,
}

/// Marks the largest parts that repeat.
pub(super) fn share(mut plan: Node) -> Node {
    let (mut parts, mut keys) = (0, HashMap::new());
    visit(&plan, &mut |_| parts += 1);
    if parts > MAX_PARTS {
        return plan;
    }
    visit(&plan, &mut |node| {
        if is_worth_keeping(node) {
            *keys.entry(key(node)).or_insert(0usize) += 1;
        }
    });
    keys.retain(|_, uses| *uses > 1);
    if keys.is_empty() {
        return plan;
    }
    let mut ids: HashMap<String, (usize, usize)> = HashMap::new();
    mark(&mut plan, &keys, &mut ids);
    let uses: HashMap<usize, usize> = ids.into_values().collect();
    tell_uses(&mut plan, &uses);
    plan
}

/// What a part does, wherever it stands.
fn key(node: &Node) -> String {
    format!("{:?}", node.op)
}

/// Only vectors made of stored series take longer to make than to keep.
fn is_worth_keeping(node: &Node) -> bool {
    let mut reads = false;
    visit(node, &mut |part| reads |= matches!(part.op, Op::Select(_) | Op::Range(_) | Op::Delegated(_)));
    reads && node.value_type == ValueType::Vector
}

fn visit(node: &Node, f: &mut dyn FnMut(&Node)) {
    f(node);
    node.children().into_iter().for_each(|child| visit(child, f));
}

/// Replaces parts that repeat, largest first; `ids` learns each one's id and number of places.
fn mark(node: &mut Node, keys: &HashMap<String, usize>, ids: &mut HashMap<String, (usize, usize)>) {
    let is_call = matches!(node.op, Op::Call(_));
    for child in node.children_mut() {
        // Some functions look at the selector itself.
        let may_be = is_worth_keeping(child) && !(is_call && matches!(child.op, Op::Select(_)));
        let key = if may_be { key(child) } else { String::new() };
        if !keys.contains_key(&key) {
            mark(child, keys, ids);
            continue;
        }
        let next = ids.len();
        let (id, uses) = ids.entry(key).or_insert((next, 0));
        *uses += 1;
        let (position, value_type) = (child.position, child.value_type);
        let part = std::mem::replace(&mut child.op, Op::Number(0.0));
        let node = Node { position, value_type, op: part };
        child.op = Op::Shared(Box::new(Shared { id: *id, uses: 0, node }));
    }
}

fn tell_uses(node: &mut Node, all: &HashMap<usize, usize>) {
    if let Op::Shared(shared) = &mut node.op {
        shared.uses = all.get(&shared.id).copied().unwrap_or(1);
        return;
    }
    node.children_mut().into_iter().for_each(|child| tell_uses(child, all));
}

#[cfg(test)]
mod tests {
    use crate::promql::parse::{ParserOptions, parse};
    use crate::promql::plan::{Times, build};

    use super::*;

    /// Places of shared parts, as `id` of each.
    fn shared(text: &str) -> Vec<(usize, usize)> {
        let times = Times { start: 0, end: 1000, interval: 10, default_subquery_step: 60_000 };
        let plan = build(&parse(text, &ParserOptions::ALL).unwrap(), &times).unwrap();
        let mut found = Vec::new();
        visit(&plan, &mut |node| {
            if let Op::Shared(shared) = &node.op {
                found.push((shared.id, shared.uses));
            }
        });
        found
    }

    #[test]
    fn the_largest_parts_that_repeat_are_shared() {
        assert_eq!(shared("rate(a[5m]) / (rate(a[5m]) + b)"), [(0, 2), (0, 2)]);
        assert_eq!(shared("sum(rate(a[5m])) / (sum(rate(a[5m])) + rate(a[5m]))"), [(0, 2), (0, 2), (1, 1)]);
        assert_eq!(shared("a > 5 and a < 10"), [(0, 2), (0, 2)]);
        assert_eq!(shared("a + a{x=\"1\"} + (a offset 1m)"), []);
        assert_eq!(shared("timestamp(a) - timestamp(a)"), [(0, 2), (0, 2)]);
        assert_eq!(shared("time() - time() + 1 + 1"), []);
    }
}
