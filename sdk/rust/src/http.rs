//! Requests to other servers, as far as `grants.http` of the queue allows them.
//!
//! ```
//! # use toril_sdk::prelude::*;
//! #[derive(Deserialize)]
//! struct Rate {
//!     rate: f64,
//! }
//!
//! fn rate(currency: &str) -> Result<f64, Failure> {
//!     let url = format!("https://rates.example.com/{currency}");
//!     let rate: Rate = http::get(url).send()?.error_for_status()?.json()?;
//!     Ok(rate.rate)
//! }
//! ```
//!
//! Calls block; other jobs go on meanwhile. The host keeps connections open between jobs. A processor that sends no request
//! does not import `wasi:http`.
//!
//! A request follows up to ten [redirects](Request::redirects), and the host judges each of them. Bodies are read and written
//! as a whole, or [in parts](Upload).

mod error;
mod exchange;
mod redirect;
mod request;
mod response;
mod upload;
mod url;

pub use ::http::{HeaderMap, Method, StatusCode};
pub use error::Error;
pub use request::Request;
pub use response::Response;
pub use upload::Upload;

/// Begins a request with the method `GET`.
pub fn get(url: impl AsRef<str>) -> Request {
    request(Method::GET, url)
}

/// Begins a request with the method `POST`.
pub fn post(url: impl AsRef<str>) -> Request {
    request(Method::POST, url)
}

/// Begins a request with the method `PUT`.
pub fn put(url: impl AsRef<str>) -> Request {
    request(Method::PUT, url)
}

/// Begins a request with the method `PATCH`.
pub fn patch(url: impl AsRef<str>) -> Request {
    request(Method::PATCH, url)
}

/// Begins a request with the method `DELETE`.
pub fn delete(url: impl AsRef<str>) -> Request {
    request(Method::DELETE, url)
}

/// Begins a request with the method `HEAD`.
pub fn head(url: impl AsRef<str>) -> Request {
    request(Method::HEAD, url)
}

/// Begins a request. The URL is absolute, with the scheme `http` or `https`; its fragment (after `#`) is not sent.
pub fn request(method: Method, url: impl AsRef<str>) -> Request {
    Request::new(method, url.as_ref())
}
