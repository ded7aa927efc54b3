//! How events read for people.

use serde_json::Value;

use crate::cli::output::text_lines;

/// Longer values are cut: a line is to be seen, not to be read.
const VALUE_CHARS_MAX: usize = 500;

/// The lines of an event, the source of an error aside.
pub(super) fn of(queue: &str, event: &str, arguments: &Value) -> Vec<String> {
    let text = |name: &str| arguments[name].as_str().unwrap_or_default();
    let id = format!("{queue}/{}", text("jobId"));
    match event {
        "active" => {
            let job = &arguments["job"];
            let name = job["name"].as_str().unwrap_or_default();
            vec![format!("{id} {name} {}", cut(&job["data"].to_string()))]
        }
        "call" => vec![format!("{id}   {}", cut(text("call")))],
        "completed" => {
            let took = took(&arguments["job"]);
            vec![format!(
                "{id} completed{took}: {}",
                cut(&arguments["result"].to_string())
            )]
        }
        "failed" => failed(&id, arguments),
        "moved" => vec![format!("{id} is {} now", text("to"))],
        "stalled" => vec![format!("{id} stalled, and runs again")],
        "lockLost" => vec![format!("{id} lost its lock, and runs again")],
        "error" => {
            let message = arguments["error"]["message"].as_str().unwrap_or_default();
            text_lines(format_args!("{queue}: error: {message}"))
        }
        "building" => vec![format!("{queue}: reading `{}`", text("file"))],
        "serving" => {
            let took = arguments["tookMs"].as_u64().unwrap_or_default();
            let digest = text("digest").trim_start_matches("sha256:");
            let digest: String = digest.chars().take(12).collect();
            vec![format!(
                "{queue}: serves version {digest}, ready in {took} ms"
            )]
        }
        "refused" => text_lines(format_args!("{queue}: refused: {}", text("reason"))),
        _ => Vec::new(),
    }
}

fn failed(id: &str, arguments: &Value) -> Vec<String> {
    let (job, error) = (&arguments["job"], &arguments["error"]);
    let reason = error["message"].as_str().unwrap_or_default();
    let made = job["attemptsMade"].as_u64().unwrap_or(1);
    let attempts = job["opts"]["attempts"].as_u64().unwrap_or(1).max(1);
    let of_attempts = match attempts {
        1 => String::new(),
        attempts => format!(", attempt {made} of {attempts}"),
    };
    let again = match arguments["final"].as_bool() {
        Some(false) => format!(
            ", again in {} ms",
            job["delay"].as_u64().unwrap_or_default()
        ),
        _ if made < attempts => ", for good".to_owned(),
        _ => String::new(),
    };
    let mut lines = text_lines(format_args!("{id} failed{of_attempts}{again}: {reason}"));
    let stack = error["stack"].as_str().unwrap_or_default();
    let is_repeated = |line: &&str| {
        reason
            .lines()
            .next()
            .is_some_and(|first| line.ends_with(first))
    };
    let stack = stack.lines().filter(|line| !line.trim().is_empty());
    lines.extend(
        stack
            .skip_while(is_repeated)
            .map(|line| format!("  {line}")),
    );
    lines
}

fn took(job: &Value) -> String {
    let (begun, ended) = (job["processedOn"].as_u64(), job["finishedOn"].as_u64());
    match begun.zip(ended) {
        Some((begun, ended)) => format!(" in {} ms", ended.saturating_sub(begun)),
        None => String::new(),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn life_of_a_job_is_read_line_by_line() {
        let job = json!({ "name": "walls", "data": { "walls": 4 }, "processedOn": 1000, "finishedOn": 1012 });
        let lines = |event: &str, arguments: Value| of("paint", event, &arguments).join("\n");
        assert_eq!(
            lines("active", json!({ "jobId": "1", "job": job })),
            r#"paint/1 walls {"walls":4}"#
        );
        assert_eq!(
            lines("call", json!({ "jobId": "1", "call": "log(\"painting\")" })),
            "paint/1   log(\"painting\")"
        );
        assert_eq!(
            lines(
                "completed",
                json!({ "jobId": "1", "job": job, "result": { "cost": 400 } })
            ),
            r#"paint/1 completed in 12 ms: {"cost":400}"#
        );
    }

    #[test]
    fn failure_says_which_attempt_it_was_and_what_comes_next() {
        let failed = |made: u64, attempts: u64, last: bool| {
            let job =
                json!({ "attemptsMade": made, "delay": 50, "opts": { "attempts": attempts } });
            let error =
                json!({ "message": "no paint", "stack": "Error: no paint\n    at paint.ts:3:9" });
            of(
                "paint",
                "failed",
                &json!({ "jobId": "1", "job": job, "error": error, "final": last }),
            )
        };
        let stack = "      at paint.ts:3:9";
        assert_eq!(failed(1, 1, true), ["paint/1 failed: no paint", stack]);
        assert_eq!(
            failed(1, 3, false)[0],
            "paint/1 failed, attempt 1 of 3, again in 50 ms: no paint"
        );
        assert_eq!(
            failed(3, 3, true)[0],
            "paint/1 failed, attempt 3 of 3: no paint"
        );
        assert_eq!(
            failed(1, 3, true)[0],
            "paint/1 failed, attempt 1 of 3, for good: no paint"
        );
    }

    #[test]
    fn long_values_are_cut() {
        let data = "x".repeat(2 * VALUE_CHARS_MAX);
        let line = of(
            "paint",
            "active",
            &json!({ "jobId": "1", "job": { "name": "n", "data": data } }),
        );
        assert!(line[0].chars().count() < VALUE_CHARS_MAX + 50);
    }
}
