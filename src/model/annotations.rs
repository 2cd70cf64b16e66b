//! Warnings and infos that travel with an answer.

use std::fmt;

/// How much an annotation matters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum AnnotationKind {
    /// The answer may be wrong or incomplete.
    Warning,
    /// The answer is right, but the question may not be what was meant.
    Info,
}

/// One remark about an answer.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Annotation {
    /// Its weight.
    pub kind: AnnotationKind,
    /// The sentence for people.
    pub message: String,
    /// Byte range in the query text that it is about.
    pub position: Option<(u32, u32)>,
    /// The cluster member that it is about.
    pub member: Option<String>,
}

impl fmt::Display for Annotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(member) = &self.member {
            write!(f, "{member}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// A set of remarks, each kept once, in order of first appearance.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Annotations(Vec<Annotation>);

impl Annotations {
    /// No remarks.
    pub fn none() -> Annotations {
        Annotations::default()
    }

    /// Adds a remark unless the same one is there.
    pub fn add(&mut self, annotation: Annotation) {
        if !self.0.contains(&annotation) {
            self.0.push(annotation);
        }
    }

    /// Adds a warning without position or member.
    pub fn warn(&mut self, message: impl Into<String>) {
        self.add(Annotation { kind: AnnotationKind::Warning, message: message.into(), position: None, member: None });
    }

    /// Takes over all remarks of `other`.
    pub fn merge(&mut self, other: Annotations) {
        for annotation in other.0 {
            self.add(annotation);
        }
    }

    /// The remarks of one kind.
    pub fn of(&self, kind: AnnotationKind) -> impl Iterator<Item = &Annotation> {
        self.0.iter().filter(move |a| a.kind == kind)
    }

    /// True if there is no remark.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
