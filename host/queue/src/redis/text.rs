//! Text in replies. Redis stores bytes, and producers write what they like: Node reads what is not UTF-8 as U+FFFD, and
//! so does all of this crate. Values of key-value stores and recordings are bytes, and are read without this; so are the
//! indices of both, which only Toril writes.

use redis::aio::ConnectionLike;
use redis::{Cmd, FromRedisValue, ParsingError, Pipeline, Value};

use super::connection::Redis;

/// Bytes as text.
pub(crate) fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        // Slower by ten times, also where there is nothing to replace.
        Err(_) => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// Reads a reply with text in it: no bytes can make it unreadable.
pub(crate) fn read<T: FromRedisValue>(reply: Value) -> Result<T, ParsingError> {
    redis::from_redis_value(readable(reply))
}

/// What can be asked: a command, or several in a row.
pub(crate) trait Question {
    async fn ask(&self, connection: &mut (impl ConnectionLike + Send))
    -> redis::RedisResult<Value>;
}

impl Question for Cmd {
    async fn ask(
        &self,
        connection: &mut (impl ConnectionLike + Send),
    ) -> redis::RedisResult<Value> {
        self.query_async(connection).await
    }
}

impl Question for Pipeline {
    async fn ask(
        &self,
        connection: &mut (impl ConnectionLike + Send),
    ) -> redis::RedisResult<Value> {
        self.query_async(connection).await
    }
}

impl Redis {
    /// Sends a command whose reply has text in it, and reads that.
    pub(crate) async fn ask<T: FromRedisValue>(
        &self,
        question: &impl Question,
    ) -> Result<T, redis::RedisError> {
        Ok(read(question.ask(&mut self.shared()).await?)?)
    }
}

fn readable(reply: Value) -> Value {
    let all = |values: Vec<Value>| values.into_iter().map(readable).collect();
    match reply {
        Value::BulkString(bytes) => Value::BulkString(
            String::from_utf8(bytes)
                .unwrap_or_else(|error| text(error.as_bytes()))
                .into_bytes(),
        ),
        Value::Array(values) => Value::Array(all(values)),
        Value::Set(values) => Value::Set(all(values)),
        Value::Map(pairs) => Value::Map(
            pairs
                .into_iter()
                .map(|(key, value)| (readable(key), readable(value)))
                .collect(),
        ),
        reply => reply,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_replaced_at_any_depth() {
        let bytes = |bytes: &[u8]| Value::BulkString(bytes.to_vec());
        let pair = || (bytes(b"k\xff"), bytes(b"\xfev"));
        let expected = || BTreeMap::from([("k\u{fffd}".to_owned(), "\u{fffd}v".to_owned())]);
        let map: BTreeMap<String, String> = read(Value::Map(vec![pair()])).unwrap();
        assert_eq!(map, expected());
        let (key, value) = pair();
        let nested = Value::Array(vec![Value::Int(7), Value::Array(vec![key, value])]);
        let (count, map): (u64, BTreeMap<String, String>) = read(nested).unwrap();
        assert_eq!((count, map), (7, expected()));
        let set: Vec<String> = read(Value::Set(vec![bytes(b"\xc3\xa4"), bytes(b"\xc3")])).unwrap();
        assert_eq!(set, ["ä", "\u{fffd}"]);
    }
}
