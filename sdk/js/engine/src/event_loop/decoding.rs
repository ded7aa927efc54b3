//! Bodies that a server compressed: `gzip` and `deflate`.
//!
//! A small body may become a large one. It is decoded piece by piece, as the script reads it.

use std::io::{BufRead, Error, ErrorKind, Read, Result};

use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use super::tasks::Problem;

/// How much of a decoded body is read at once.
const PIECE_BYTES: usize = 64 << 10;

/// What decodes a body, as the server says that it is encoded.
pub(super) struct Decoder(State);

enum State {
    /// As it comes.
    Plain,
    /// Nothing has come yet.
    Begins(Coding),
    Decodes(Box<dyn Decodes>),
    /// Of an encoding that nobody asked for.
    Unknown(String),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Coding {
    Gzip,
    Deflate,
}

/// What is to be done next.
pub(super) enum Step {
    /// The script gets this.
    Piece(Vec<u8>),
    /// More has to come from the server.
    NeedsMore,
    End,
}

impl Decoder {
    /// What decodes an answer with these headers.
    pub(super) fn for_answer(headers: &[(String, String)]) -> Self {
        let named = headers.iter();
        let named = named.filter(|(name, _)| name.eq_ignore_ascii_case("content-encoding"));
        let values: Vec<_> = named.map(|(_, value)| value.to_ascii_lowercase()).collect();
        let all = values.join(", ");
        let codings = all.split(',').map(str::trim);
        let codings = codings.filter(|coding| !coding.is_empty() && *coding != "identity");
        Decoder(match *codings.collect::<Vec<_>>() {
            [] => State::Plain,
            ["gzip" | "x-gzip"] => State::Begins(Coding::Gzip),
            ["deflate"] => State::Begins(Coding::Deflate),
            _ => State::Unknown(all),
        })
    }

    /// What can be done without more of the server's bytes.
    pub(super) fn step(&mut self) -> std::result::Result<Step, Problem> {
        let State::Decodes(decoder) = &mut self.0 else {
            return Ok(Step::NeedsMore);
        };
        let mut piece = vec![0; PIECE_BYTES];
        match decoder.read(&mut piece) {
            Ok(0) => Ok(Step::End),
            Ok(count) => {
                piece.truncate(count);
                Ok(Step::Piece(piece))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Step::NeedsMore),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                Err(broken("the compressed body ends in the middle"))
            }
            Err(error) => Err(broken(&format!("the compressed body is invalid: {error}"))),
        }
    }

    /// Takes what came from the server; none at the end.
    pub(super) fn take(&mut self, piece: Option<Vec<u8>>) -> std::result::Result<Step, Problem> {
        match (&mut self.0, piece) {
            (State::Plain, Some(piece)) => Ok(Step::Piece(piece)),
            (State::Plain | State::Begins(_), None) => Ok(Step::End),
            (State::Unknown(encodings), _) => Err(broken(&format!(
                "the body is encoded as `{encodings}`, which `fetch` does not decode; send `accept-encoding: gzip`"
            ))),
            (State::Begins(coding), Some(piece)) => {
                self.0 = State::Decodes(decoder(*coding, piece));
                self.step()
            }
            (State::Decodes(decoder), piece) => {
                decoder.input().take(piece);
                self.step()
            }
        }
    }
}

fn broken(message: &str) -> Problem {
    Problem::new("content-encoding", message)
}

/// `deflate` is what zlib writes; some servers leave its header out. The first byte tells.
fn decoder(coding: Coding, first: Vec<u8>) -> Box<dyn Decodes> {
    let has_header = first.first().is_some_and(|byte| byte & 0x0f == 8);
    let input = Input {
        bytes: first,
        ..Input::default()
    };
    match coding {
        Coding::Gzip => Box::new(MultiGzDecoder::new(input)),
        Coding::Deflate if has_header => Box::new(ZlibDecoder::new(input)),
        Coding::Deflate => Box::new(DeflateDecoder::new(input)),
    }
}

trait Decodes: Read {
    fn input(&mut self) -> &mut Input;
}

impl Decodes for MultiGzDecoder<Input> {
    fn input(&mut self) -> &mut Input {
        self.get_mut()
    }
}

impl Decodes for ZlibDecoder<Input> {
    fn input(&mut self) -> &mut Input {
        self.get_mut()
    }
}

impl Decodes for DeflateDecoder<Input> {
    fn input(&mut self) -> &mut Input {
        self.get_mut()
    }
}

/// What came from the server and is not decoded yet.
#[derive(Default)]
struct Input {
    bytes: Vec<u8>,
    at: usize,
    has_ended: bool,
}

impl Input {
    fn take(&mut self, piece: Option<Vec<u8>>) {
        match piece {
            // The decoder asks for more only after it has read the piece before.
            Some(piece) => (self.bytes, self.at) = (piece, 0),
            None => self.has_ended = true,
        }
    }
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> Result<&[u8]> {
        let left = self.bytes.get(self.at..).unwrap_or_default();
        match left.is_empty() && !self.has_ended {
            true => Err(Error::from(ErrorKind::WouldBlock)),
            false => Ok(left),
        }
    }

    fn consume(&mut self, count: usize) {
        self.at += count;
    }
}

impl Read for Input {
    fn read(&mut self, into: &mut [u8]) -> Result<usize> {
        let count = self.fill_buf()?.read(into)?;
        self.consume(count);
        Ok(count)
    }
}
