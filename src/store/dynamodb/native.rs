//! Native effects: the JSON of DynamoDB's own `TransactWriteItems`, one write each, on the user's
//! tables.

use super::schema::Item;
use crate::effect::{
    Effect,
    target::{Target, table_name},
};
use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, Delete, Put, TransactWriteItem, Update,
};
use aws_smithy_types::Blob;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};
use std::collections::HashMap;

/// Deepest nesting of an attribute's value that DynamoDB takes.
const DEPTH_MAX: usize = 32;

/// A native write that is well formed.
#[derive(Clone, Debug)]
pub(super) struct Native {
    pub(super) write: TransactWriteItem,
    pub(super) target: Target,
}

/// Reads a native effect. `own` is the store's table, which is not the user's to write.
pub(super) fn read(effect: &Effect, own: &str) -> Result<Native, String> {
    let Effect::Dynamodb(write) = effect else {
        return Err("it is no native effect".to_owned());
    };
    let fields = write.as_object().filter(|fields| fields.len() == 1);
    let Some((verb, body)) = fields.and_then(|fields| fields.iter().next()) else {
        return Err(
            "expected an object with exactly one of `Put`, `Update`, `Delete`, `ConditionCheck`"
                .to_owned(),
        );
    };
    let within = |why: String| format!("`{verb}`: {why}");
    let body = Body::of(body).map_err(within)?;
    body.required("TableName").map_err(within)?;
    let target = Target::of(effect).ok_or_else(|| within("it names no item".to_owned()))?;
    if target.table() == table_name(own) {
        return Err(within(format!(
            "table `{own}` is lanekeeper's own: use `put`, `add` or `delete` for its values"
        )));
    }
    let write = match verb.as_str() {
        "Put" => body.put(),
        "Update" => body.update(),
        "Delete" => body.delete(),
        "ConditionCheck" => body.check(),
        other => Err(format!(
            "expected `Put`, `Update`, `Delete` or `ConditionCheck`, found `{other}`"
        )),
    };
    Ok(Native {
        write: write.map_err(within)?,
        target,
    })
}

struct Body<'b>(&'b Map<String, Value>);

impl<'b> Body<'b> {
    fn of(body: &'b Value) -> Result<Self, String> {
        const KNOWN: [&str; 8] = [
            "TableName",
            "Key",
            "Item",
            "UpdateExpression",
            "ConditionExpression",
            "ExpressionAttributeNames",
            "ExpressionAttributeValues",
            "ReturnValuesOnConditionCheckFailure",
        ];
        let fields = body.as_object().ok_or("expected an object")?;
        match fields.keys().find(|name| !KNOWN.contains(&name.as_str())) {
            Some(name) => Err(format!(
                "unknown field `{name}`, expected {}",
                KNOWN.join(", ")
            )),
            None => Ok(Self(fields)),
        }
    }

    fn text(&self, name: &str) -> Result<Option<String>, String> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(format!("`{name}` is no string")),
        }
    }

    fn required(&self, name: &str) -> Result<String, String> {
        self.text(name)?
            .ok_or_else(|| format!("`{name}` is missing"))
    }

    fn item(&self, name: &str) -> Result<Item, String> {
        self.attributes(name)?
            .ok_or_else(|| format!("`{name}` is missing"))
    }

    fn attributes(&self, name: &str) -> Result<Option<Item>, String> {
        let Some(value) = self.0.get(name) else {
            return Ok(None);
        };
        let fields = value
            .as_object()
            .ok_or_else(|| format!("`{name}` is no object"))?;
        let read = |(field, value): (&String, &Value)| {
            let value =
                attribute(value, DEPTH_MAX).map_err(|why| format!("`{name}.{field}`: {why}"))?;
            Ok((field.clone(), value))
        };
        fields.iter().map(read).collect::<Result<_, _>>().map(Some)
    }

    fn names(&self) -> Result<Option<HashMap<String, String>>, String> {
        const NAME: &str = "ExpressionAttributeNames";
        let Some(value) = self.0.get(NAME) else {
            return Ok(None);
        };
        let told = || format!("`{NAME}` is no object of strings");
        let fields = value.as_object().ok_or_else(told)?;
        let read = |(placeholder, name): (&String, &Value)| {
            let name = name.as_str().ok_or_else(told)?;
            Ok((placeholder.clone(), name.to_owned()))
        };
        fields.iter().map(read).collect::<Result<_, _>>().map(Some)
    }

    fn put(&self) -> Result<TransactWriteItem, String> {
        let put = Put::builder()
            .table_name(self.required("TableName")?)
            .set_item(Some(self.item("Item")?))
            .set_condition_expression(self.text("ConditionExpression")?)
            .set_expression_attribute_names(self.names()?)
            .set_expression_attribute_values(self.attributes("ExpressionAttributeValues")?)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    fn update(&self) -> Result<TransactWriteItem, String> {
        let update = Update::builder()
            .table_name(self.required("TableName")?)
            .set_key(Some(self.item("Key")?))
            .update_expression(self.required("UpdateExpression")?)
            .set_condition_expression(self.text("ConditionExpression")?)
            .set_expression_attribute_names(self.names()?)
            .set_expression_attribute_values(self.attributes("ExpressionAttributeValues")?)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    fn delete(&self) -> Result<TransactWriteItem, String> {
        let delete = Delete::builder()
            .table_name(self.required("TableName")?)
            .set_key(Some(self.item("Key")?))
            .set_condition_expression(self.text("ConditionExpression")?)
            .set_expression_attribute_names(self.names()?)
            .set_expression_attribute_values(self.attributes("ExpressionAttributeValues")?)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(TransactWriteItem::builder().delete(delete).build())
    }

    fn check(&self) -> Result<TransactWriteItem, String> {
        let check = ConditionCheck::builder()
            .table_name(self.required("TableName")?)
            .set_key(Some(self.item("Key")?))
            .condition_expression(self.required("ConditionExpression")?)
            .set_expression_attribute_names(self.names()?)
            .set_expression_attribute_values(self.attributes("ExpressionAttributeValues")?)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(TransactWriteItem::builder().condition_check(check).build())
    }
}

/// An attribute's value in DynamoDB's JSON, as the API reference of `AttributeValue` has it.
fn attribute(value: &Value, depth: usize) -> Result<AttributeValue, String> {
    if depth == 0 {
        return Err(format!("nested deeper than {DEPTH_MAX} levels"));
    }
    let fields = value.as_object().filter(|fields| fields.len() == 1);
    let Some((kind, value)) = fields.and_then(|fields| fields.iter().next()) else {
        return Err("expected an object with one type, as `{\"S\": \"text\"}`".to_owned());
    };
    let string = |value: &Value| {
        value
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| format!("`{kind}` wants a string"))
    };
    let blob = |value: &Value| {
        let bytes = STANDARD.decode(string(value)?);
        bytes
            .map(Blob::new)
            .map_err(|error| format!("`{kind}` is not base64: {error}"))
    };
    let list = || {
        value
            .as_array()
            .ok_or_else(|| format!("`{kind}` wants an array"))
    };
    Ok(match kind.as_str() {
        "S" => AttributeValue::S(string(value)?),
        "N" => AttributeValue::N(string(value)?),
        "B" => AttributeValue::B(blob(value)?),
        "BOOL" => AttributeValue::Bool(value.as_bool().ok_or("`BOOL` wants a boolean")?),
        "NULL" => AttributeValue::Null(value.as_bool().ok_or("`NULL` wants a boolean")?),
        "SS" => AttributeValue::Ss(list()?.iter().map(string).collect::<Result<_, _>>()?),
        "NS" => AttributeValue::Ns(list()?.iter().map(string).collect::<Result<_, _>>()?),
        "BS" => AttributeValue::Bs(list()?.iter().map(blob).collect::<Result<_, _>>()?),
        "L" => {
            let items = list()?.iter().map(|item| attribute(item, depth - 1));
            AttributeValue::L(items.collect::<Result<_, _>>()?)
        }
        "M" => {
            let fields = value.as_object().ok_or("`M` wants an object")?;
            let read = |(name, value): (&String, &Value)| {
                Ok::<_, String>((name.clone(), attribute(value, depth - 1)?))
            };
            AttributeValue::M(fields.iter().map(read).collect::<Result<_, _>>()?)
        }
        other => {
            return Err(format!(
                "unknown type `{other}`, expected S, N, B, BOOL, NULL, SS, NS, BS, L or M"
            ));
        }
    })
}
