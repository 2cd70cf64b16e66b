//! A YAML file as a tree that remembers where everything stood and how it was written.
//!
//! Only the first document of a stream counts, as in the reference. Merge keys are applied here, so that nobody after
//! this file sees a `<<`. Every limit is checked before memory is spent: the size of the text, the depth of nesting,
//! and the number of nodes that aliases would expand to.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use serde_yaml::granit_parser as granit;

use granit::{Event, Parser, ScalarStyle, ScanError, Span, Tag};

/// More than any config that people wrote; less than what fills the memory of a small machine.
const MAX_BYTES: usize = 32 << 20;
/// Nodes after the expansion of aliases; a config of a hundred thousand targets stays below it.
const MAX_NODES: u64 = 2_000_000;
/// No section of a config nests deeper than ten; this also bounds recursion.
const MAX_DEPTH: u32 = 64;
const CORE: &str = "tag:yaml.org,2002:";

/// A place in a text; both count from one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Pos {
    pub line: usize,
    pub column: usize,
}

impl Pos {
    /// The first character.
    pub(super) const START: Pos = Pos { line: 1, column: 1 };
}

/// One value with its place.
#[derive(Debug)]
pub(super) struct Node {
    pub pos: Pos,
    pub content: Content,
    /// Nodes of the expanded tree below and with this one.
    weight: u64,
    depth: u32,
}

/// What a node holds.
#[derive(Debug)]
pub(super) enum Content {
    /// A text as it was written, after escapes.
    Scalar(Scalar),
    /// A `!!binary` value that is not UTF-8.
    Bytes(Vec<u8>),
    /// A value that could not be decoded, and why.
    Broken(String),
    Seq(Vec<Arc<Node>>),
    Map(Vec<Entry>),
}

/// A text and what is needed to resolve its type.
#[derive(Debug)]
pub(super) struct Scalar {
    pub text: String,
    pub kind: ScalarKind,
}

/// How far the notation decides the type of a scalar.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ScalarKind {
    /// Unquoted and untagged: `5` is a number, `yes` is true.
    Plain,
    /// Quoted or tagged as text: always a text.
    Text,
    /// Tagged as another scalar type, whatever the quotes.
    Typed,
}

/// A key and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub key: Arc<Node>,
    pub value: Arc<Node>,
}

/// Something that makes the text unusable at `pos`.
#[derive(Debug)]
pub(super) struct YamlError {
    pub pos: Pos,
    pub why: String,
}

/// A parsed text.
#[derive(Debug)]
pub(super) struct Document {
    /// The value of the first document; a null where there is none.
    pub root: Arc<Node>,
    /// Mistakes that did not prevent a tree, such as keys given twice.
    pub mistakes: Vec<YamlError>,
    /// Where a second document starts that nobody will read.
    pub ignored: Option<Pos>,
}

/// Reads the first document of `text`.
pub(super) fn parse(text: &str) -> Result<Document, YamlError> {
    if text.len() > MAX_BYTES {
        let why = format!("the file has {} bytes, more than the {MAX_BYTES} that are read", text.len());
        return Err(YamlError { pos: Pos::START, why });
    }
    let options = granit::options! { emit_comments: false };
    let mut events = Parser::new_from_str_with_options(text, options);
    Builder { events: &mut events, anchors: HashMap::new(), mistakes: Vec::new() }.document()
}

type Step<'t> = Result<(Event<'t>, Span), ScanError>;

/// Turns the parser's events into nodes.
struct Builder<'e, 't> {
    events: &'e mut dyn Iterator<Item = Step<'t>>,
    /// Finished nodes that can be referred to.
    anchors: HashMap<usize, Arc<Node>>,
    mistakes: Vec<YamlError>,
}

impl<'t> Builder<'_, 't> {
    fn document(mut self) -> Result<Document, YamlError> {
        let mut root = None;
        let mut ignored = None;
        loop {
            match self.next()? {
                None | Some((Event::StreamEnd, _)) => break,
                Some((Event::StreamStart | Event::DocumentEnd, _)) => {}
                Some((Event::DocumentStart(..), span)) if root.is_some() => {
                    ignored = Some(position(span));
                    break;
                }
                Some((Event::DocumentStart(..), _)) => {}
                Some((event, span)) => root = Some(self.node(event, span)?),
            }
        }
        let root = root.unwrap_or_else(|| Arc::new(Node::null(Pos::START)));
        Ok(Document { root, mistakes: self.mistakes, ignored })
    }

    fn next(&mut self) -> Result<Option<(Event<'t>, Span)>, YamlError> {
        self.events.next().transpose().map_err(|e| {
            let at = e.marker();
            YamlError { pos: Pos { line: at.line().max(1), column: at.col() + 1 }, why: e.info() }
        })
    }

    /// The node that starts with `event`.
    fn node(&mut self, event: Event<'t>, span: Span) -> Result<Arc<Node>, YamlError> {
        let pos = position(span);
        let (anchor, node) = match event {
            Event::Scalar(text, style, anchor, tag) => (anchor, scalar(pos, &text, style, tag.as_deref())),
            Event::SequenceStart(_, anchor, _) => (anchor, self.sequence(pos)?),
            Event::MappingStart(_, anchor, _) => (anchor, self.mapping(pos)?),
            Event::Alias(id) => return self.alias(id, pos),
            other => return Err(YamlError { pos, why: format!("unexpected {other:?}") }),
        };
        if node.weight > MAX_NODES {
            return Err(YamlError { pos, why: format!("more than {MAX_NODES} values after the expansion of aliases") });
        }
        if node.depth > MAX_DEPTH {
            return Err(YamlError { pos, why: format!("nested deeper than {MAX_DEPTH} levels") });
        }
        let node = Arc::new(node);
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    /// The referred node itself, shared: a mistake in it is told once more, but where it was written.
    fn alias(&mut self, id: usize, pos: Pos) -> Result<Arc<Node>, YamlError> {
        let target = self.anchors.get(&id);
        target.cloned().ok_or_else(|| YamlError { pos, why: "an anchor that contains itself".into() })
    }

    fn sequence(&mut self, pos: Pos) -> Result<Node, YamlError> {
        let mut items = Vec::new();
        let mut size = Size::default();
        loop {
            match self.next()? {
                Some((Event::SequenceEnd, _)) => break,
                Some((event, span)) => {
                    let item = self.node(event, span)?;
                    size.add(&item, pos)?;
                    items.push(item);
                }
                None => return Err(YamlError { pos, why: "a list that never ends".into() }),
            }
        }
        Ok(size.node(pos, Content::Seq(items)))
    }

    fn mapping(&mut self, pos: Pos) -> Result<Node, YamlError> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut merges: Vec<Arc<Node>> = Vec::new();
        let mut seen: HashMap<String, Pos> = HashMap::new();
        let mut size = Size::default();
        loop {
            let key = match self.next()? {
                Some((Event::MappingEnd, _)) => break,
                Some((event, span)) => self.node(event, span)?,
                None => return Err(YamlError { pos, why: "a mapping that never ends".into() }),
            };
            let Some((event, span)) = self.next()? else {
                return Err(YamlError { pos: key.pos, why: "a key without a value".into() });
            };
            let value = self.node(event, span)?;
            size.add(&key, pos)?;
            size.add(&value, pos)?;
            if key.scalar().is_some_and(|s| s.kind == ScalarKind::Plain && s.text == "<<") {
                merges.push(value);
                continue;
            }
            if let Some(name) = key.scalar().map(|s| &s.text) {
                if let Some(first) = seen.get(name) {
                    let why = format!("{name}: key already set in line {}", first.line);
                    self.mistakes.push(YamlError { pos: key.pos, why });
                    continue;
                }
                seen.insert(name.clone(), key.pos);
            }
            entries.push(Entry { key, value });
        }
        for source in merges {
            self.merge(&source, &mut entries, &mut seen, true);
        }
        Ok(size.node(pos, Content::Map(entries)))
    }

    /// Adds what `source` has and `entries` lack: explicit keys win over merged ones, earlier sources over later ones.
    fn merge(&mut self, source: &Node, into: &mut Vec<Entry>, seen: &mut HashMap<String, Pos>, lists: bool) {
        match &source.content {
            Content::Map(entries) => {
                for entry in entries {
                    let Some(name) = entry.key.scalar().map(|s| &s.text) else { continue };
                    if !seen.contains_key(name) {
                        seen.insert(name.clone(), entry.key.pos);
                        into.push(entry.clone());
                    }
                }
            }
            Content::Seq(sources) if lists => sources.iter().for_each(|s| self.merge(s, into, seen, false)),
            _ => {
                let why = "map merge requires map or sequence of maps as the value of <<".into();
                self.mistakes.push(YamlError { pos: source.pos, why });
            }
        }
    }
}

/// Adds up what a collection holds while it is read, so that no collection outgrows the limits even by aliases.
#[derive(Default)]
struct Size {
    weight: u64,
    depth: u32,
}

impl Size {
    fn add(&mut self, child: &Node, parent: Pos) -> Result<(), YamlError> {
        self.weight = self.weight.saturating_add(child.weight);
        self.depth = self.depth.max(child.depth);
        if self.weight > MAX_NODES {
            let why = format!("more than {MAX_NODES} values after the expansion of aliases");
            return Err(YamlError { pos: parent, why });
        }
        Ok(())
    }

    fn node(self, pos: Pos, content: Content) -> Node {
        Node { pos, content, weight: self.weight.saturating_add(1), depth: self.depth + 1 }
    }
}

fn position(span: Span) -> Pos {
    Pos { line: span.start.line().max(1), column: span.start.col() + 1 }
}

fn scalar(pos: Pos, text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Node {
    let core = tag.map(|t| format!("{}{}", t.handle(), t.suffix()));
    let kind = match core.as_deref().map(|t| t.strip_prefix(CORE).unwrap_or("str")) {
        Some("binary") => return Node::leaf(pos, binary(text)),
        Some("int" | "float" | "bool" | "null" | "timestamp") => ScalarKind::Typed,
        Some(_) => ScalarKind::Text,
        None if style == ScalarStyle::Plain => ScalarKind::Plain,
        None => ScalarKind::Text,
    };
    Node::leaf(pos, Content::Scalar(Scalar { text: text.to_owned(), kind }))
}

fn binary(text: &str) -> Content {
    let compact: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    match base64::engine::general_purpose::STANDARD.decode(compact) {
        Err(_) => Content::Broken(format!("!!binary value contains invalid base64 data: {text:?}")),
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => Content::Scalar(Scalar { text, kind: ScalarKind::Text }),
            Err(e) => Content::Bytes(e.into_bytes()),
        },
    }
}

impl Node {
    fn leaf(pos: Pos, content: Content) -> Node {
        Node { pos, content, weight: 1, depth: 1 }
    }

    /// A null that stands for something that is not there.
    pub(super) fn null(pos: Pos) -> Node {
        Node::leaf(pos, Content::Scalar(Scalar { text: String::new(), kind: ScalarKind::Plain }))
    }

    /// The tree with a text at the end of a way of keys. Where the way leads through what is no mapping, the tree stays
    /// as it is: whoever reads it tells that mistake.
    pub(super) fn with(root: &Arc<Node>, way: &[&str], text: &str) -> Arc<Node> {
        let Some((first, rest)) = way.split_first() else {
            let scalar = Scalar { text: text.to_owned(), kind: ScalarKind::Plain };
            return Arc::new(Node::leaf(Pos::START, Content::Scalar(scalar)));
        };
        let mut entries = match &root.content {
            Content::Map(entries) => entries.clone(),
            _ if root.is_null() => Vec::new(),
            _ => return root.clone(),
        };
        let is_first = |entry: &&mut Entry| entry.key.scalar().is_some_and(|s| s.text == *first);
        match entries.iter_mut().find(is_first) {
            Some(entry) => entry.value = Node::with(&entry.value, rest, text),
            None => {
                let key = Scalar { text: (*first).to_owned(), kind: ScalarKind::Plain };
                let key = Arc::new(Node::leaf(Pos::START, Content::Scalar(key)));
                let value = Node::with(&Arc::new(Node::null(Pos::START)), rest, text);
                entries.push(Entry { key, value });
            }
        }
        Arc::new(Node { pos: root.pos, content: Content::Map(entries), weight: root.weight, depth: root.depth })
    }

    /// The text if this is a scalar.
    pub(super) fn scalar(&self) -> Option<&Scalar> {
        match &self.content {
            Content::Scalar(s) => Some(s),
            _ => None,
        }
    }

    /// True for what YAML calls null: nothing, `~`, `null`.
    pub(super) fn is_null(&self) -> bool {
        self.scalar().is_some_and(|s| {
            s.kind != ScalarKind::Text && matches!(s.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
        })
    }

    /// What this is, in words.
    pub(super) fn kind_name(&self) -> &'static str {
        match &self.content {
            Content::Scalar(_) if self.is_null() => "nothing",
            Content::Scalar(_) => "a single value",
            Content::Bytes(_) | Content::Broken(_) => "binary data",
            Content::Seq(_) => "a list",
            Content::Map(_) => "a mapping",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(node: &Node) -> Vec<&str> {
        match &node.content {
            Content::Map(entries) => entries.iter().filter_map(|e| e.key.scalar()).map(|s| s.text.as_str()).collect(),
            _ => Vec::new(),
        }
    }

    fn value<'n>(node: &'n Node, key: &str) -> &'n Node {
        let Content::Map(entries) = &node.content else { panic!("{node:?} is no mapping") };
        &entries.iter().find(|e| e.key.scalar().is_some_and(|s| s.text == key)).unwrap().value
    }

    #[test]
    fn positions_count_from_one() {
        let doc = parse("a:\n  b: [x, 'y']\n").unwrap();
        let list = value(value(&doc.root, "a"), "b");
        let Content::Seq(items) = &list.content else { panic!("{list:?}") };
        assert_eq!(items[1].pos, Pos { line: 2, column: 10 });
    }

    #[test]
    fn a_key_given_twice_is_a_mistake_and_the_first_one_counts() {
        let doc = parse("a: 1\nb: 2\na: 3\n").unwrap();
        assert_eq!(doc.mistakes.len(), 1);
        assert_eq!(doc.mistakes[0].why, "a: key already set in line 1");
        assert_eq!(value(&doc.root, "a").scalar().unwrap().text, "1");
    }

    #[test]
    fn explicit_keys_win_over_merged_ones_wherever_they_stand() {
        let doc = parse("x: &x {a: 1, b: 2}\ny: &y {b: 3, c: 4}\nz:\n  <<: [*x, *y]\n  a: 9\n").unwrap();
        let z = value(&doc.root, "z");
        assert_eq!(keys(z), ["a", "b", "c"]);
        assert_eq!(value(z, "a").scalar().unwrap().text, "9");
        assert_eq!(value(z, "b").scalar().unwrap().text, "2");
        assert!(doc.mistakes.is_empty());
    }

    #[test]
    fn a_bomb_of_aliases_is_refused() {
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for i in 1..12 {
            let refs = vec![format!("*a{}", i - 1); 10].join(",");
            bomb.push_str(&format!("a{i}: &a{i} [{refs}]\n"));
        }
        let error = parse(&bomb).unwrap_err();
        assert!(error.why.contains("expansion of aliases"), "{error:?}");
    }

    #[test]
    fn an_anchor_in_itself_and_deep_nesting_are_refused() {
        assert!(parse("a: &a [*a]").unwrap_err().why.contains("contains itself"));
        assert!(parse(&"[".repeat(100_000)).is_err());
        let error = parse(&format!("{}{}", "[".repeat(80), "]".repeat(80))).unwrap_err();
        assert!(error.why.contains("nested deeper"), "{error:?}");
    }

    #[test]
    fn binary_values_are_decoded() {
        let doc = parse("a: !!binary \"aGk=\"\nb: !!binary \"/w==\"\nc: !!binary \"/w==$1\"\n").unwrap();
        assert_eq!(value(&doc.root, "a").scalar().unwrap().text, "hi");
        assert!(matches!(&value(&doc.root, "b").content, Content::Bytes(b) if b == &[0xff]));
        assert!(matches!(&value(&doc.root, "c").content, Content::Broken(why) if why.contains("base64")));
    }

    #[test]
    fn a_second_document_is_noticed() {
        assert!(parse("a: 1\n---\nb: 2\n").unwrap().ignored.is_some());
        assert!(parse("---\na: 1\n...\n").unwrap().ignored.is_none());
        assert!(parse("").unwrap().root.is_null());
        assert!(parse("# nothing but a comment\n").unwrap().root.is_null());
    }
}
