//! What each status means. It is the same on every route, so that it is said once.

use utoipa::openapi::{OpenApi, RefOr};

/// Describes the answers that have no description of their own, which OpenAPI asks for.
pub(super) fn describe(document: &mut OpenApi) {
    for item in document.paths.paths.values_mut() {
        let methods = [
            &mut item.get,
            &mut item.put,
            &mut item.post,
            &mut item.delete,
        ];
        for operation in methods.into_iter().flatten() {
            for (status, answer) in &mut operation.responses.responses {
                if let RefOr::T(answer) = answer
                    && answer.description.is_empty()
                {
                    answer.description = meaning(status).to_owned();
                }
            }
        }
    }
}

fn meaning(status: &str) -> &'static str {
    match status {
        "200" => "Success.",
        "201" => "Created.",
        "204" => "Success, without a body.",
        "400" => "The request is invalid; the message says where.",
        "404" => "There is no such queue, or it has nothing with this name.",
        "409" => "The present state does not allow it, or another change came first.",
        "413" => "The component is larger than `runtime.component_bytes_max`.",
        "422" => "The component is refused; the message says why.",
        "503" => "Redis is unreachable or refuses writes, or the host is too busy: try again.",
        _ => "An error: `{ \"error\": { \"code\", \"message\" } }`.",
    }
}
