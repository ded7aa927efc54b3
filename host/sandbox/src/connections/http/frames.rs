//! Looks at the frames that arrive on a connection of HTTP/2, for interim answers (status 1xx): hyper passes over them there and
//! tells nobody, so a server could send a request nothing else for as long as it likes.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::INTERIM_MAX;

/// RFC 9113, 4.1 and 6.
const HEADER_BYTES: usize = 9;
const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const END_STREAM: u8 = 0x1;

/// Requests that are remembered at once. One that was given up after the head of its answer is never told to be over.
const REQUESTS_MAX: usize = 1_000;

/// Whether the server has sent too many interim answers to a request, which has ended the connection.
#[derive(Clone, Default)]
pub(super) struct OnlyInterim(Arc<AtomicBool>);

impl OnlyInterim {
    pub(super) fn is_so(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A connection of HTTP/2 as it is read.
pub(super) struct Frames<S> {
    stream: S,
    only_interim: OnlyInterim,
    row: Row,
}

/// Where the reader is, and the heads of each answer that has not gone on to its body.
#[derive(Default)]
struct Row {
    header: [u8; HEADER_BYTES],
    /// Bytes of it that have arrived.
    has: usize,
    /// Bytes left of the frame after its header.
    left: usize,
    heads: BTreeMap<u32, u32>,
}

impl<S> Frames<S> {
    pub(super) fn new(stream: S, only_interim: OnlyInterim) -> Self {
        let row = Row::default();
        Frames {
            stream,
            only_interim,
            row,
        }
    }
}

impl Row {
    /// False once an answer has too many heads.
    fn goes_on(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            if self.left > 0 {
                let passed = self.left.min(bytes.len());
                self.left -= passed;
                bytes = &bytes[passed..];
                continue;
            }
            let part = (HEADER_BYTES - self.has).min(bytes.len());
            self.header[self.has..self.has + part].copy_from_slice(&bytes[..part]);
            self.has += part;
            bytes = &bytes[part..];
            if self.has == HEADER_BYTES {
                self.has = 0;
                if !self.begins_frame() {
                    return false;
                }
            }
        }
        true
    }

    fn begins_frame(&mut self) -> bool {
        let [a, b, c, kind, flags, stream @ ..] = self.header;
        self.left = u32::from_be_bytes([0, a, b, c]) as usize;
        let stream = u32::from_be_bytes(stream) & (u32::MAX >> 1);
        match kind {
            HEADERS if flags & END_STREAM == 0 => {
                let heads = self.heads.entry(stream).or_default();
                *heads += 1;
                // The last one is the answer's own.
                let goes_on = *heads <= INTERIM_MAX + 1;
                if self.heads.len() > REQUESTS_MAX {
                    self.heads.pop_first();
                }
                return goes_on;
            }
            HEADERS | DATA | RST_STREAM => drop(self.heads.remove(&stream)),
            _ => {}
        }
        true
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Frames<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        if this.row.goes_on(&buffer.filled()[before..]) {
            return read;
        }
        this.only_interim.0.store(true, Ordering::Release);
        Poll::Ready(Err(io::Error::other("only interim answers arrive")))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Frames<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let head = [&length[..], &[kind, flags], &stream.to_be_bytes()].concat();
        [head, payload.to_vec()].concat()
    }

    fn heads(stream: u32, count: u32) -> Vec<u8> {
        (0..count)
            .flat_map(|_| frame(HEADERS, 4, stream, b"head"))
            .collect()
    }

    #[test]
    fn heads_of_one_answer_are_counted_however_the_bytes_are_cut() {
        for cut in [1, 2, 8, 9, 10, 100, 10_000] {
            let mut row = Row::default();
            // A payload that looks like a head is none.
            let around = [frame(0x4, 0, 0, &heads(1, 9)), heads(1, INTERIM_MAX + 1)].concat();
            assert!(around.chunks(cut).all(|part| row.goes_on(part)), "{cut}");
            let others = [heads(3, INTERIM_MAX + 1), frame(DATA, 0, 3, b"x")].concat();
            assert!(others.chunks(cut).all(|part| row.goes_on(part)), "{cut}");
            assert_eq!(row.heads.len(), 1);
            assert!(!row.goes_on(&heads(1, 1)), "{cut}");
        }
    }

    #[test]
    fn answers_that_are_over_are_forgotten() {
        let ends = [
            frame(HEADERS, END_STREAM, 1, b""),
            frame(RST_STREAM, 0, 1, b"code"),
        ];
        for end in ends {
            let mut row = Row::default();
            assert!(row.goes_on(&[heads(1, 1), end].concat()));
            assert!(row.heads.is_empty());
        }
        // Those that are never told to be over have a bound.
        let mut row = Row::default();
        for stream in 0..5_000 {
            let end = [
                frame(HEADERS, END_STREAM, stream, b""),
                frame(RST_STREAM, 0, stream, b"code"),
            ];
            let end = end.get(stream as usize % 3).cloned().unwrap_or_default();
            assert!(row.goes_on(&[heads(stream, 1), end].concat()));
        }
        assert!(row.heads.len() <= REQUESTS_MAX);
    }
}
