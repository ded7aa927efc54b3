//! Requests of a guest to other servers: `wasi:http` as far as it was granted.
//!
//! Each request is judged by itself, so a redirect that a guest follows is judged like any other: its host must
//! be on the list. Requests of one queue share connections; each new one is judged by the addresses that the name has
//! then, and goes to the address that was looked at. In a test of a processor, answers that were written down take the
//! place of the connection.

mod answers;
mod failures;
mod taped;

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use tokio::time::Instant;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use self::failures::Failures;
use self::taped::Taped;
use super::held::BODY_CHUNK_BYTES;
use super::notes::Notes;
use crate::backend::{HttpAnswers, JobBackend};
use crate::connections::http::{
    Bounded, HttpPool, TOO_LARGE_REQUEST, TOO_LARGE_RESPONSE, Target, Times,
};
use crate::policy::{Grants, HttpGrant, HttpRefusal, Policy, Redactor};
use crate::recording::Tape;

/// Sends the requests of one instance.
pub(crate) struct Outbound(Option<Granted>);

/// What there is where requests were granted.
struct Granted {
    grants: Arc<Grants>,
    pool: Arc<HttpPool>,
    /// For host names in the log: a processor chooses them.
    redactor: Option<Arc<Redactor>>,
    requests_left: u32,
    notes: Notes,
    /// In place of servers.
    answers: Option<Arc<dyn HttpAnswers>>,
    tape: Tape,
    /// Requests that were admitted.
    admitted: usize,
}

impl Outbound {
    pub(crate) fn new(policy: &Policy, backend: &dyn JobBackend, tape: &Tape) -> Self {
        let Policy { grants, .. } = policy;
        let granted = grants.http.as_ref().map(|grant| Granted {
            pool: policy.connections.http(|| grant.settings()),
            grants: Arc::clone(grants),
            redactor: grants.secrets.redactor().cloned(),
            requests_left: grant.requests_max,
            notes: Notes::of(backend, policy),
            answers: backend.http_answers(),
            tape: tape.clone(),
            admitted: 0,
        });
        Outbound(granted)
    }

    /// Begins the next attempt in the same instance.
    pub(crate) fn renew(&mut self, policy: &Policy, backend: &dyn JobBackend) {
        if let Some(granted) = &mut self.0 {
            granted.answers = backend.http_answers();
            (granted.tape, granted.admitted) = (Tape::None, 0);
            granted.requests_left = granted
                .grants
                .http
                .as_ref()
                .map_or(0, |grant| grant.requests_max);
            granted.notes = Notes::of(backend, policy);
        }
    }
}

impl Granted {
    /// Judges a request. What is returned says what becomes of it if it fails.
    fn admit(&mut self, request: &Request<WasiBody>) -> Result<Failures, Error> {
        // What follows it is no HTTP, and nobody could judge it.
        if request.method() == Method::CONNECT {
            return Err(Error::HttpRequestMethodInvalid);
        }
        let shown = |host: &str| match &self.redactor {
            Some(redactor) => redactor.redact(host).into_owned(),
            None => host.to_owned(),
        };
        let target = Target::of(request.uri(), shown).ok_or(Error::HttpRequestUriInvalid)?;
        let failures = Failures {
            notes: self.notes.clone(),
            grants: Arc::clone(&self.grants),
            target: Arc::new(target),
        };
        let grant = self.grants.http.as_ref().ok_or(Error::HttpRequestDenied)?;
        let Some(left) = self.requests_left.checked_sub(1) else {
            return Err(failures.refused(HttpRefusal::Requests));
        };
        self.requests_left = left;
        let Target { host, port, .. } = &*failures.target;
        match grant.admits(host, *port) {
            true => Ok(failures),
            false => Err(failures.refused(HttpRefusal::Host)),
        }
    }
}

/// What is left to do on a connection.
type Rest = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Answer = (Response<WasiBody>, Rest);

impl WasiHttpHooks for Outbound {
    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK_BYTES
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Rest,
    ) -> Box<dyn Future<Output = Result<Answer, Error>> + Send> {
        let Some(granted) = &mut self.0 else {
            return Box::new(std::future::ready(Err(Error::HttpRequestDenied)));
        };
        let admitted = granted.admit(&request);
        let number = granted.admitted;
        let mut taped = None;
        if admitted.is_ok() {
            granted.admitted += 1;
            match &granted.tape {
                Tape::None => {}
                Tape::Record(recorder) => taped = Some(Taped::begin(recorder, &request)),
                Tape::Replay(replay) => {
                    let (line, headers) = taped::head(&request);
                    replay.request(&line, &headers);
                }
            }
        }
        let (grants, pool) = (Arc::clone(&granted.grants), Arc::clone(&granted.pool));
        let answers = granted.answers.clone();
        Box::new(async move {
            let failures = admitted?;
            let target = Arc::clone(&failures.target);
            let grant = grants.http.as_ref().ok_or(Error::HttpRequestDenied)?;
            let request = match &taped {
                Some(taped) => taped.request(request),
                None => request,
            };
            let answer = match answers {
                Some(answers) => answers::send(grant, &*answers, number, request).await,
                None => send(grant, &pool, &target, request, options).await,
            };
            let answer = match answer {
                Ok((response, rest)) => {
                    let body = |body: WasiBody| body.map_err(move |error| failures.told(error));
                    Ok((response.map(|whole| body(whole).boxed_unsync()), rest))
                }
                Err(error) => Err(failures.told(error)),
            };
            match &taped {
                Some(taped) => taped.answer(answer),
                None => answer,
            }
        })
    }
}

async fn send(
    grant: &HttpGrant,
    pool: &Arc<HttpPool>,
    target: &Arc<Target>,
    request: Request<WasiBody>,
    options: Option<RequestOptions>,
) -> Result<Answer, Error> {
    let asked = options.unwrap_or_default();
    let within = |wanted: Option<Duration>, max_ms: u64| {
        let max = Duration::from_millis(max_ms);
        Instant::now() + wanted.map_or(max, |wanted| wanted.min(max))
    };
    let end = within(None, grant.timeout_ms);
    let times = Times {
        connected: within(asked.connect_timeout, grant.connect_timeout_ms).min(end),
        answered: within(asked.first_byte_timeout, grant.timeout_ms),
    };
    let request =
        request.map(|body| Bounded::new(body, grant.request_bytes_max, end, TOO_LARGE_REQUEST));
    let admits = |address| grant.admits_address(address, &target.host);
    let (response, loan) = pool.send(target, request, times, &admits).await?;
    let response = response.map(|body| {
        let body = body.map_err(Error::from);
        let body = Bounded::new(body, grant.response_bytes_max, end, TOO_LARGE_RESPONSE);
        body.holding(loan).boxed_unsync()
    });
    // The connection moves by itself.
    Ok((response, Box::new(std::future::ready(Ok(())))))
}

#[cfg(test)]
mod tests {
    use http::Uri;

    use super::*;
    use crate::policy::{Secret, Secrets};

    #[test]
    fn host_of_a_request_is_shown_without_secrets() {
        let secret = (
            "TOKEN".to_owned(),
            Secret::new("HuNter22".to_owned()).unwrap(),
        );
        let secrets: Secrets = [secret].into_iter().collect();
        let uri = Uri::from_static("http://HuNter22.example.com:8080/");
        let redactor = secrets.redactor().unwrap();
        let target = Target::of(&uri, |host| redactor.redact(host).into_owned()).unwrap();
        assert_eq!(target.host, "hunter22.example.com");
        assert_eq!(target.shown, "***.example.com");
    }
}
