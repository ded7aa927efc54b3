//! Answers to the requests of a case, and which requests had none.

use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::uri::{Scheme, Uri};
use http::{HeaderName, HeaderValue, Method, Request, Response};
use parking_lot::Mutex;

use super::file::{HttpError, HttpFile};
use toril_sandbox::backend::{HttpAnswer, HttpAnswers};

/// The answers of one case. Those to the same request come in their order; the last one is repeated.
pub(super) struct Answers {
    answers: Vec<Answer>,
    state: Mutex<State>,
    /// Hears of each request, in the order of all calls.
    show: Arc<dyn Fn(String) + Send + Sync>,
}

#[derive(Default)]
struct State {
    /// How often each was given.
    given: Vec<usize>,
    without: Vec<String>,
}

struct Answer {
    method: Method,
    url: Uri,
    answer: HttpAnswer,
}

impl Answers {
    pub(super) fn new(
        files: &[HttpFile],
        show: Arc<dyn Fn(String) + Send + Sync>,
    ) -> anyhow::Result<Self> {
        let answers = files
            .iter()
            .map(|file| Answer::new(file).with_context(|| format!("answer for `{}`", file.url)))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let given = vec![0; answers.len()];
        Ok(Answers {
            answers,
            state: Mutex::new(State {
                given,
                ..State::default()
            }),
            show,
        })
    }

    /// What is wrong with the requests that were made.
    pub(super) fn problems(&self) -> Vec<String> {
        let state = self.state.lock();
        let without = state.without.iter().map(|request| {
            format!("request {request} has no answer\nhint: add `[[http]]` with its `method` and `url` to the case")
        });
        let unused = self.answers.iter().zip(&state.given);
        let unused = unused.filter(|(_, given)| **given == 0);
        let unused = unused.map(|(answer, _)| {
            format!(
                "answer for {} {} was not asked for",
                answer.method, answer.url
            )
        });
        without.chain(unused).collect()
    }
}

impl HttpAnswers for Answers {
    fn answer(&self, _: usize, request: Request<Bytes>) -> HttpAnswer {
        let named = format!("{} {}", request.method(), request.uri());
        (self.show)(shown(&named, request.body()));
        let fits = |answer: &Answer| {
            answer.method == *request.method() && same_url(&answer.url, request.uri())
        };
        let mut state = self.state.lock();
        let fitting = || (0..self.answers.len()).filter(|at| fits(&self.answers[*at]));
        let next = fitting().find(|at| state.given[*at] == 0);
        let Some(at) = next.or_else(|| fitting().last()) else {
            if !state.without.contains(&named) {
                state.without.push(named);
            }
            return HttpAnswer::NoServer;
        };
        state.given[at] += 1;
        self.answers[at].answer.clone()
    }
}

impl Answer {
    fn new(file: &HttpFile) -> anyhow::Result<Self> {
        let url: Uri = file.url.parse().context("`url` is invalid")?;
        anyhow::ensure!(
            url.scheme().is_some() && url.authority().is_some(),
            "`url` must begin with `http://HOST` or `https://HOST`"
        );
        Ok(Answer {
            method: file.method.parse().context("`method` is invalid")?,
            url,
            answer: match file.error {
                Some(HttpError::ConnectionRefused) => HttpAnswer::ConnectionRefused,
                Some(HttpError::Timeout) => HttpAnswer::TimedOut,
                Some(HttpError::NoServer) => HttpAnswer::NoServer,
                None => HttpAnswer::Response(response(file)?),
            },
        })
    }
}

fn response(file: &HttpFile) -> anyhow::Result<Response<Bytes>> {
    let (body, is_json) = file.body()?;
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = file.status.try_into().context("`status` is invalid")?;
    let headers = response.headers_mut();
    if is_json {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    for (name, value) in &file.headers {
        let name: HeaderName = name
            .parse()
            .with_context(|| format!("header `{name}` is invalid"))?;
        let value = HeaderValue::from_str(value);
        headers.insert(
            name.clone(),
            value.with_context(|| format!("header `{name}`"))?,
        );
    }
    Ok(response)
}

/// A request as the other calls are shown.
fn shown(request: &str, body: &[u8]) -> String {
    let mut shown = format!("http({request}");
    match std::str::from_utf8(body) {
        Ok("") => {}
        Ok(text) => shown.extend([", ", text]),
        // Writing to a text cannot fail.
        Err(_) => drop(write!(shown, ", {} bytes", body.len())),
    }
    shown.push(')');
    shown
}

/// True where both name the same: a port that is the scheme's own may be left out, and `/` too.
fn same_url(one: &Uri, other: &Uri) -> bool {
    let parts = |uri: &Uri| {
        let scheme = uri.scheme().cloned();
        let own_port = if scheme == Some(Scheme::HTTPS) {
            443
        } else {
            80
        };
        let host = uri.host().unwrap_or_default().to_ascii_lowercase();
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = if path.starts_with('?') {
            format!("/{path}")
        } else {
            path.to_owned()
        };
        (scheme, host, uri.port_u16().unwrap_or(own_port), path)
    };
    parts(one) == parts(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(toml: &str) -> Answers {
        #[derive(serde::Deserialize)]
        struct File {
            http: Vec<HttpFile>,
        }
        let file: File = toml::from_str(toml).unwrap();
        Answers::new(&file.http, Arc::new(drop)).unwrap()
    }

    fn ask(answers: &Answers, url: &str) -> Option<(u16, Bytes)> {
        let request = Request::get(url).body(Bytes::new()).unwrap();
        match answers.answer(0, request) {
            HttpAnswer::Response(response) => {
                Some((response.status().as_u16(), response.into_body()))
            }
            _ => None,
        }
    }

    #[test]
    fn answers_come_in_order_and_the_last_one_again() {
        let toml = "[[http]]\nurl = \"https://a.example\"\nstatus = 503\n[[http]]\nurl = \"https://a.example/\"\njson = { n = 1 }";
        let answers = answers(toml);
        let url = "https://A.example:443/";
        assert_eq!(ask(&answers, url).unwrap().0, 503);
        for _ in 0..2 {
            assert_eq!(ask(&answers, url), Some((200, Bytes::from("{\"n\":1}"))));
        }
        assert!(answers.problems().is_empty());
    }

    #[test]
    fn requests_without_an_answer_and_answers_without_a_request_are_named() {
        let answers = answers("[[http]]\nmethod = \"POST\"\nurl = \"http://a.example/?x=1\"");
        assert_eq!(ask(&answers, "http://a.example/?x=1"), None);
        let problems = answers.problems();
        assert!(problems[0].starts_with("request GET http://a.example/?x=1 has no answer"));
        assert_eq!(
            problems[1],
            "answer for POST http://a.example/?x=1 was not asked for"
        );
    }
}
