//! The checksum that each row carries over its meaningful columns.

use super::Fault;

/// CRC32C over the columns of a row. Every value is preceded by its kind and length, so that no two
/// rows of different values have the same bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct RowChecksum(u32);

impl RowChecksum {
    /// Before the first column.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn append(self, kind: u8, bytes: &[u8]) -> Self {
        let length = (bytes.len() as u64).to_le_bytes();
        let mut sum = crc32c::crc32c_append(self.0, &[kind]);
        sum = crc32c::crc32c_append(sum, &length);
        Self(crc32c::crc32c_append(sum, bytes))
    }

    /// A text column.
    #[must_use]
    pub fn text(self, text: &str) -> Self {
        self.append(b't', text.as_bytes())
    }

    /// A blob column.
    #[must_use]
    pub fn blob(self, bytes: &[u8]) -> Self {
        self.append(b'b', bytes)
    }

    /// An integer column.
    #[must_use]
    pub fn integer(self, n: i64) -> Self {
        self.append(b'i', &n.to_le_bytes())
    }

    /// A column that is null.
    #[must_use]
    pub fn null(self) -> Self {
        self.append(b'n', b"")
    }

    /// A text column, or null.
    #[must_use]
    pub fn text_or_null(self, text: Option<&str>) -> Self {
        text.map_or_else(|| self.null(), |text| self.text(text))
    }

    /// A blob column, or null.
    #[must_use]
    pub fn blob_or_null(self, bytes: Option<&[u8]>) -> Self {
        bytes.map_or_else(|| self.null(), |bytes| self.blob(bytes))
    }

    /// An integer column, or null.
    #[must_use]
    pub fn integer_or_null(self, n: Option<i64>) -> Self {
        n.map_or_else(|| self.null(), |n| self.integer(n))
    }

    /// The value of the `crc` column.
    pub fn finish(self) -> u32 {
        self.0
    }
}

/// Compares a row's checksum with its columns.
///
/// # Errors
/// [`Fault::Damaged`], naming the table and the row's key.
pub fn check_row(
    table: &str,
    key: impl std::fmt::Display,
    stored: u32,
    columns: RowChecksum,
) -> Result<(), Fault> {
    let computed = columns.finish();
    if stored == computed {
        return Ok(());
    }
    Err(Fault::Damaged(format!(
        "table `{table}`, row `{key}`: its checksum is {stored:08x}, its columns give {computed:08x}: restore the file from a copy"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_neighbouring_columns_are_told_apart() {
        let sum = |a, b| RowChecksum::new().text(a).text(b).finish();
        assert_ne!(sum("ab", "c"), sum("a", "bc"));
        assert_ne!(
            RowChecksum::new().text("a").finish(),
            RowChecksum::new().blob(b"a").finish()
        );
        assert_ne!(
            RowChecksum::new().text_or_null(None).finish(),
            RowChecksum::new().text_or_null(Some("")).finish()
        );
    }

    #[test]
    fn a_mismatch_names_table_and_row() {
        let columns = RowChecksum::new().integer(7).blob_or_null(Some(b"x"));
        assert_eq!(check_row("lanes", "a/0", columns.finish(), columns), Ok(()));
        let error = check_row("lanes", "a/0", 1, columns).expect_err("differs");
        assert!(
            error.to_string().contains("table `lanes`, row `a/0`"),
            "{error}"
        );
    }
}
