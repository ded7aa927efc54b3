//! Sends a text to a server that echoes it, over a socket of the standard library.
//!
//! Needs `[queues.NAME.grants.tcp] hosts = ["SERVER:PORT"]`.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use toril_sdk::prelude::*;

#[derive(Deserialize)]
struct Question {
    /// `host:port`
    server: String,
    text: String,
}

#[toril_sdk::processor]
fn process(job: Job) -> Result<Value, Failure> {
    let question: Question = job.data()?;
    let answer = ask(&question).map_err(|error| Failure::new(error.to_string()))?;
    Ok(json!({ "answer": answer }))
}

fn ask(question: &Question) -> std::io::Result<String> {
    let mut server = TcpStream::connect(&question.server)?;
    server.write_all(question.text.as_bytes())?;
    server.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    server.read_to_string(&mut answer)?;
    Ok(answer)
}
