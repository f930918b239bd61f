//! Effects on the value table, as conditions and expressions that the table itself evaluates: nothing
//! is read before a commit. All effects of a commit on one value become one write of it.
//!
//! An integer that fits 64 bits is a number (`n`), any other JSON is text (`v`).

use super::{
    attributes::{Reader, Wrong, number, text},
    expression::Expression,
    schema::{self, Item, PK},
};
use crate::{
    effect::{Condition, Effect},
    store::rules,
};
use serde_json::Value;
use std::ops::RangeInclusive;

const NUMBER: &str = "n";
const JSON: &str = "v";

/// The key of a value's item.
pub(super) fn key(app: &str, table: &str, key: &str) -> Item {
    schema::key(schema::values(app, table), key)
}

/// The value that an item holds.
pub(super) fn decode(item: &Item) -> Result<Value, Wrong> {
    let of = Reader(item);
    if item.contains_key(NUMBER) {
        return Ok(of.number::<i64>(NUMBER)?.into());
    }
    of.json(JSON)
}

fn attribute(value: &Value) -> (&'static str, aws_sdk_dynamodb::types::AttributeValue) {
    match value.as_i64() {
        Some(n) => (NUMBER, number(n)),
        None => (JSON, text(rules::encoded(value))),
    }
}

/// What is demanded of the value as it stands before the commit.
#[derive(Clone, PartialEq, Debug)]
enum Demand {
    Nothing,
    Present,
    Absent,
    Equals(Value),
    /// An integer of this range, or none where that counts as 0.
    Integer {
        range: RangeInclusive<i128>,
        or_absent: bool,
    },
}

/// What the value is after the effects so far.
#[derive(Clone, PartialEq, Debug)]
enum State {
    /// As it was.
    Untouched,
    /// More by this.
    More(i128),
    /// Whatever it was before.
    Known(Option<Value>),
}

/// One value of the value table within a commit.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    demand: Demand,
    state: State,
}

/// An effect that cannot hold, whatever the value is: nothing of the commit is worth sending.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Contradiction;

/// The write that a draft comes to.
pub(super) enum Write {
    Put(Item),
    Delete,
    Update,
}

impl Draft {
    pub(super) fn new() -> Self {
        Self {
            demand: Demand::Nothing,
            state: State::Untouched,
        }
    }

    /// Adds an effect behind those before it.
    pub(super) fn add(&mut self, effect: &Effect) -> Result<(), Contradiction> {
        let condition = match effect {
            Effect::Put(e) => &e.condition,
            Effect::Add(e) => &e.condition,
            Effect::Delete(e) => &e.condition,
            Effect::Dynamodb(_) | Effect::Sqlite(_) => return Err(Contradiction),
        };
        // Sizes and names, and all where the value is known.
        if let State::Known(current) = &self.state {
            let next = rules::next_value(effect, current.as_ref()).map_err(|_| Contradiction)?;
            self.state = State::Known(next);
            return Ok(());
        }
        if let Some(condition) = condition {
            self.demand(condition)?;
            // What is demanded may say what it is.
            if matches!(self.state, State::Known(_)) {
                return self.add(effect);
            }
        }
        match effect {
            Effect::Put(e) => {
                let unconditional = Effect::put(&e.table, &e.key, e.value.clone());
                let next = rules::next_value(&unconditional, None).map_err(|_| Contradiction)?;
                self.state = State::Known(next);
            }
            Effect::Delete(e) => {
                let unconditional = Effect::delete(&e.table, &e.key);
                rules::next_value(&unconditional, None).map_err(|_| Contradiction)?;
                self.state = State::Known(None);
            }
            Effect::Add(e) => {
                let unconditional = Effect::add(&e.table, &e.key, e.by);
                rules::next_value(&unconditional, None).map_err(|_| Contradiction)?;
                let by = i128::from(e.by);
                let sum = i128::from(i64::MIN)..=i128::from(i64::MAX);
                self.within(sum.start() - by..=sum.end() - by, true)?;
                self.state = State::More(self.more() + by);
            }
            Effect::Dynamodb(_) | Effect::Sqlite(_) => return Err(Contradiction),
        }
        Ok(())
    }

    fn more(&self) -> i128 {
        match self.state {
            State::More(by) => by,
            State::Untouched | State::Known(_) => 0,
        }
    }

    /// Demands of the value as it is now.
    fn demand(&mut self, condition: &Condition) -> Result<(), Contradiction> {
        let is_added_to = matches!(self.state, State::More(_));
        match condition {
            Condition::Exists(true) if is_added_to => Ok(()),
            Condition::Exists(true) => {
                self.demand = match std::mem::replace(&mut self.demand, Demand::Nothing) {
                    Demand::Nothing | Demand::Present => Demand::Present,
                    Demand::Integer { range, .. } => Demand::Integer {
                        range,
                        or_absent: false,
                    },
                    Demand::Absent => return Err(Contradiction),
                    equals @ Demand::Equals(_) => equals,
                };
                Ok(())
            }
            Condition::Exists(false) => {
                if is_added_to || self.demand != Demand::Nothing {
                    return Err(Contradiction);
                }
                self.demand = Demand::Absent;
                self.state = State::Known(None);
                Ok(())
            }
            Condition::Equals(value) => self.equals(value),
            Condition::AtLeast(least) => {
                let most = i128::from(i64::MAX);
                self.within(i128::from(*least)..=most, is_added_to)
            }
        }
    }

    fn equals(&mut self, value: &Value) -> Result<(), Contradiction> {
        let before = match (self.more(), value.as_i64()) {
            _ if !matches!(self.state, State::More(_)) => value.clone(),
            (more, Some(n)) => {
                let n = i64::try_from(i128::from(n) - more).map_err(|_| Contradiction)?;
                if n == 0 {
                    // None counted as 0: both come to what is asked for.
                    return self
                        .within(i128::from(more64(more)?)..=i128::from(more64(more)?), true);
                }
                n.into()
            }
            (_, None) => return Err(Contradiction),
        };
        if let Demand::Integer { range, .. } = &self.demand
            && !before.as_i64().is_some_and(|n| range.contains(&n.into()))
        {
            return Err(Contradiction);
        }
        if self.demand == Demand::Absent {
            return Err(Contradiction);
        }
        self.demand = Demand::Equals(before);
        self.state = State::Known(Some(value.clone()));
        Ok(())
    }

    /// Demands that it is an integer of this range now; `or_absent`: none counts as 0.
    fn within(&mut self, now: RangeInclusive<i128>, or_absent: bool) -> Result<(), Contradiction> {
        let more = self.more();
        let (mut least, mut most) = (now.start() - more, now.end() - more);
        least = least.max(i64::MIN.into());
        most = most.min(i64::MAX.into());
        let mut or_absent = or_absent;
        match &self.demand {
            Demand::Nothing => {}
            Demand::Present => or_absent = false,
            Demand::Integer {
                range,
                or_absent: before,
            } => {
                least = least.max(*range.start());
                most = most.min(*range.end());
                // Once added to, it is there.
                or_absent = *before && (or_absent || matches!(self.state, State::More(_)));
            }
            Demand::Absent | Demand::Equals(_) => return Err(Contradiction),
        }
        if least > most {
            return Err(Contradiction);
        }
        self.demand = Demand::Integer {
            range: least..=most,
            or_absent: or_absent && (least..=most).contains(&0),
        };
        Ok(())
    }

    /// The write, and the expression that it takes.
    pub(super) fn write(&self, key: &Item) -> (Write, Expression) {
        let mut expression = Expression::default();
        let condition = match &self.demand {
            Demand::Nothing => None,
            Demand::Present => Some(expression.exists(PK)),
            Demand::Absent => Some(expression.is_absent(PK)),
            Demand::Equals(value) => {
                let (name, value) = attribute(value);
                Some(expression.compare(name, "=", value))
            }
            Demand::Integer { range, or_absent } => {
                let (least, most) = (
                    expression.value(number(range.start())),
                    expression.value(number(range.end())),
                );
                let within = format!("{} BETWEEN {least} AND {most}", expression.name(NUMBER));
                Some(if *or_absent {
                    format!("{} OR {within}", expression.is_absent(PK))
                } else {
                    within
                })
            }
        };
        if let Some(condition) = condition {
            expression.and(&condition);
        }
        let write = match &self.state {
            State::Known(Some(value)) => {
                let (name, value) = attribute(value);
                let mut item = key.clone();
                item.insert(name.to_owned(), value);
                Write::Put(item)
            }
            State::Known(None) => Write::Delete,
            State::Untouched | State::More(_) => {
                let (zero, by) = (
                    expression.value(number(0)),
                    expression.value(number(self.more())),
                );
                let sum = format!("if_not_exists({}, {zero}) + {by}", expression.name(NUMBER));
                expression.set_to(NUMBER, &sum);
                Write::Update
            }
        };
        (write, expression)
    }
}

fn more64(more: i128) -> Result<i64, Contradiction> {
    i64::try_from(more).map_err(|_| Contradiction)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What a draft makes of a value, as the table would evaluate it.
    fn evaluated(draft: &Draft, value: Option<&Value>) -> Result<Option<Value>, ()> {
        let integer = value.and_then(Value::as_i64).map(i128::from);
        let holds = match &draft.demand {
            Demand::Nothing => true,
            Demand::Present => value.is_some(),
            Demand::Absent => value.is_none(),
            Demand::Equals(wanted) => value == Some(wanted),
            Demand::Integer { range, or_absent } => match (value, integer) {
                (None, _) => *or_absent,
                (Some(_), Some(n)) => range.contains(&n),
                (Some(_), None) => false,
            },
        };
        if !holds {
            return Err(());
        }
        match &draft.state {
            State::Known(value) => Ok(value.clone()),
            State::Untouched => Ok(value.cloned()),
            State::More(by) => {
                let sum = integer.unwrap_or(0) + by;
                Ok(Some(i64::try_from(sum).expect("in range").into()))
            }
        }
    }

    fn effect(rng: &mut fastrand::Rng) -> Effect {
        let n = rng.i64(-3..=3);
        let extreme = [i64::MIN, i64::MAX, i64::MAX - 1, 0];
        let n = if rng.u8(..) < 30 {
            extreme[rng.usize(..4)]
        } else {
            n
        };
        let value = || [json!(n), json!("x"), json!(null), json!(1.5)];
        let effect = match rng.u8(..3) {
            0 => Effect::put("t", "k", value()[rng.usize(..4)].clone()),
            1 => Effect::add("t", "k", n),
            _ => Effect::delete("t", "k"),
        };
        match rng.u8(..5) {
            0 => effect.only_if(Condition::Exists(rng.bool())),
            1 => effect.only_if(Condition::Equals(value()[rng.usize(..4)].clone())),
            2 => effect.only_if(Condition::AtLeast(rng.i64(-3..=3))),
            _ => effect,
        }
    }

    #[test]
    fn one_write_does_what_the_effects_do_one_after_the_other() {
        let seed = std::env::var("LANEKEEPER_TEST_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok())
            .unwrap_or(1);
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut held, mut refused) = (0, 0);
        for _ in 0..200_000 {
            let effects: Vec<Effect> = (0..rng.usize(1..=4)).map(|_| effect(&mut rng)).collect();
            let values = [
                None,
                Some(json!(rng.i64(-4..=4))),
                Some(json!([i64::MIN, i64::MAX][rng.usize(..2)])),
                Some(json!("x")),
                Some(json!(null)),
                Some(json!(1.5)),
            ];
            let before = values[rng.usize(..6)].clone();
            let step = |value: Result<Option<Value>, ()>, effect| {
                value.and_then(|value| rules::next_value(effect, value.as_ref()).map_err(|_| ()))
            };
            let expected = effects.iter().fold(Ok(before.clone()), step);
            let mut draft = Draft::new();
            let drafted = effects.iter().try_for_each(|effect| draft.add(effect));
            let found = match drafted {
                Ok(()) => evaluated(&draft, before.as_ref()),
                Err(Contradiction) => Err(()),
            };
            assert_eq!(
                found, expected,
                "seed {seed}: {before:?} {effects:?} {draft:?}"
            );
            match found {
                Ok(_) => held += 1,
                Err(()) => refused += 1,
            }
        }
        assert!(held > 10_000 && refused > 10_000, "{held} {refused}");
    }
}
