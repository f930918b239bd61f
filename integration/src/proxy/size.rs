//! How DynamoDB counts the bytes of an item.

use serde_json::{Map, Value};

/// Of one item: names and values, in UTF-8.
pub(super) const ITEM_BYTES_MAX: usize = 400 * 1024;

/// Of all items of a transaction.
pub(super) const TRANSACTION_BYTES_MAX: usize = 4 * 1024 * 1024;

const WRITE_UNIT_BYTES: usize = 1024;

/// What each list, map and element of one costs beside its content.
const CONTAINER_BYTES: usize = 3;
const ELEMENT_BYTES: usize = 1;

/// Bytes of an item or a key: attributes by name, each a `{"TYPE": value}`.
pub(super) fn item(attributes: &Map<String, Value>) -> usize {
    attributes
        .iter()
        .map(|(name, attribute)| name.len() + value(attribute))
        .sum()
}

/// Bytes of one `{"TYPE": value}`.
pub(super) fn value(attribute: &Value) -> usize {
    let Some((kind, content)) = attribute.as_object().and_then(|typed| typed.iter().next()) else {
        return 0;
    };
    let elements = content.as_array().map_or(&[][..], Vec::as_slice);
    match kind.as_str() {
        "S" | "N" | "B" => scalar(kind, content),
        "SS" => elements.iter().map(|e| scalar("S", e)).sum(),
        "NS" => elements.iter().map(|e| scalar("N", e)).sum(),
        "BS" => elements.iter().map(|e| scalar("B", e)).sum(),
        "L" => {
            let content: usize = elements.iter().map(|e| ELEMENT_BYTES + value(e)).sum();
            CONTAINER_BYTES + content
        }
        "M" => {
            let entries = content.as_object().into_iter().flatten();
            let content: usize = entries
                .map(|(name, e)| ELEMENT_BYTES + name.len() + value(e))
                .sum();
            CONTAINER_BYTES + content
        }
        // BOOL and NULL.
        _ => 1,
    }
}

fn scalar(kind: &str, content: &Value) -> usize {
    let text = content.as_str().unwrap_or_default();
    match kind {
        "N" => {
            let digits = text.chars().filter(char::is_ascii_digit).count();
            digits.div_ceil(2) + 1 + usize::from(text.starts_with('-'))
        }
        "B" => {
            let padding = text.bytes().rev().take_while(|&byte| byte == b'=').count();
            (text.len() / 4 * 3).saturating_sub(padding)
        }
        _ => text.len(),
    }
}

/// What writing so many bytes costs outside of a transaction.
pub(super) fn write_units(bytes: usize) -> u64 {
    bytes.div_ceil(WRITE_UNIT_BYTES).max(1) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn bytes(attributes: &Value) -> usize {
        item(attributes.as_object().unwrap())
    }

    #[test]
    fn names_and_values_count() {
        assert_eq!(bytes(&json!({"pk": {"S": "grün"}})), 2 + 5);
        assert_eq!(bytes(&json!({"n": {"N": "1234"}})), 1 + 3);
        assert_eq!(bytes(&json!({"n": {"N": "-123"}})), 1 + 4);
        assert_eq!(bytes(&json!({"b": {"B": "AAECAw=="}})), 1 + 4);
        assert_eq!(bytes(&json!({"t": {"BOOL": true}, "u": {"NULL": true}})), 4);
        assert_eq!(bytes(&json!({"s": {"SS": ["ab", "c"]}})), 1 + 3);
    }

    #[test]
    fn containers_cost_something_themselves() {
        assert_eq!(bytes(&json!({"l": {"L": []}})), 1 + 3);
        assert_eq!(bytes(&json!({"l": {"L": [{"S": "ab"}]}})), 1 + 3 + 1 + 2);
        let map = json!({"m": {"M": {"key": {"S": "ab"}}}});
        assert_eq!(bytes(&map), 1 + 3 + 1 + 3 + 2);
    }

    #[test]
    fn a_started_kibibyte_is_a_unit() {
        assert_eq!([0, 1, 1024, 1025].map(write_units), [1, 1, 1, 2]);
    }
}
