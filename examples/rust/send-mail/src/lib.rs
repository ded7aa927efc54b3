//! Sends a mail by SMTP. The connection becomes TLS before anything of the mail is sent (`STARTTLS`).
//!
//! Needs `[queues.NAME.grants.tcp] hosts = ["SERVER:587"]`.

use std::io::{self, BufRead, BufReader, Read, Write};

use toril_sdk::net::TcpStream;
use toril_sdk::prelude::*;

#[derive(Deserialize)]
struct Mail {
    server: String,
    #[serde(default = "submission")]
    port: u16,
    from: String,
    to: String,
    subject: String,
    text: String,
}

/// The port that mail is handed in at.
fn submission() -> u16 {
    587
}

#[toril_sdk::processor]
fn process(job: Job) -> Result<Value, Failure> {
    let mail: Mail = job.data()?;
    // A line of its own would be another header, or another command.
    if [&mail.from, &mail.to, &mail.subject]
        .iter()
        .any(|field| field.contains(['\r', '\n']))
    {
        return Err(Failure::unrecoverable(
            "a field of the mail has more than one line",
        ));
    }
    let receipt = send(&mail, &job.id()).map_err(|error| Failure::new(error.to_string()))?;
    Ok(json!({ "receipt": receipt }))
}

fn send(mail: &Mail, id: &str) -> io::Result<String> {
    let mut plain = Dialogue::new(TcpStream::connect(&mail.server, mail.port)?);
    plain.answer(220)?;
    plain.ask("EHLO processor", 250)?;
    plain.ask("STARTTLS", 220)?;
    let mut server = Dialogue::new(plain.into_stream().into_tls(&mail.server)?);
    server.ask("EHLO processor", 250)?;
    server.ask(&format!("MAIL FROM:<{}>", mail.from), 250)?;
    server.ask(&format!("RCPT TO:<{}>", mail.to), 250)?;
    server.ask("DATA", 354)?;
    let receipt = server.ask(&message(mail, id), 250)?;
    server.ask("QUIT", 221)?;
    Ok(receipt)
}

/// Headers and text. The id lets servers drop a mail that a second attempt sends again.
fn message(mail: &Mail, id: &str) -> String {
    let Mail {
        from,
        to,
        subject,
        text,
        ..
    } = mail;
    // A line that begins with a dot gets another one: a dot alone ends the mail.
    let text: Vec<String> = text
        .lines()
        .map(|line| {
            line.strip_prefix('.')
                .map_or(line.into(), |rest| format!("..{rest}"))
        })
        .collect();
    let text = text.join("\r\n");
    format!(
        "From: {from}\r\nTo: {to}\r\nSubject: {subject}\r\nMessage-ID: <{id}@processor>\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n."
    )
}

/// Commands, and answers that begin with a code.
struct Dialogue<S: Read + Write>(BufReader<S>);

impl<S: Read + Write> Dialogue<S> {
    fn new(stream: S) -> Self {
        Dialogue(BufReader::new(stream))
    }

    fn into_stream(self) -> S {
        self.0.into_inner()
    }

    fn ask(&mut self, command: &str, expected: u16) -> io::Result<String> {
        let stream = self.0.get_mut();
        stream.write_all(format!("{command}\r\n").as_bytes())?;
        stream.flush()?;
        self.answer(expected)
    }

    /// The last line of an answer.
    fn answer(&mut self, expected: u16) -> io::Result<String> {
        loop {
            let mut line = String::new();
            // A server that never ends a line is none.
            self.0.by_ref().take(1000).read_line(&mut line)?;
            let line = line.trim_end();
            if !line.starts_with(&expected.to_string()) {
                return Err(io::Error::other(format!("mail server said `{line}`")));
            }
            // `250-` stands before a further line.
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(line.to_owned());
            }
        }
    }
}
