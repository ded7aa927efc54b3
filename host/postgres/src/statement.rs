//! What can be known of a statement from its text, without understanding it: whether it is one that must not be sent, and
//! whether it may leave something in its session.
//!
//! A statement counts as plain if it begins with a word that reads or changes rows and calls nothing but functions that are
//! known to leave nothing. All others count as touching the session: the price of a wrong guess is one reset.

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

/// Words before which a parenthesis is no call.
const SYNTAX: &[&str] = &[
    "all",
    "and",
    "any",
    "array",
    "as",
    "between",
    "by",
    "case",
    "check",
    "conflict",
    "cross",
    "cube",
    "distinct",
    "else",
    "end",
    "except",
    "exists",
    "filter",
    "from",
    "full",
    "group",
    "having",
    "ilike",
    "in",
    "inner",
    "intersect",
    "interval",
    "is",
    "join",
    "key",
    "lateral",
    "left",
    "like",
    "limit",
    "materialized",
    "not",
    "offset",
    "on",
    "or",
    "order",
    "over",
    "partition",
    "returning",
    "right",
    "rollup",
    "row",
    "select",
    "set",
    "sets",
    "similar",
    "some",
    "then",
    "union",
    "using",
    "values",
    "when",
    "where",
    "with",
    "within",
    // Types with a size.
    "bit",
    "char",
    "character",
    "decimal",
    "numeric",
    "time",
    "timestamp",
    "timestamptz",
    "varchar",
    "varying",
];

/// Functions of Postgres that leave nothing in the session.
const FUNCTIONS: &[&str] = &[
    "abs",
    "age",
    "array_agg",
    "array_append",
    "array_cat",
    "array_length",
    "array_position",
    "array_remove",
    "array_to_json",
    "array_to_string",
    "avg",
    "bool_and",
    "bool_or",
    "btrim",
    "cardinality",
    "cast",
    "ceil",
    "ceiling",
    "char_length",
    "clock_timestamp",
    "coalesce",
    "concat",
    "concat_ws",
    "count",
    "cume_dist",
    "date_bin",
    "date_part",
    "date_trunc",
    "decode",
    "dense_rank",
    "encode",
    "every",
    "exp",
    "extract",
    "first_value",
    "floor",
    "format",
    "gen_random_uuid",
    "generate_series",
    "greatest",
    "initcap",
    "json_agg",
    "json_build_array",
    "json_build_object",
    "json_object_agg",
    "jsonb_agg",
    "jsonb_array_elements",
    "jsonb_array_elements_text",
    "jsonb_array_length",
    "jsonb_build_array",
    "jsonb_build_object",
    "jsonb_each",
    "jsonb_each_text",
    "jsonb_object_agg",
    "jsonb_object_keys",
    "jsonb_set",
    "jsonb_strip_nulls",
    "jsonb_typeof",
    "lag",
    "last_value",
    "lead",
    "least",
    "left",
    "length",
    "ln",
    "log",
    "lower",
    "lpad",
    "ltrim",
    "make_date",
    "make_interval",
    "max",
    "md5",
    "min",
    "mod",
    "now",
    "ntile",
    "nullif",
    "octet_length",
    "overlay",
    "percent_rank",
    "percentile_cont",
    "percentile_disc",
    "position",
    "power",
    "rank",
    "regexp_match",
    "regexp_matches",
    "regexp_replace",
    "repeat",
    "replace",
    "reverse",
    "right",
    "round",
    "row_number",
    "row_to_json",
    "rpad",
    "rtrim",
    "sha256",
    "sign",
    "split_part",
    "sqrt",
    "starts_with",
    "statement_timestamp",
    "stddev",
    "strpos",
    "string_agg",
    "string_to_array",
    "substr",
    "substring",
    "sum",
    "to_char",
    "to_date",
    "to_json",
    "to_jsonb",
    "to_number",
    "to_timestamp",
    "to_tsquery",
    "to_tsvector",
    "transaction_timestamp",
    "translate",
    "trim",
    "trunc",
    "ts_rank",
    "unnest",
    "upper",
    "variance",
    "websearch_to_tsquery",
];

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

#[derive(Debug, PartialEq, Eq)]
enum Token {
    /// In lower case.
    Word(String),
    /// A name in quotes.
    Quoted,
    Dot,
    Open,
    Other,
}

/// The tokens of a statement (<https://www.postgresql.org/docs/current/sql-syntax-lexical.html>).
struct Tokens<'a> {
    rest: &'a str,
}

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        self.skip_space();
        let first = self.rest.chars().next()?;
        if is_word_start(first) {
            return Some(self.word());
        }
        match first {
            '"' => {
                self.skip_quoted('"', false);
                return Some(Token::Quoted);
            }
            '\'' => {
                self.skip_quoted('\'', false);
                return Some(Token::Other);
            }
            '$' if self.skip_dollar_quoted() => return Some(Token::Other),
            _ => self.rest = &self.rest[first.len_utf8()..],
        }
        Some(match first {
            '.' => Token::Dot,
            '(' => Token::Open,
            _ => Token::Other,
        })
    }
}

fn is_word_start(character: char) -> bool {
    character.is_ascii_alphabetic() || character == '_' || !character.is_ascii()
}

fn is_word(character: char) -> bool {
    is_word_start(character) || character.is_ascii_digit() || character == '$'
}

/// White space of Postgres, which is not that of Unicode.
const SPACE: [char; 6] = [' ', '\t', '\n', '\r', '\u{b}', '\u{c}'];

impl Tokens<'_> {
    /// Before a statement there may be empty ones.
    fn skip_semicolons(&mut self) {
        self.skip_space();
        while let Some(rest) = self.rest.strip_prefix(';') {
            self.rest = rest;
            self.skip_space();
        }
    }

    fn word(&mut self) -> Token {
        let end = self.rest.find(|character| !is_word(character));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        let word = word.to_ascii_lowercase();
        // Prefixes of strings. With `u&` the quote comes after the other character.
        match &*word {
            "e" if rest.starts_with('\'') => {
                self.skip_quoted('\'', true);
                Token::Other
            }
            _ => Token::Word(word),
        }
    }

    fn skip_space(&mut self) {
        loop {
            self.rest = self.rest.trim_start_matches(SPACE);
            if let Some(comment) = self.rest.strip_prefix("--") {
                self.rest = comment.find(['\n', '\r']).map_or("", |end| &comment[end..]);
            } else if self.rest.starts_with("/*") {
                self.skip_comment();
            } else {
                return;
            }
        }
    }

    /// Such comments nest.
    fn skip_comment(&mut self) {
        let mut depth = 0_usize;
        while !self.rest.is_empty() {
            let step = match self.rest {
                rest if rest.starts_with("/*") => {
                    depth += 1;
                    2
                }
                rest if rest.starts_with("*/") => {
                    depth -= 1;
                    2
                }
                rest => rest.chars().next().map_or(1, char::len_utf8),
            };
            self.rest = &self.rest[step..];
            if depth == 0 {
                return;
            }
        }
    }

    /// A doubled quote ends one string and begins the next, which comes to the same.
    fn skip_quoted(&mut self, quote: char, escapes: bool) {
        let mut characters = self.rest.char_indices().skip(1);
        while let Some((at, character)) = characters.next() {
            if character == quote {
                self.rest = &self.rest[at + 1..];
                return;
            }
            if escapes && character == '\\' {
                characters.next();
            }
        }
        self.rest = "";
    }

    /// `$tag$ … $tag$`; false if it is none.
    fn skip_dollar_quoted(&mut self) -> bool {
        let Some(end) = self.rest[1..].find('$') else {
            return false;
        };
        let tag = &self.rest[..end + 2];
        let name = &tag[1..end + 1];
        let is_tag =
            name.chars().all(is_word) && !name.starts_with(|first: char| first.is_ascii_digit());
        if !is_tag {
            return false;
        }
        let body = &self.rest[tag.len()..];
        self.rest = body.find(tag).map_or("", |end| &body[end + tag.len()..]);
        true
    }
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
