//! Update and condition expressions. Every name goes through a placeholder: many are reserved words.

use super::schema::Item;
use aws_sdk_dynamodb::{
    error::BuildError,
    types::{
        AttributeValue, ConditionCheck, Delete, Put, ReturnValuesOnConditionCheckFailure,
        TransactWriteItem, Update,
    },
};
use std::collections::HashMap;

/// A write of one item and its condition.
#[derive(Clone, Default, Debug)]
pub(super) struct Expression {
    sets: Vec<String>,
    removes: Vec<String>,
    condition: String,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl Expression {
    /// The placeholder of an attribute's name.
    pub(super) fn name(&mut self, name: &str) -> String {
        let placeholder = format!("#{name}");
        self.names.insert(placeholder.clone(), name.to_owned());
        placeholder
    }

    /// A placeholder of a value.
    pub(super) fn value(&mut self, value: AttributeValue) -> String {
        let placeholder = format!(":v{}", self.values.len());
        self.values.insert(placeholder.clone(), value);
        placeholder
    }

    /// Sets an attribute.
    pub(super) fn set(&mut self, name: &str, value: AttributeValue) {
        let set = format!("{} = {}", self.name(name), self.value(value));
        self.sets.push(set);
    }

    /// Sets it to what an expression gives.
    pub(super) fn set_to(&mut self, name: &str, expression: &str) {
        let set = format!("{} = {expression}", self.name(name));
        self.sets.push(set);
    }

    /// Sets it, or removes it.
    pub(super) fn set_or_remove(&mut self, name: &str, value: Option<AttributeValue>) {
        match value {
            Some(value) => self.set(name, value),
            None => {
                let name = self.name(name);
                self.removes.push(name);
            }
        }
    }

    /// `name operator value` as a condition's part.
    pub(super) fn compare(&mut self, name: &str, operator: &str, value: AttributeValue) -> String {
        format!("{} {operator} {}", self.name(name), self.value(value))
    }

    pub(super) fn exists(&mut self, name: &str) -> String {
        format!("attribute_exists({})", self.name(name))
    }

    pub(super) fn is_absent(&mut self, name: &str) -> String {
        format!("attribute_not_exists({})", self.name(name))
    }

    /// The value of an attribute, or its absence.
    pub(super) fn equals(&mut self, name: &str, value: Option<AttributeValue>) -> String {
        match value {
            Some(value) => self.compare(name, "=", value),
            None => self.is_absent(name),
        }
    }

    /// Adds to the condition.
    pub(super) fn and(&mut self, part: &str) {
        if !self.condition.is_empty() {
            self.condition.push_str(" AND ");
        }
        self.condition.push('(');
        self.condition.push_str(part);
        self.condition.push(')');
    }

    /// `SET … REMOVE …`.
    pub(super) fn update_text(&self) -> String {
        let mut text = String::new();
        if !self.sets.is_empty() {
            text.push_str("SET ");
            text.push_str(&self.sets.join(", "));
        }
        if !self.removes.is_empty() {
            text.push_str(" REMOVE ");
            text.push_str(&self.removes.join(", "));
        }
        text
    }

    pub(super) fn condition(&self) -> Option<String> {
        (!self.condition.is_empty()).then(|| self.condition.clone())
    }

    /// `None`, as DynamoDB wants it, where there are none.
    pub(super) fn names(&self) -> Option<HashMap<String, String>> {
        (!self.names.is_empty()).then(|| self.names.clone())
    }

    pub(super) fn values(&self) -> Option<HashMap<String, AttributeValue>> {
        (!self.values.is_empty()).then(|| self.values.clone())
    }

    /// As an update within a transaction.
    pub(super) fn update(&self, table: &str, key: Item) -> Result<TransactWriteItem, BuildError> {
        let update = Update::builder()
            .table_name(table)
            .set_key(Some(key))
            .update_expression(self.update_text())
            .set_condition_expression(self.condition())
            .set_expression_attribute_names(self.names())
            .set_expression_attribute_values(self.values())
            .return_values_on_condition_check_failure(ALL_OLD)
            .build()?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    /// As a write of the whole item within a transaction.
    pub(super) fn put(&self, table: &str, item: Item) -> Result<TransactWriteItem, BuildError> {
        let put = Put::builder()
            .table_name(table)
            .set_item(Some(item))
            .set_condition_expression(self.condition())
            .set_expression_attribute_names(self.names())
            .set_expression_attribute_values(self.values())
            .return_values_on_condition_check_failure(ALL_OLD)
            .build()?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// As a deletion within a transaction.
    pub(super) fn delete(&self, table: &str, key: Item) -> Result<TransactWriteItem, BuildError> {
        let delete = Delete::builder()
            .table_name(table)
            .set_key(Some(key))
            .set_condition_expression(self.condition())
            .set_expression_attribute_names(self.names())
            .set_expression_attribute_values(self.values())
            .return_values_on_condition_check_failure(ALL_OLD)
            .build()?;
        Ok(TransactWriteItem::builder().delete(delete).build())
    }

    /// As a condition alone within a transaction.
    pub(super) fn check(&self, table: &str, key: Item) -> Result<TransactWriteItem, BuildError> {
        let check = ConditionCheck::builder()
            .table_name(table)
            .set_key(Some(key))
            .condition_expression(self.condition.clone())
            .set_expression_attribute_names(self.names())
            .set_expression_attribute_values(self.values())
            .return_values_on_condition_check_failure(ALL_OLD)
            .build()?;
        Ok(TransactWriteItem::builder().condition_check(check).build())
    }
}

/// What stands there when a condition fails.
pub(super) const ALL_OLD: ReturnValuesOnConditionCheckFailure =
    ReturnValuesOnConditionCheckFailure::AllOld;
