//! Reads a template's text, YAML or JSON, into a tree with places; what is too large or too deep, and
//! what CloudFormation would not read either, is refused by place.

use super::node::{Entry, Mark, Node, What};
use std::collections::HashMap;
use yaml_rust2::{
    parser::{Event, Parser, Tag},
    scanner::{Marker, ScanError, TScalarStyle},
};

/// Most bytes of a template. CloudFormation takes 1 MB.
pub const BYTES_MAX: usize = 4 << 20;
/// Most values, those that aliases repeat included.
const NODES_MAX: usize = 300_000;
/// Most resources. CloudFormation takes 500.
const RESOURCES_MAX: usize = 1_000;
/// How deep values may be nested.
const DEPTH_MAX: usize = 100;

/// Why a template cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}{message}", place(.mark))]
pub struct TemplateError {
    /// Where, if it is one place.
    pub mark: Option<Mark>,
    /// What is wrong, and what is asked.
    pub message: String,
}

fn place(mark: &Option<Mark>) -> String {
    mark.map_or_else(String::new, |mark| {
        format!("line {}, column {}: ", mark.line, mark.column)
    })
}

/// A template: `Resources` and what belongs to them.
#[derive(Debug)]
pub(super) struct Template {
    root: Node,
}

impl Template {
    pub(super) fn read(text: &str) -> Result<Self, TemplateError> {
        if text.len() > BYTES_MAX {
            return Err(refused(
                None,
                format!(
                    "it has {} bytes: at most {BYTES_MAX} are read (CloudFormation takes 1 MB)",
                    text.len()
                ),
            ));
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let json = text.trim_start().starts_with('{').then(|| plain(text));
        let root = Reader::new(json.as_deref().unwrap_or(text)).document()?;
        match root.get("Resources").map(|resources| &resources.what) {
            Some(What::Map(all)) if all.len() > RESOURCES_MAX => {
                let message = format!(
                    "it has {} resources: at most {RESOURCES_MAX} are looked at (CloudFormation takes 500)",
                    all.len()
                );
                Err(refused(None, message))
            }
            Some(What::Map(_)) => Ok(Self { root }),
            Some(What::Null | What::Scalar(_) | What::List(_)) | None => Err(refused(
                Some(root.mark),
                "it is no template of CloudFormation or SAM: there is no map `Resources`"
                    .to_owned(),
            )),
        }
    }

    /// A section such as `Parameters`; nothing where there is none.
    pub(super) fn section(&self, name: &str) -> &[Entry] {
        self.root.get(name).map_or(&[], Node::entries)
    }

    /// The value under a name of a section.
    pub(super) fn named(&self, section: &str, name: &str) -> Option<&Node> {
        self.root.get(section)?.get(name)
    }
}

fn refused(mark: Option<Mark>, message: String) -> TemplateError {
    TemplateError { mark, message }
}

/// JSON writes a character beyond 16 bits as two escapes, which YAML refuses: nothing that is looked at has
/// such, so that as many others stand for them and columns stay.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let length = if is_half(escape) {
            out.push_str("\\uFFFD");
            6
        } else {
            let length = 1 + escape.chars().nth(1).map_or(0, char::len_utf8);
            out.push_str(escape.get(..length).unwrap_or_default());
            length
        };
        rest = escape.get(length..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// Whether text begins with one of two such escapes: `\uD83D`.
fn is_half(escape: &str) -> bool {
    let digits = escape
        .get(..6)
        .and_then(|escape| escape.strip_prefix("\\u"));
    let unit = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok());
    unit.is_some_and(|unit| (0xd800..=0xdfff).contains(&unit))
}

fn mark(marker: &Marker) -> Mark {
    Mark {
        line: marker.line(),
        column: marker.col() + 1,
    }
}

fn unreadable(error: &ScanError) -> TemplateError {
    refused(
        Some(mark(error.marker())),
        format!("it is neither YAML nor JSON: {}", error.info()),
    )
}

struct Reader<'t> {
    parser: Parser<std::str::Chars<'t>>,
    /// Anchored values, each with the number of values in it and how deep it is.
    anchors: HashMap<usize, (Node, usize, usize)>,
    nodes: usize,
}

impl<'t> Reader<'t> {
    fn new(text: &'t str) -> Self {
        Self {
            parser: Parser::new_from_str(text),
            anchors: HashMap::new(),
            nodes: 0,
        }
    }

    fn next(&mut self) -> Result<(Event, Mark), TemplateError> {
        let (event, marker) = { self.parser.next_token() }.map_err(|error| unreadable(&error))?;
        Ok((event, mark(&marker)))
    }

    /// The one document of the text.
    fn document(mut self) -> Result<Node, TemplateError> {
        loop {
            let (event, mark) = self.next()?;
            match event {
                Event::Nothing | Event::StreamStart | Event::DocumentStart => {}
                Event::StreamEnd | Event::DocumentEnd | Event::SequenceEnd | Event::MappingEnd => {
                    return Err(refused(Some(mark), "there is nothing in it".to_owned()));
                }
                event @ (Event::Alias(_)
                | Event::Scalar(..)
                | Event::SequenceStart(..)
                | Event::MappingStart(..)) => {
                    let root = self.node(event, mark, 0)?;
                    self.end()?;
                    return Ok(root);
                }
            }
        }
    }

    fn end(&mut self) -> Result<(), TemplateError> {
        loop {
            let (event, mark) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(()),
                Event::DocumentEnd | Event::Nothing => {}
                Event::StreamStart
                | Event::DocumentStart
                | Event::Alias(_)
                | Event::Scalar(..)
                | Event::SequenceStart(..)
                | Event::SequenceEnd
                | Event::MappingStart(..)
                | Event::MappingEnd => {
                    return Err(refused(
                        Some(mark),
                        "a second document begins here: a template is one".to_owned(),
                    ));
                }
            }
        }
    }

    fn count(&mut self, nodes: usize, mark: Mark) -> Result<(), TemplateError> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > NODES_MAX {
            let message = format!(
                "it has more than {NODES_MAX} values, those that aliases repeat included: nothing that \
                 large is looked at"
            );
            return Err(refused(Some(mark), message));
        }
        Ok(())
    }

    fn node(&mut self, event: Event, mark: Mark, depth: usize) -> Result<Node, TemplateError> {
        if depth > DEPTH_MAX {
            return Err(too_deep(mark));
        }
        let before = self.nodes;
        self.count(1, mark)?;
        let (what, anchor, tag) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == TScalarStyle::Plain && tag.is_none();
                let is_null = plain && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL");
                let what = if is_null {
                    What::Null
                } else {
                    What::Scalar(text)
                };
                (what, anchor, tag)
            }
            Event::SequenceStart(anchor, tag) => (self.list(depth)?, anchor, tag),
            Event::MappingStart(anchor, tag) => (self.map(depth)?, anchor, tag),
            Event::Alias(anchor) => {
                let Some((node, size, height)) = self.anchors.get(&anchor).cloned() else {
                    let message = "an alias of what is not there, or of what it stands in";
                    return Err(refused(Some(mark), message.to_owned()));
                };
                if depth + height > DEPTH_MAX {
                    return Err(too_deep(mark));
                }
                self.count(size, mark)?;
                return Ok(Node { mark, ..node });
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => (What::Null, 0, None),
        };
        let node = tagged(Node { mark, what }, tag.as_ref());
        if anchor > 0 {
            let size = self.nodes - before;
            self.anchors
                .insert(anchor, (node.clone(), size, height(&node)));
            // What is kept takes room as well.
            self.count(size, mark)?;
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<What, TemplateError> {
        let mut items = Vec::new();
        loop {
            let (event, mark) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(What::List(items));
            }
            items.push(self.node(event, mark, depth + 1)?);
        }
    }

    fn map(&mut self, depth: usize) -> Result<What, TemplateError> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen: HashMap<String, usize> = HashMap::new();
        let mut merged = Vec::new();
        loop {
            let (event, mark) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let key = self.node(event, mark, depth + 1)?;
            let (event, at) = self.next()?;
            let value = self.node(event, at, depth + 1)?;
            let key = match key.what {
                What::Scalar(key) => key,
                What::Null => String::new(),
                What::List(_) | What::Map(_) => {
                    let message = "the name of an entry is a list or a map: expected text";
                    return Err(refused(Some(mark), message.to_owned()));
                }
            };
            if key == "<<" {
                merged.push(value);
                continue;
            }
            if let Some(line) = seen.insert(key.clone(), mark.line) {
                let message = format!("`{key}` is there twice, first in line {line}: remove one");
                return Err(refused(Some(mark), message));
            }
            entries.push(Entry { key, mark, value });
        }
        for node in merged {
            let maps = match node.what {
                What::List(items) => items,
                What::Map(_) | What::Scalar(_) | What::Null => vec![node],
            };
            for entry in maps.iter().flat_map(Node::entries) {
                if !seen.contains_key(&entry.key) {
                    seen.insert(entry.key.clone(), entry.mark.line);
                    entries.push(entry.clone());
                }
            }
        }
        Ok(What::Map(entries))
    }
}

fn too_deep(mark: Mark) -> TemplateError {
    let message = format!("values are nested more than {DEPTH_MAX} deep");
    refused(Some(mark), message)
}

fn height(node: &Node) -> usize {
    let items = node.items().iter().map(height);
    let values = node.entries().iter().map(|entry| height(&entry.value));
    items.chain(values).max().map_or(0, |height| height + 1)
}

/// `!GetAtt A.B` as `{Fn::GetAtt: A.B}`; tags of YAML's own (`!!str`) say nothing here.
fn tagged(node: Node, tag: Option<&Tag>) -> Node {
    let name = tag
        .filter(|tag| tag.handle == "!")
        .map(|tag| tag.suffix.as_str());
    let key = match name {
        None | Some("") => return node,
        Some(name @ ("Ref" | "Condition")) => name.to_owned(),
        Some(name) => format!("Fn::{name}"),
    };
    let mark = node.mark;
    let what = What::Map(vec![Entry {
        key,
        mark,
        value: node,
    }]);
    Node { mark, what }
}
