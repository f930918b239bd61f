//! What a handler's own SQL may do: an authorizer that is asked while such a statement is prepared,
//! and a bound on how long it runs.
//!
//! Both are installed once per connection and act only while the connection's thread runs a
//! handler's statement: installing an authorizer anew would make SQLite prepare all cached
//! statements again.

use super::schema::RESERVED_PREFIXES;
use rusqlite::{
    Connection,
    hooks::{AuthAction, AuthContext, Authorization},
};
use std::cell::{Cell, RefCell};

/// Virtual machine instructions between two looks at the bound.
const LOOK_EVERY: i32 = 100_000;

/// Looks after which a statement is stopped: a hundred million instructions, about a second, during
/// which no other partition commits.
const LOOKS_MAX: u32 = 1_000;

thread_local! {
    /// Whether this thread runs a handler's statement.
    static GUARDING: Cell<bool> = const { Cell::new(false) };
    static LOOKS: Cell<u32> = const { Cell::new(0) };
    /// Why the authorizer said no: SQLite only passes on that it did.
    static DENIED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Makes the connection one on which [`guarded`] guards.
pub(super) fn install(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.authorizer(Some(authorize))?;
    connection.progress_handler(
        LOOK_EVERY,
        Some(|| {
            let looks = LOOKS.get() + 1;
            LOOKS.set(looks);
            GUARDING.get() && looks > LOOKS_MAX
        }),
    )
}

/// Prepares and runs a handler's statement within `run`. Gives the reason beside the result where
/// the statement is not allowed.
pub(super) fn guarded<T>(run: impl FnOnce() -> T) -> (T, Option<String>) {
    struct End;
    impl Drop for End {
        fn drop(&mut self) {
            GUARDING.set(false);
        }
    }
    GUARDING.set(true);
    LOOKS.set(0);
    DENIED.take();
    let end = End;
    let result = run();
    drop(end);
    (result, DENIED.take())
}

fn authorize(context: AuthContext<'_>) -> Authorization {
    if !GUARDING.get() {
        return Authorization::Allow;
    }
    match forbidden(context.action) {
        None => Authorization::Allow,
        Some(why) => {
            DENIED.set(Some(why));
            Authorization::Deny
        }
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "what neither writes a table of ours nor acts on the connection is allowed"
)]
fn forbidden(action: AuthAction<'_>) -> Option<String> {
    let table = match action {
        AuthAction::Insert { table_name }
        | AuthAction::Update { table_name, .. }
        | AuthAction::Delete { table_name }
        | AuthAction::CreateTable { table_name }
        | AuthAction::DropTable { table_name }
        | AuthAction::CreateIndex { table_name, .. }
        | AuthAction::DropIndex { table_name, .. }
        | AuthAction::CreateTrigger { table_name, .. }
        | AuthAction::DropTrigger { table_name, .. }
        | AuthAction::CreateVtable { table_name, .. }
        | AuthAction::DropVtable { table_name, .. } => table_name,
        AuthAction::CreateView { view_name } | AuthAction::DropView { view_name } => view_name,
        AuthAction::Transaction { .. } | AuthAction::Savepoint { .. } => {
            return Some("transactions are the store's".to_owned());
        }
        AuthAction::Attach { .. } | AuthAction::Detach { .. } => {
            return Some("it attaches or detaches a file".to_owned());
        }
        AuthAction::Pragma { pragma_name, .. } => {
            return Some(format!(
                "`PRAGMA {pragma_name}` acts on the store's connection"
            ));
        }
        AuthAction::AlterTable { table_name, .. } => {
            return Some(format!(
                "`ALTER TABLE {table_name}`: change tables before the worker starts"
            ));
        }
        // A temporary table hides one of the same name, for every later statement.
        AuthAction::CreateTempTable { .. }
        | AuthAction::CreateTempIndex { .. }
        | AuthAction::CreateTempTrigger { .. }
        | AuthAction::CreateTempView { .. } => {
            return Some("temporary tables and the like are not kept".to_owned());
        }
        AuthAction::Function {
            function_name: "load_extension",
        } => return Some("`load_extension` is not allowed".to_owned()),
        _ => return None,
    };
    let lower = table.to_ascii_lowercase();
    RESERVED_PREFIXES
        .iter()
        .find(|prefix| lower.starts_with(*prefix))
        .map(|prefix| {
            format!("table `{table}` is lanekeeper's, as are all whose names begin with `{prefix}`")
        })
}
