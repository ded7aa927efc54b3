//! What can be known of a statement from its text, without understanding it: whether it is one that must not be sent, and
//! whether it may leave something in its session.
//!
//! A statement counts as plain if it begins with a word that reads or changes rows and calls nothing but functions that are
//! known to leave nothing. All others count as touching the session: the price of a wrong guess is one reset.

mod tokens;
mod words;

use tokens::{Token, Tokens, is_word_start};
use words::{FUNCTIONS, SYNTAX};

/// A statement, looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement<'a> {
    /// As the user wrote it.
    pub text: &'a str,
    /// What it does to its session.
    pub kind: Kind,
}

/// What a statement does to its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Plain,
    /// It may leave something, or see what others left: settings, locks, temporary tables, prepared statements.
    Touching,
    /// It may leave something that no reset removes.
    Lasting,
    /// It goes back to a savepoint.
    RollbackTo,
    /// It begins or ends a transaction, which the caller does by other means.
    TransactionControl,
    /// It copies rows, for which there is no stream.
    Copy,
    /// It listens, and nobody would hear what is said.
    Listen,
}

impl<'a> Statement<'a> {
    /// Looks at a statement.
    pub fn new(text: &'a str) -> Self {
        let kind = kind_of(text);
        Statement { text, kind }
    }
}

/// Views of the server that show the session or, when they are updated, change it.
const VIEWS_OF_SESSION: &[&str] = &["pg_settings", "pg_prepared_statement", "pg_cursor"];

fn kind_of(text: &str) -> Kind {
    let lower = text.to_ascii_lowercase();
    // Connections to other servers outlive `DISCARD ALL`.
    let touching = match lower.contains("dblink") {
        true => Kind::Lasting,
        false => Kind::Touching,
    };
    // A name can be written in several ways.
    let names_session =
        lower.contains("u&\"") || VIEWS_OF_SESSION.iter().any(|name| lower.contains(name));
    let doubtful = is_doubtful(text);
    let mut words = Tokens { rest: text };
    words.skip_semicolons();
    let Some(Token::Word(first)) = words.next() else {
        return touching;
    };
    match &*first {
        "begin" | "start" | "commit" | "end" | "abort" => return Kind::TransactionControl,
        "rollback" => return rollback(words, doubtful),
        "prepare" if matches!(words.next(), Some(Token::Word(next)) if next == "transaction") => {
            return Kind::TransactionControl;
        }
        "savepoint" | "release" => return Kind::Plain,
        "copy" => return Kind::Copy,
        "listen" => return Kind::Listen,
        "select" | "insert" | "update" | "delete" | "merge" | "with" | "values" | "table" => {}
        _ => return touching,
    }
    let adds = matches!(&*first, "insert" | "merge");
    match !doubtful && !names_session && leaves_nothing(words, adds) {
        true => Kind::Plain,
        false => touching,
    }
}

/// True where Postgres might see other tokens than we do: what a backslash does in a string depends on its prefix, on a setting,
/// and on the string before it; a comment ends at a carriage return, too; characters beyond ASCII go through the encoding of
/// the database; and numbers with letters in them differ between versions.
fn is_doubtful(text: &str) -> bool {
    if text.contains(['\\', '\r']) {
        return true;
    }
    let mut tokens = Tokens { rest: text };
    loop {
        tokens.skip_space();
        let mut ahead = tokens.rest.chars();
        let (first, second) = (ahead.next(), ahead.next());
        let is_number = first.is_some_and(|first| first.is_ascii_digit());
        if is_number && second.is_some_and(is_word_start) {
            return true;
        }
        match tokens.next() {
            None => return false,
            Some(Token::Word(word)) if !word.is_ascii() => return true,
            Some(_) => {}
        }
    }
}

/// To a savepoint it is a statement like others.
fn rollback(words: Tokens<'_>, doubtful: bool) -> Kind {
    let mut words = words.filter_map(|token| match token {
        Token::Word(word) => Some(word),
        _ => None,
    });
    let next = words.find(|word| !matches!(&**word, "work" | "transaction"));
    match next.as_deref() {
        Some("to") if !doubtful => Kind::RollbackTo,
        // `ROLLBACK PREPARED` is of another transaction.
        Some("prepared") => Kind::Touching,
        _ => Kind::TransactionControl,
    }
}

/// `adds`: rows go into a table, whose name a list of columns may follow.
fn leaves_nothing(tokens: Tokens<'_>, adds: bool) -> bool {
    // The word before, and whether it is the name of a table that rows go into.
    let mut name: Option<String> = None;
    let (mut is_target, mut after_into) = (false, false);
    // After a dot, and whether the name is.
    let (mut qualified, mut in_schema) = (false, false);
    for token in tokens {
        match token {
            Token::Word(word) => {
                if word == "into" && !adds {
                    return false;
                }
                is_target = after_into || (is_target && qualified);
                after_into = word == "into";
                in_schema = qualified;
                name = Some(word);
            }
            Token::Quoted => {
                is_target = after_into || (is_target && qualified);
                after_into = false;
                name = Some(String::new());
            }
            Token::Dot => {
                qualified = true;
                continue;
            }
            Token::Open => {
                if let Some(name) = &name
                    && !is_target
                {
                    let known = SYNTAX.contains(&&**name) || FUNCTIONS.contains(&&**name);
                    // In a schema that the statement names it may be any function.
                    if !known || in_schema {
                        return false;
                    }
                }
                (name, is_target, after_into) = (None, false, false);
            }
            Token::Other => (name, is_target, after_into) = (None, false, false),
        }
        qualified = false;
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn assert_kind(kind: Kind, texts: &[&str]) {
        for text in texts {
            assert_eq!(Statement::new(text).kind, kind, "{text}");
        }
    }

    #[test]
    fn reading_and_changing_rows_leaves_nothing() {
        assert_kind(
            Kind::Plain,
            &[
                "select * from orders where id = $1 and total in (1, 2)",
                "-- why\n/* a /* b */ set */ SELECT count(*) FROM t",
                "insert into orders (id, name) values ($1, $2) on conflict (id) do update set name = excluded.name",
                "insert into shop.orders(id) values ($1) returning id",
                r#"insert into "my orders" (id) select id from b where exists (select 1)"#,
                "update t set a = coalesce($1, a)::numeric(10, 2) where now() - made > interval '1 day'",
                "with a as (select 1) select max(x), sum(y) filter (where z) over (partition by q) from a",
                "select 'set_config(1)', $a$ pg_advisory_lock(1) $a$, E'f(1)'",
                "select 'größe', \"größe\" from t where a1 > 10 and b = 1.5",
                ";; select 1;",
                "savepoint a",
            ],
        );
        assert_kind(
            Kind::RollbackTo,
            &[
                "rollback to savepoint a",
                "ROLLBACK WORK TO a",
                ";rollback to a",
            ],
        );
    }

    #[test]
    fn what_may_leave_something_is_told() {
        assert_kind(
            Kind::Touching,
            &[
                "",
                "set role admin",
                "select set_config('a.b', 'c', false)",
                "select pg_advisory_lock(1)",
                "select pg_catalog . \"pg_advisory_lock\" (1)",
                "SELECT/**/set_tenant/**/(1)",
                "select public.count(1)",
                "select public . lower('a')",
                "select * into temp t from orders",
                "select 1 from a join public.f(1) on true",
                "insert into t (a) values (f(1))",
                "insert into t select a.set_config('x')",
                "create temp table t (a int)",
                "prepare a as select 1",
                "execute a",
                "do $$ begin perform 1; end $$",
                "call p()",
                "discard all",
                "deallocate all",
                "rollback prepared 'x'",
                "notify a",
                "select U&\"\\0073et_config\"('a', 'b', false)",
                "select \"lower\"('a')",
                "update pg_settings set setting = 'x' where name = 'search_path'",
                "update \"pg_settings\" set setting = 'x'",
                "declare c cursor with hold for select 1",
                "select * from pg_prepared_statements",
                "select lastval()",
                // Postgres reads these otherwise than it seems.
                "select 1 --\r, set_config('my.a','x',false)\n",
                "select E'a'\n'\\'', set_config('my.a','x',false), ''",
                "select 1 as \u{a0}$a$, set_config('my.a','x',false) -- $a$",
                "select 'a\\', set_config('my.a','x',false), '",
                "select 1e5$a$, 'x$a$, '",
            ],
        );
        assert_kind(
            Kind::Lasting,
            &["select dblink_connect('a')", "do $$ select dblink('') $$"],
        );
    }

    #[test]
    fn what_is_not_carried_out_is_told() {
        assert_kind(
            Kind::TransactionControl,
            &[
                "begin",
                "START TRANSACTION",
                " /* */ commit and chain",
                "end",
                "rollback",
                "rollback work",
                "rollback and chain",
                "abort",
                "prepare transaction 'x'",
                ";commit and chain",
                " ; /* */ ;rollback and chain",
                "--\rcommit and chain\n",
                ";begin",
                "rollback --\r to a",
            ],
        );
        assert_kind(
            Kind::Copy,
            &["copy t from stdin", "COPY (select 1) to stdout"],
        );
        assert_kind(Kind::Listen, &["listen a", ";listen a"]);
    }

    proptest! {
        #[test]
        fn any_text_is_looked_at(text in r#"(select|insert into|[$'"\\/*\-.(); aéeE1\n]|\$a\$){0,30}"#) {
            let _ = Statement::new(&text);
        }
    }
}
