//! Properties of a resource: asked for by name, each with the place that a finding names.

use super::{
    node::{Mark, Node},
    value::{Found, Value, World},
};

/// Where something stands in a template.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    /// Line and column.
    pub mark: Mark,
    /// The resource's logical id.
    pub resource: String,
    /// The property within it: `Properties.Events.Orders.Properties.BatchSize`; empty for the resource.
    pub path: String,
}

/// A value of which nothing is guessed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Known<T> {
    Absent,
    Is(T),
    /// Only known at deployment, or not of the kind that is asked for.
    Unknown,
}

impl<T> Known<T> {
    /// With what AWS takes where nothing is written.
    pub(super) fn or(self, default: T) -> Self {
        match self {
            Self::Absent => Self::Is(default),
            Self::Is(_) | Self::Unknown => self,
        }
    }

    pub(super) fn is(self) -> Option<T> {
        match self {
            Self::Is(value) => Some(value),
            Self::Absent | Self::Unknown => None,
        }
    }

    pub(super) fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown)
    }
}

/// A property, there or not.
#[derive(Clone, Debug)]
pub(super) struct Property<'t> {
    pub(super) found: Found<'t>,
    pub(super) place: Place,
}

impl Property<'_> {
    pub(super) fn is_there(&self) -> bool {
        self.found.is_there()
    }

    fn of<T>(&self, read: impl FnOnce(&str) -> Option<T>) -> Known<T> {
        match &self.found.value {
            Value::Absent => Known::Absent,
            Value::Text(text) => read(text).map_or(Known::Unknown, Known::Is),
            Value::List(_) | Value::Map(_) | Value::Resource { .. } | Value::Unknown { .. } => {
                Known::Unknown
            }
        }
    }

    pub(super) fn number(&self) -> Known<i64> {
        self.of(|text| text.trim().parse().ok())
    }

    pub(super) fn flag(&self) -> Known<bool> {
        self.of(|text| match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Some(true),
            "false" | "no" | "off" => Some(false),
            _ => None,
        })
    }

    pub(super) fn text(&self) -> Known<String> {
        self.of(|text| Some(text.to_owned()))
    }

    /// As people are shown it, with what it comes from.
    pub(super) fn shown(&self) -> String {
        let shown = self.found.shown();
        match &self.found.by {
            Some(by) => format!("{shown} ({by})"),
            None => shown,
        }
    }
}

/// A map of properties; several where one lies over the other (`Globals` of SAM).
#[derive(Clone, Debug)]
pub(super) struct Section<'w, 't> {
    pub(super) world: &'w World<'t>,
    pub(super) place: Place,
    /// Each with its path, the one that wins first.
    layers: Vec<(&'t Node, String)>,
}

impl<'w, 't> Section<'w, 't> {
    /// Nothing, at this place.
    pub(super) fn empty(world: &'w World<'t>, place: Place) -> Self {
        Self {
            world,
            place,
            layers: Vec::new(),
        }
    }

    /// The same with what it lies over.
    pub(super) fn over(mut self, node: Option<&'t Node>, path: &str) -> Self {
        if let Some(node) = node
            && let Value::Map(node) = self.world.resolve(node).value
        {
            self.layers.push((node, path.to_owned()));
        }
        self
    }

    /// A property. One that is not there stands where the map stands.
    pub(super) fn get(&self, name: &str) -> Property<'t> {
        for (layer, path) in &self.layers {
            let Some(entry) = layer.entry(name) else {
                continue;
            };
            let found = self.world.resolve(&entry.value);
            if found.is_there() {
                let mark = found.mark;
                return Property {
                    found,
                    place: self.at(mark, &format!("{path}.{name}")),
                };
            }
        }
        let path = format!("{}.{name}", self.path());
        Property {
            found: Found {
                value: Value::Absent,
                mark: self.place.mark,
                by: None,
            },
            place: self.at(self.place.mark, &path),
        }
    }

    /// A map within this one.
    pub(super) fn section(&self, name: &str) -> Self {
        let outer = self.get(name);
        let mut section = Self::empty(self.world, outer.place);
        for (layer, path) in &self.layers {
            section = section.over(layer.get(name), &format!("{path}.{name}"));
        }
        section
    }

    /// The names in it, the hidden ones left out.
    pub(super) fn names(&self) -> Vec<&'t str> {
        let mut names: Vec<&str> = Vec::new();
        for (layer, _) in &self.layers {
            for entry in layer.entries() {
                if !names.contains(&entry.key.as_str()) {
                    names.push(&entry.key);
                }
            }
        }
        names
    }

    /// The maps of a list.
    pub(super) fn items(&self, name: &str) -> Vec<Self> {
        let list = self.get(name);
        let Value::List(items) = list.found.value else {
            return Vec::new();
        };
        let sections = items.into_iter().enumerate().map(|(index, item)| {
            let path = format!("{}[{index}]", list.place.path);
            let section = Self::empty(self.world, self.at(item.mark, &path));
            match item.value {
                Value::Map(node) => section.over(Some(node), &path),
                Value::Absent
                | Value::Text(_)
                | Value::List(_)
                | Value::Resource { .. }
                | Value::Unknown { .. } => section,
            }
        });
        sections.collect()
    }

    fn path(&self) -> &str {
        { self.layers.first() }.map_or(self.place.path.as_str(), |(_, path)| path)
    }

    fn at(&self, mark: Mark, path: &str) -> Place {
        Place {
            mark,
            resource: self.place.resource.clone(),
            path: path.to_owned(),
        }
    }
}
