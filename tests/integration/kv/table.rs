//! What calls on key-value stores answer, whatever is behind them.

use serde_json::{Value, json};

/// Calls, and what each answers: in Redis and in the dry run. An error is shown by a part of it.
pub(super) fn table() -> Vec<(Value, Value)> {
    let error = |part: &str| json!({ "error": part });
    let d = "default";
    vec![
        (json!(["get", d, "a"]), json!(null)),
        (json!(["exists", d, "a"]), json!(false)),
        (json!(["set", d, "a", "1"]), json!(null)),
        (json!(["get", d, "a"]), json!("1")),
        (json!(["exists", d, "a"]), json!(true)),
        (json!(["increment", d, "a", 41]), json!(42)),
        (json!(["increment", d, "n", -3]), json!(-3)),
        (
            json!(["increment", d, "n", i64::MIN]),
            error("does not fit into 64 bits"),
        ),
        (json!(["set", d, "t", "01"]), json!(null)),
        (json!(["increment", d, "t", 1]), error("not an integer")),
        (json!(["set", d, "empty", ""]), json!(null)),
        (json!(["get", d, "empty"]), json!("")),
        (json!(["increment", d, "empty", 1]), error("not an integer")),
        (
            json!(["swap", d, "a", "x"]),
            json!({ "before": "42", "swapped": true }),
        ),
        (
            json!(["swap", d, "new", "x"]),
            json!({ "before": null, "swapped": true }),
        ),
        (
            json!(["stale-swap", d, "new", "y"]),
            json!({ "newer": ["between", true] }),
        ),
        (json!(["get", d, "new"]), json!("y")),
        (json!(["append", d, "list", "a"]), json!(1)),
        (json!(["append", d, "list", "b"]), json!(2)),
        (
            json!(["append", d, "a", "b"]),
            error("value of `a` does not fit"),
        ),
        (
            json!(["keys", d]),
            json!(["a", "empty", "list", "n", "new", "t"]),
        ),
        (
            json!(["get-many", d, ["t", "no", "a", "a"]]),
            json!(["01", null, "x", "x"]),
        ),
        (
            json!(["set-many", d, [["p", "1"], ["q", "2"], ["p", "3"]]]),
            json!(null),
        ),
        (json!(["get-many", d, ["p", "q"]]), json!(["3", "2"])),
        (json!(["delete-many", d, ["p", "q", "no"]]), json!(null)),
        (json!(["delete", d, "no"]), json!(null)),
        (json!(["get-many", d, []]), json!([])),
        (json!(["set-many", d, []]), json!(null)),
        // What another queue's job might take for its own.
        (json!(["set", "rates", "a", "shared"]), json!(null)),
        (json!(["get", d, "a"]), json!("x")),
        (json!(["get", "rates", "a"]), json!("shared")),
        (
            json!(["open", "vault"]),
            error("not in grants.kv of queue `ring`"),
        ),
        (
            json!(["open", "kv-shared"]),
            error("not in grants.kv of queue `ring`"),
        ),
        (json!(["open", ""]), error("cannot be the name of a store")),
        (
            json!(["open", "default:a"]),
            error("cannot be the name of a store"),
        ),
        (
            json!(["open", "{ring}"]),
            error("cannot be the name of a store"),
        ),
        (
            json!(["open", "../default"]),
            error("cannot be the name of a store"),
        ),
        (
            json!(["open", "x".repeat(5000)]),
            error("cannot be the name of a store"),
        ),
        // Keys may be any text.
        (json!(["set", d, "a:b", "1"]), json!(null)),
        (json!(["set", d, "}:x{", "2"]), json!(null)),
        (json!(["set", d, "*", "3"]), json!(null)),
        (json!(["set", d, "\0\n ü", "4"]), json!(null)),
        (
            json!(["get-many", d, ["a:b", "}:x{", "*", "\0\n ü"]]),
            json!(["1", "2", "3", "4"]),
        ),
        (
            json!(["delete-many", d, ["a:b", "}:x{", "*", "\0\n ü"]]),
            json!(null),
        ),
        (json!(["set", d, "", "x"]), error("key is empty")),
        (
            json!(["get", d, "k".repeat(513)]),
            error("key has 513 bytes, more than the limit of 512"),
        ),
        (json!(["get", d, "k".repeat(512)]), json!(null)),
        (
            json!(["increment", d, "k".repeat(100_000), 1]),
            error("more than the limit of 512"),
        ),
        (json!(["swap", d, "", "x"]), error("key is empty")),
        // Limits.
        (
            json!(["fill", d, "big", 101]),
            error("value has 101 bytes, more than the limit of 100 (`grants.kv.value_bytes_max`)"),
        ),
        (
            json!(["swap", d, "big", "x".repeat(101)]),
            error("more than the limit of 100"),
        ),
        (json!(["fill", d, "big", 100]), json!(null)),
        (
            json!(["set-n", d, "n", 1001]),
            error("call names 1001 keys, more than the limit of 1000"),
        ),
        (
            json!(["set-n", d, "m", 14]),
            error("is full: it may have 20 keys (`grants.kv.keys_max`)"),
        ),
        (json!(["set-n", d, "m", 13]), json!(null)),
        (
            json!(["increment", d, "one-more", 1]),
            error("`grants.kv.keys_max`"),
        ),
        (
            json!(["swap", d, "one-more", "1"]),
            error("`grants.kv.keys_max`"),
        ),
        (json!(["set", d, "m1", "replaced"]), json!(null)),
        (json!(["set-n", "rates", "m", 13]), json!(null)),
        (json!(["fill", "rates", "1", 100]), json!(null)),
        (
            json!([
                "set-many",
                "rates",
                [
                    ["2", "x".repeat(100)],
                    ["3", "x".repeat(100)],
                    ["4", "x".repeat(100)],
                    ["5", "x".repeat(100)]
                ]
            ]),
            json!(null),
        ),
        (
            json!([
                "set-many",
                "rates",
                [
                    ["6", "x".repeat(100)],
                    ["2", ""],
                    ["a", "x".repeat(100)],
                    ["m1", "x".repeat(100)],
                    ["m2", "x".repeat(100)],
                    ["m3", "x".repeat(100)],
                    ["m4", "x".repeat(100)]
                ]
            ]),
            error("may have 1000 bytes (`grants.kv.bytes_max`)"),
        ),
        (json!(["get", "rates", "2"]), json!("x".repeat(100))),
        (json!(["delete", "rates", "2"]), json!(null)),
        (json!(["fill", "rates", "6", 100]), json!(null)),
    ]
}

/// Compares what was answered with the table.
pub(super) fn assert_answers(table: &[(Value, Value)], answers: &Value, backend: &str) {
    for ((call, expected), answer) in table.iter().zip(answers.as_array().unwrap()) {
        let what = format!("{backend}: {call} answered {answer}, not {expected}");
        match expected.get("error").and_then(Value::as_str) {
            Some(part) => assert!(
                answer["error"]
                    .as_str()
                    .is_some_and(|said| said.contains(part)),
                "{what}"
            ),
            None => assert_eq!(answer, expected, "{what}"),
        }
    }
}
