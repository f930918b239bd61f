//! What a value of a template comes to in one world: with each condition true or false. What cannot be
//! known stays the expression that it is; nothing is guessed.

use super::{
    node::{Mark, Node, What},
    template::Template,
};
use std::collections::BTreeMap;

/// One way that all conditions can come out.
#[derive(Debug)]
pub(super) struct World<'t> {
    pub(super) template: &'t Template,
    /// Each condition that counts, and those that it names.
    pub(super) truths: BTreeMap<&'t str, bool>,
    /// Parameters of which this world knows more than their defaults; `None`: not the default.
    pub(super) parameters: BTreeMap<&'t str, Option<String>>,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Found<'t> {
    pub(super) value: Value<'t>,
    pub(super) mark: Mark,
    /// Where it is from, if not from where it stands: ``the default of parameter `X` ``.
    pub(super) by: Option<String>,
}

/// What a value comes to.
#[derive(Clone, Debug)]
pub(super) enum Value<'t> {
    /// Not there: `null` or `AWS::NoValue`.
    Absent,
    Text(String),
    List(Vec<Found<'t>>),
    /// A map, whose entries are resolved when they are asked for.
    Map(&'t Node),
    /// A resource of the template, or an attribute of it.
    Resource {
        id: String,
        attribute: Option<String>,
    },
    /// Not known before it is deployed: as it is written, and the resources that stand in it.
    Unknown {
        shown: String,
        refers: Vec<String>,
    },
}

impl<'t> Found<'t> {
    fn new(value: Value<'t>, mark: Mark) -> Self {
        Self {
            value,
            mark,
            by: None,
        }
    }

    /// As it is shown to people, and compared with others.
    pub(super) fn shown(&self) -> String {
        match &self.value {
            Value::Absent => "nothing".to_owned(),
            Value::Text(text) => text.clone(),
            Value::List(items) => {
                let items: Vec<String> = items.iter().map(Self::shown).collect();
                format!("[{}]", items.join(", "))
            }
            Value::Map(node) => node.written(),
            Value::Resource { id, attribute } => match attribute {
                None => format!("!Ref {id}"),
                Some(attribute) => format!("!GetAtt {id}.{attribute}"),
            },
            Value::Unknown { shown, .. } => shown.clone(),
        }
    }

    /// Whether it is there.
    pub(super) fn is_there(&self) -> bool {
        !matches!(self.value, Value::Absent)
    }

    /// The resource that it names, itself or within a text.
    pub(super) fn resource(&self) -> Option<&str> {
        match &self.value {
            Value::Resource { id, .. } => Some(id),
            Value::Unknown { refers, .. } => refers.first().map(String::as_str),
            Value::Absent | Value::Text(_) | Value::List(_) | Value::Map(_) => None,
        }
    }
}

fn unknown<'t>(shown: String, refers: Vec<String>) -> Value<'t> {
    Value::Unknown { shown, refers }
}

impl<'t> World<'t> {
    /// What a value comes to.
    pub(super) fn resolve(&self, node: &'t Node) -> Found<'t> {
        if let Some((name, argument)) = node.call() {
            let mut found = self.call(name, argument, node);
            // Where the branch of an `If` stands says more than where the `If` does.
            if name != "Fn::If" {
                found.mark = node.mark;
            }
            return found;
        }
        let value = match &node.what {
            What::Null => Value::Absent,
            // A dynamic reference is read at deployment.
            What::Scalar(text) if text.contains("{{resolve:") => unknown(text.clone(), Vec::new()),
            What::Scalar(text) => Value::Text(text.clone()),
            What::List(items) => {
                let items = items.iter().map(|item| self.resolve(item));
                Value::List(items.filter(Found::is_there).collect())
            }
            What::Map(_) => Value::Map(node),
        };
        Found::new(value, node.mark)
    }

    fn call(&self, name: &str, argument: &'t Node, whole: &'t Node) -> Found<'t> {
        let mark = whole.mark;
        let found = match name {
            "Ref" => argument.text().map(|id| self.reference(id, mark)),
            "Fn::GetAtt" => self.attribute(argument, mark),
            "Fn::If" => self.branch(argument),
            "Fn::Sub" => self.substituted(argument, mark),
            "Fn::Join" => self.joined(argument, mark),
            "Fn::FindInMap" => self.mapped(argument),
            "Fn::Select" => self.selected(argument),
            _ => None,
        };
        found.unwrap_or_else(|| Found::new(unknown(whole.written(), refers(whole)), mark))
    }

    /// `!Ref id`.
    fn reference(&self, id: &str, mark: Mark) -> Found<'t> {
        let not_known = || Found::new(unknown(format!("!Ref {id}"), Vec::new()), mark);
        if id == "AWS::NoValue" {
            return Found::new(Value::Absent, mark);
        }
        if self.template.named("Resources", id).is_some() {
            let id = id.to_owned();
            let value = Value::Resource {
                id,
                attribute: None,
            };
            return Found::new(value, mark);
        }
        let Some(parameter) = self.template.named("Parameters", id) else {
            return not_known();
        };
        let kind = parameter.get("Type").and_then(Node::text).unwrap_or("");
        let (value, by) = match self.parameters.get(id) {
            Some(Some(value)) => (Some(value.as_str()), format!("parameter `{id}`")),
            Some(None) => (None, String::new()),
            // The default of these names where the value is kept.
            None if kind.starts_with("AWS::SSM::") => (None, String::new()),
            None => {
                let default = parameter.get("Default").map(|node| match &node.what {
                    // `Default:` and `Default: ""` are both the empty text.
                    What::Null => "",
                    What::Scalar(text) => text.as_str(),
                    What::List(_) | What::Map(_) => "",
                });
                (default, format!("the default of parameter `{id}`"))
            }
        };
        let Some(value) = value else {
            return not_known();
        };
        let is_list = kind == "CommaDelimitedList" || kind.starts_with("List<");
        let value = if is_list {
            let items = value.split(',').map(|item| item.trim().to_owned());
            Value::List(
                items
                    .map(|item| Found::new(Value::Text(item), mark))
                    .collect(),
            )
        } else {
            Value::Text(value.to_owned())
        };
        let mut found = Found::new(value, mark);
        found.by = Some(by);
        found
    }

    /// `!GetAtt id.attribute`, also as a list.
    fn attribute(&self, argument: &'t Node, mark: Mark) -> Option<Found<'t>> {
        let (id, attribute) = match (argument.text(), argument.items()) {
            (Some(text), _) => text.split_once('.')?,
            (None, [id, attribute]) => (id.text()?, attribute.text()?),
            (None, _) => return None,
        };
        self.template.named("Resources", id)?;
        let value = Value::Resource {
            id: id.to_owned(),
            attribute: Some(attribute.to_owned()),
        };
        Some(Found::new(value, mark))
    }

    /// `!If [condition, then, else]`.
    fn branch(&self, argument: &'t Node) -> Option<Found<'t>> {
        let [condition, yes, no] = argument.items() else {
            return None;
        };
        let truth = self.truths.get(condition.text()?)?;
        Some(self.resolve(if *truth { yes } else { no }))
    }

    /// `!Sub text`, `!Sub [text, names]`.
    fn substituted(&self, argument: &'t Node, mark: Mark) -> Option<Found<'t>> {
        let (text, names) = match (argument.text(), argument.items()) {
            (Some(text), _) => (text, None),
            (None, [text, names]) => (text.text()?, Some(names)),
            (None, _) => return None,
        };
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            pieces.push(Found::new(Value::Text(before.to_owned()), mark));
            let (name, behind) = after.split_once('}')?;
            pieces.push(match name.strip_prefix('!') {
                Some(literal) => Found::new(Value::Text(format!("${{{literal}}}")), mark),
                None => self.placeholder(name.trim(), names, mark),
            });
            rest = behind;
        }
        pieces.push(Found::new(Value::Text(rest.to_owned()), mark));
        Some(Self::concatenated(pieces, mark, "!Sub "))
    }

    fn placeholder(&self, name: &str, names: Option<&'t Node>, mark: Mark) -> Found<'t> {
        if let Some(node) = names.and_then(|names| names.get(name)) {
            return self.resolve(node);
        }
        if let Some((id, attribute)) = name.split_once('.')
            && self.template.named("Resources", id).is_some()
        {
            let value = Value::Resource {
                id: id.to_owned(),
                attribute: Some(attribute.to_owned()),
            };
            return Found::new(value, mark);
        }
        self.reference(name, mark)
    }

    /// Pieces in a row; one piece alone stays what it is.
    fn concatenated(pieces: Vec<Found<'t>>, mark: Mark, call: &str) -> Found<'t> {
        let is_empty =
            |piece: &Found<'_>| matches!(&piece.value, Value::Text(text) if text.is_empty());
        let mut pieces: Vec<_> = pieces
            .into_iter()
            .filter(|piece| !is_empty(piece))
            .collect();
        if pieces.len() == 1
            && let Some(piece) = pieces.pop()
        {
            return piece;
        }
        let mut text = String::new();
        let mut known = true;
        let mut by = None;
        let mut refers = Vec::new();
        for piece in &pieces {
            match &piece.value {
                Value::Text(part) => text.push_str(part),
                Value::Absent
                | Value::List(_)
                | Value::Map(_)
                | Value::Resource { .. }
                | Value::Unknown { .. } => {
                    known = false;
                    let shown = piece.shown();
                    let name = { shown.strip_prefix("!Ref ") }
                        .or_else(|| shown.strip_prefix("!GetAtt "))
                        .unwrap_or(&shown);
                    text.push_str(&format!("${{{name}}}"));
                    refers.extend(piece.resource().map(str::to_owned));
                }
            }
            by = by.or_else(|| piece.by.clone());
        }
        let value = if known {
            Value::Text(text)
        } else {
            unknown(format!("{call}{text}"), refers)
        };
        let mut found = Found::new(value, mark);
        found.by = by;
        found
    }

    /// `!Join [separator, items]`.
    fn joined(&self, argument: &'t Node, mark: Mark) -> Option<Found<'t>> {
        let [separator, items] = argument.items() else {
            return None;
        };
        let separator = separator.text().unwrap_or("");
        let Value::List(items) = self.resolve(items).value else {
            return None;
        };
        let mut pieces = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                pieces.push(Found::new(Value::Text(separator.to_owned()), mark));
            }
            pieces.push(item);
        }
        Some(Self::concatenated(pieces, mark, "!Sub "))
    }

    /// `!FindInMap [map, key, key]`, where the keys are known.
    fn mapped(&self, argument: &'t Node) -> Option<Found<'t>> {
        let [map, first, second] = argument.items() else {
            return None;
        };
        let text = |node: &'t Node| match self.resolve(node).value {
            Value::Text(text) => Some(text),
            Value::Absent
            | Value::List(_)
            | Value::Map(_)
            | Value::Resource { .. }
            | Value::Unknown { .. } => None,
        };
        let map = self.template.named("Mappings", &text(map)?)?;
        let value = map.get(&text(first)?)?.get(&text(second)?)?;
        // CloudFormation takes no functions in there; one that calls for itself would never end.
        let is_plain = value.call().is_none() && value.items().iter().all(|i| i.text().is_some());
        is_plain.then(|| self.resolve(value))
    }

    /// `!Select [index, items]`.
    fn selected(&self, argument: &'t Node) -> Option<Found<'t>> {
        let [index, items] = argument.items() else {
            return None;
        };
        let index: usize = index.text()?.parse().ok()?;
        let Value::List(items) = self.resolve(items).value else {
            return None;
        };
        items.into_iter().nth(index)
    }
}

/// The resources, or parameters, that a call names.
fn refers(node: &Node) -> Vec<String> {
    let mut names = Vec::new();
    node.walk(&mut |node| {
        if let Some(("Ref" | "Fn::GetAtt", argument)) = node.call()
            && let Some(text) = argument.text()
        {
            let name = text.split('.').next().unwrap_or(text);
            names.push(name.to_owned());
        }
    });
    names
}
