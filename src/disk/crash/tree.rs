//! Files and directories in two states: as they are seen, and as they are surely on the platter.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path};

use super::CrashPolicy;

/// What a real disk writes as one; the rest of a page may be anything.
const PAGE: usize = 4096;

/// Index of a node in its tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NodeId(usize);

/// Node 0 is the root.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    /// Changes of names that are not durable, in order.
    pending: Vec<NameChange>,
}

#[derive(Clone, Debug)]
enum Node {
    File(Content),
    Dir(Names),
}

type Entries = BTreeMap<String, NodeId>;

#[derive(Clone, Debug, Default)]
struct Names {
    seen: Entries,
    durable: Entries,
}

#[derive(Clone, Debug, Default)]
struct Content {
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// Before this byte both are the same.
    same: usize,
    /// Bytes from the first number up to the second that a failed sync has dropped: they will never be durable.
    dropped: Option<(usize, usize)>,
}

/// A name in a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Place {
    dir: usize,
    name: String,
}

/// A node gets a name, loses one, or both at once.
#[derive(Clone, Debug)]
struct NameChange {
    node: NodeId,
    set: Option<Place>,
    unset: Option<Place>,
}

impl Default for Tree {
    fn default() -> Tree {
        Tree { nodes: vec![Node::Dir(Names::default())], pending: Vec::new() }
    }
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Tree {
    pub(super) fn find(&self, path: &Path) -> io::Result<NodeId> {
        let mut node = NodeId(0);
        for part in path.components() {
            let Component::Normal(name) = part else { continue };
            node = *self.dir(node)?.seen.get(&*name.to_string_lossy()).ok_or_else(not_found)?;
        }
        Ok(node)
    }

    pub(super) fn file(&self, path: &Path) -> io::Result<NodeId> {
        let node = self.find(path)?;
        match self.nodes[node.0] {
            Node::File(_) => Ok(node),
            Node::Dir(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn dir(&self, node: NodeId) -> io::Result<&Names> {
        match &self.nodes[node.0] {
            Node::Dir(names) => Ok(names),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    pub(super) fn names(&self, dir: &Path) -> io::Result<Vec<String>> {
        Ok(self.dir(self.find(dir)?)?.seen.keys().cloned().collect())
    }

    fn place(&self, path: &Path) -> io::Result<Place> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let dir = self.find(parent)?;
        self.dir(dir)?;
        Ok(Place { dir: dir.0, name: name.to_string_lossy().into_owned() })
    }

    fn names_mut(&mut self, dir: usize) -> &mut Names {
        match &mut self.nodes[dir] {
            Node::Dir(names) => names,
            // Places are made by `place`, which has looked.
            Node::File(_) => unreachable!("a place in a file"),
        }
    }

    fn change(&mut self, change: NameChange) {
        if let Some(place) = &change.unset {
            let place = place.clone();
            self.names_mut(place.dir).seen.remove(&place.name);
        }
        if let Some(place) = &change.set {
            let place = place.clone();
            self.names_mut(place.dir).seen.insert(place.name, change.node);
        }
        self.pending.push(change);
    }

    fn create(&mut self, path: &Path, new: Node) -> io::Result<NodeId> {
        let place = self.place(path)?;
        if self.find(path).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.nodes.push(new);
        let node = NodeId(self.nodes.len() - 1);
        self.change(NameChange { node, set: Some(place), unset: None });
        Ok(node)
    }

    pub(super) fn create_file(&mut self, path: &Path) -> io::Result<NodeId> {
        self.create(path, Node::File(Content::default()))
    }

    pub(super) fn create_dir(&mut self, path: &Path) -> io::Result<NodeId> {
        self.create(path, Node::Dir(Names::default()))
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let node = self.find(from)?;
        if let Ok(target) = self.find(to)
            && self.dir(target).is_ok_and(|names| !names.seen.is_empty())
        {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let change = NameChange { node, set: Some(self.place(to)?), unset: Some(self.place(from)?) };
        if change.set != change.unset {
            self.change(change);
        }
        Ok(())
    }

    /// Removes a file or an empty directory.
    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        let node = self.find(path)?;
        if self.dir(node).is_ok_and(|names| !names.seen.is_empty()) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let unset = Some(self.place(path)?);
        self.change(NameChange { node, set: None, unset });
        Ok(())
    }

    /// Makes a directory's names durable. A node that has left it has its new name durable as well: a rename is one step.
    pub(super) fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        let dir = self.find(dir)?;
        self.dir(dir)?;
        let is_here = |place: &Option<Place>| place.as_ref().is_some_and(|p| p.dir == dir.0);
        for mut change in std::mem::take(&mut self.pending) {
            let leaves = is_here(&change.unset);
            if leaves || is_here(&change.set) {
                let now = NameChange { unset: change.unset.take_if(|_| leaves), set: change.set.take(), ..change };
                self.make_durable(&now);
            }
            if change.set.is_some() || change.unset.is_some() {
                self.pending.push(change);
            }
        }
        Ok(())
    }

    fn make_durable(&mut self, change: &NameChange) {
        if let Some(place) = &change.unset {
            let durable = &mut self.names_mut(place.dir).durable;
            if durable.get(&place.name) == Some(&change.node) {
                durable.remove(&place.name);
            }
        }
        if let Some(place) = &change.set {
            self.names_mut(place.dir).durable.insert(place.name.clone(), change.node);
        }
    }

    fn file_mut(&mut self, node: NodeId) -> &mut Content {
        match &mut self.nodes[node.0] {
            Node::File(content) => content,
            // Handles are given out for files only.
            Node::Dir(_) => unreachable!("a directory opened as a file"),
        }
    }

    pub(super) fn content(&self, node: NodeId) -> &[u8] {
        match &self.nodes[node.0] {
            Node::File(content) => &content.seen,
            Node::Dir(_) => &[],
        }
    }

    pub(super) fn write(&mut self, node: NodeId, start: usize, bytes: &[u8]) {
        let content = self.file_mut(node);
        let end = start + bytes.len();
        content.same = content.same.min(start).min(content.seen.len());
        if content.seen.len() < end {
            content.seen.resize(end, 0);
        }
        content.seen[start..end].copy_from_slice(bytes);
    }

    pub(super) fn truncate(&mut self, node: NodeId, len: usize) {
        let content = self.file_mut(node);
        content.same = content.same.min(len).min(content.seen.len());
        content.seen.resize(len, 0);
    }

    pub(super) fn sync(&mut self, node: NodeId) {
        self.file_mut(node).sync();
    }

    pub(super) fn fail_sync(&mut self, node: NodeId) {
        let content = self.file_mut(node);
        let (start, end) = content.dropped.unwrap_or((usize::MAX, 0));
        content.dropped = Some((start.min(content.same), end.max(content.seen.len())));
    }

    pub(super) fn sync_all(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            self.make_durable(&change);
        }
        for node in &mut self.nodes {
            if let Node::File(content) = node {
                content.dropped = None;
                content.sync();
            }
        }
    }

    pub(super) fn after_crash(&self, policy: CrashPolicy) -> Tree {
        let mut random = match policy {
            CrashPolicy::Random(seed) => Some(Random::new(seed)),
            _ => None,
        };
        let mut after = self.clone();
        for mut change in std::mem::take(&mut after.pending) {
            let survives = match (policy, &mut random) {
                (CrashPolicy::KeepAll, _) => true,
                (_, Some(random)) => random.below(2) == 0,
                _ => false,
            };
            if let Some(random) = random.as_mut().filter(|_| change.set.is_some()) {
                // Both names for a moment, as a link and an unlink would give; never none.
                change
                    .unset
                    .take_if(|unset| change.set.as_ref().is_none_or(|s| s.dir != unset.dir) && random.below(4) == 0);
            }
            if survives {
                after.make_durable(&change);
            }
        }
        for node in &mut after.nodes {
            match node {
                Node::Dir(names) => names.seen = names.durable.clone(),
                Node::File(content) => content.crash(policy, random.as_mut()),
            }
        }
        after
    }
}

impl Content {
    fn sync(&mut self) {
        let old = std::mem::take(&mut self.durable);
        self.durable = self.seen.clone();
        if let Some((start, end)) = self.dropped {
            for i in start..end.min(self.durable.len()) {
                self.durable[i] = old.get(i).copied().unwrap_or(0);
            }
        }
        let same = self.dropped.map_or(usize::MAX, |(start, _)| start);
        self.same = self.seen.len().min(same);
    }

    fn crash(&mut self, policy: CrashPolicy, random: Option<&mut Random>) {
        let old = self.durable.clone();
        let same = self.same;
        self.sync();
        let new = std::mem::take(&mut self.durable);
        let found = match (policy, random) {
            (CrashPolicy::KeepAll, _) => new,
            (_, Some(random)) => torn(&old, &new, same, random),
            _ => old,
        };
        *self = Content { seen: found.clone(), same: found.len(), durable: found, dropped: None };
    }
}

/// A mixture of both states: any length between them, and behind the bytes that are the `same` each page from one of
/// them. Where only the new state has bytes, there may be zeros or garbage as well.
fn torn(old: &[u8], new: &[u8], same: usize, random: &mut Random) -> Vec<u8> {
    let len = match random.below(4) {
        0 => old.len(),
        1 => new.len(),
        _ => old.len().min(new.len()) + random.below(old.len().abs_diff(new.len()) as u64 + 1) as usize,
    };
    let mut torn = new[..same.min(len)].to_vec();
    while torn.len() < len {
        let start = torn.len();
        let end = len.min((start / PAGE + 1) * PAGE);
        let kind = random.below(8);
        torn.extend((start..end).map(|i| match (kind, old.get(i), new.get(i)) {
            (0..=2, Some(byte), _) | (_, Some(byte), None) => *byte,
            (0 | 1, None, _) | (_, None, None) => 0,
            (2, None, _) => random.below(256) as u8,
            (_, _, Some(byte)) => *byte,
        }));
    }
    torn
}

struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        random.below(1);
        random
    }

    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The upper bits are the better ones.
        (self.0 >> 11) % n
    }
}
