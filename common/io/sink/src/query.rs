//! Reading back by InfluxQL (`/query`), which 1.x, 2.x (by its mapping of databases) and 3.x answer.
//!
//! The answer is streamed in chunks of rows, each handed on as soon as it is complete, so that
//! memory is bounded by a chunk and not by the answer.
//! <https://docs.influxdata.com/influxdb/v1/tools/api/#query-http-endpoint>

use std::collections::BTreeMap;

use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::Value;
use url::form_urlencoded;

use crate::influxdb::{InfluxDb, beginning, endpoint, words_of};

/// Rows in a chunk.
const CHUNK_ROWS: &str = "5000";
/// The largest chunk taken: an answer that is not cut into chunks must not fill the memory.
const CHUNK_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Longer queries go into a body; some proxies refuse long addresses.
const ADDRESS_QUERY_BYTES_MAX: usize = 4096;

/// Rows of one series; a series longer than a chunk comes in several.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Series {
    /// The measurement; empty for some `SHOW` statements.
    #[serde(default)]
    pub name: String,
    /// The tags of `GROUP BY`.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Names of the columns; `time` is in nanoseconds since the epoch.
    pub columns: Vec<String>,
    /// Rows, each with a value a column.
    #[serde(default)]
    pub values: Vec<Vec<Value>>,
}

/// Why a query gave no complete answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The database is away; ask again later.
    #[error("{0}")]
    Unavailable(String),
    /// Credentials, address or database are wrong.
    #[error("{0}")]
    Refused(String),
    /// The database could not answer this query.
    #[error("the database could not answer: {0}")]
    Failed(String),
    /// What came back is not InfluxDB's answer to a query.
    #[error("not an answer to a query: {0}")]
    Malformed(String),
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    results: Vec<StatementResult>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct StatementResult {
    #[serde(default)]
    series: Vec<Series>,
    error: Option<String>,
}

impl InfluxDb {
    /// Runs InfluxQL on the bucket's database and hands on every piece of a series.
    ///
    /// # Errors
    /// Series handed on before the error stand; the rest is missing.
    pub async fn query(
        &self,
        influxql: &str,
        on_series: impl FnMut(Series),
    ) -> Result<(), QueryError> {
        let timeout = self.options().timeout;
        let slow = || QueryError::Unavailable("the answer to the query stopped coming".to_owned());
        let away = |error| QueryError::Unavailable(self.unreachable(error));
        let sent = tokio::time::timeout(timeout, self.query_request(influxql).send());
        let mut response = sent.await.map_err(|_| slow())?.map_err(away)?;
        let status = response.status();
        if !status.is_success() {
            let headers = response.headers().clone();
            let read = tokio::time::timeout(timeout, beginning(response));
            let body = read.await.map_err(|_| slow())?.map_err(away)?;
            let words = self.options().redacted(&words_of(&headers, &body).short());
            return Err(match status {
                StatusCode::BAD_REQUEST => QueryError::Failed(words),
                StatusCode::TOO_MANY_REQUESTS => QueryError::Unavailable(words),
                _ if status.is_server_error() => {
                    QueryError::Unavailable(format!("{status}: {words}"))
                }
                _ => QueryError::Refused(format!(
                    "{status}: {words}; check INFLUXDB_URL, INFLUXDB_BUCKET and the credentials"
                )),
            });
        }
        let mut chunks = Chunks {
            buffer: Vec::new(),
            searched: 0,
            on_series,
        };
        // The deadline is for each piece: a long answer is as good as a short one.
        while let Some(bytes) = tokio::time::timeout(timeout, response.chunk())
            .await
            .map_err(|_| slow())?
            .map_err(away)?
        {
            chunks.push(&bytes)?;
        }
        chunks.end()
    }

    fn query_request(&self, influxql: &str) -> reqwest::RequestBuilder {
        let mut url = endpoint(self.base(), &["query"]);
        let parameters = form_urlencoded::Serializer::new(String::new())
            .append_pair("db", &self.options().bucket)
            .append_pair("epoch", "ns")
            .append_pair("chunked", "true")
            .append_pair("chunk_size", CHUNK_ROWS)
            .append_pair("q", influxql)
            .finish();
        let statement = influxql.trim_start().as_bytes();
        let reads = [b"SELECT".as_slice(), b"SHOW".as_slice()]
            .iter()
            .any(|word| {
                statement
                    .get(..word.len())
                    .is_some_and(|start| start.eq_ignore_ascii_case(word))
            });
        // Statements that change something must be posted.
        if reads && parameters.len() <= ADDRESS_QUERY_BYTES_MAX {
            url.set_query(Some(&parameters));
            return self.authorized(self.client().get(url));
        }
        let request = self.client().post(url);
        let form = "application/x-www-form-urlencoded";
        self.authorized(request.header(CONTENT_TYPE, form).body(parameters))
    }
}

/// Cuts the answer into its JSON objects: one a line, and a line break is never inside one.
struct Chunks<F> {
    buffer: Vec<u8>,
    /// So much of the buffer holds no line break.
    searched: usize,
    on_series: F,
}

impl<F: FnMut(Series)> Chunks<F> {
    fn push(&mut self, bytes: &[u8]) -> Result<(), QueryError> {
        self.buffer.extend_from_slice(bytes);
        let mut start = 0;
        while let Some(length) = memchr::memchr(b'\n', &self.buffer[self.searched.max(start)..]) {
            let end = self.searched.max(start) + length + 1;
            hand_on(&self.buffer[start..end], &mut self.on_series)?;
            start = end;
        }
        self.buffer.drain(..start);
        self.searched = self.buffer.len();
        if self.buffer.len() > CHUNK_BYTES_MAX {
            return Err(QueryError::Malformed(format!(
                "a chunk of over {CHUNK_BYTES_MAX} bytes"
            )));
        }
        Ok(())
    }

    fn end(mut self) -> Result<(), QueryError> {
        hand_on(&self.buffer, &mut self.on_series)
    }
}

fn hand_on(text: &[u8], on_series: &mut impl FnMut(Series)) -> Result<(), QueryError> {
    for chunk in serde_json::Deserializer::from_slice(text).into_iter::<Chunk>() {
        let chunk = chunk.map_err(|error| QueryError::Malformed(error.to_string()))?;
        if let Some(error) = chunk.error {
            return Err(QueryError::Failed(error));
        }
        for result in chunk.results {
            if let Some(error) = result.error {
                return Err(QueryError::Failed(error));
            }
            result.series.into_iter().for_each(&mut *on_series);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&[u8]]) -> (Vec<Series>, Result<(), QueryError>) {
        let mut series = Vec::new();
        let mut chunks = Chunks {
            buffer: Vec::new(),
            searched: 0,
            on_series: |one| series.push(one),
        };
        let result = pieces.iter().try_for_each(|piece| chunks.push(piece));
        let result = result.and_then(|()| chunks.end());
        (series, result)
    }

    #[test]
    fn chunks_are_read_however_the_network_cuts_them() {
        let text = "{\"results\":[{\"statement_id\":0,\"series\":[{\"name\":\"m\",\"tags\":{\"a\":\"b\"},\
                    \"columns\":[\"time\",\"v\"],\"values\":[[1,\"\\n♥\"]],\"partial\":true}],\"partial\":true}]}\n\
                    {\"results\":[{\"series\":[{\"name\":\"m\",\"columns\":[\"time\"],\"values\":[[2]]}]}]}";
        for size in 1..text.len() {
            let pieces: Vec<_> = text.as_bytes().chunks(size).collect();
            let (series, result) = read(&pieces);
            assert_eq!(result, Ok(()));
            assert_eq!(series.len(), 2, "pieces of {size}");
            assert_eq!(series[0].tags["a"], "b");
            assert_eq!(series[0].values[0][1], "\n♥");
            assert_eq!(series[1].values[0][0], 2);
        }
    }

    #[test]
    fn errors_are_errors_wherever_they_stand() {
        for text in [
            "{\"error\":\"why\"}",
            "{\"results\":[{\"statement_id\":0,\"error\":\"why\"}]}",
            "{\"results\":[{\"series\":[{\"columns\":[]}]}]}\n{\"results\":[{\"error\":\"why\"}]}\n",
        ] {
            assert_eq!(
                read(&[text.as_bytes()]).1,
                Err(QueryError::Failed("why".into()))
            );
        }
        for text in ["<html>", "{\"results\":[{\"series\":[{\"columns\":["] {
            assert!(
                matches!(read(&[text.as_bytes()]).1, Err(QueryError::Malformed(_))),
                "{text}"
            );
        }
    }
}
