//! Requests to the management API of RabbitMQ and to InfluxDB 1.x.

use anyhow::{Context as _, bail};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::Services;
use crate::client::encode;

impl Services {
    /// Creates a virtual host that `guest` may do everything in.
    ///
    /// # Errors
    /// When RabbitMQ cannot be reached or refuses.
    pub async fn create_vhost(&self, name: &str) -> anyhow::Result<()> {
        let vhost = encode(name);
        self.management(Method::PUT, &format!("vhosts/{vhost}"), None)
            .await?;
        let everything = json!({"configure": ".*", "write": ".*", "read": ".*"});
        self.management(
            Method::PUT,
            &format!("permissions/{vhost}/guest"),
            Some(everything),
        )
        .await?;
        Ok(())
    }

    /// Deletes a virtual host with all that is in it.
    ///
    /// # Errors
    /// When RabbitMQ cannot be reached, or there is no such virtual host.
    pub async fn delete_vhost(&self, name: &str) -> anyhow::Result<()> {
        self.management(Method::DELETE, &format!("vhosts/{}", encode(name)), None)
            .await?;
        Ok(())
    }

    /// One call of RabbitMQ's management API as `guest`; `path` is what follows `/api/`.
    /// [`Value::Null`] when the answer has no body.
    ///
    /// # Errors
    /// When RabbitMQ cannot be reached or answers with an error status.
    pub async fn management(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> anyhow::Result<Value> {
        let url = format!("{}/api/{path}", self.rabbitmq_management_url());
        let mut request = self
            .client()
            .request(method, url)
            .basic_auth("guest", Some("guest"));
        if let Some(body) = body {
            request = request.json(&body);
        }
        send(request).await
    }

    /// Creates an InfluxDB database; through the v2 front its name is the bucket's. One that
    /// exists is left as it is.
    ///
    /// # Errors
    /// When InfluxDB cannot be reached or refuses.
    pub async fn create_database(&self, name: &str) -> anyhow::Result<()> {
        self.query("", &format!("CREATE DATABASE {}", quote(name)))
            .await?;
        Ok(())
    }

    /// Deletes an InfluxDB database; one that does not exist is no error.
    ///
    /// # Errors
    /// When InfluxDB cannot be reached or refuses.
    pub async fn delete_database(&self, name: &str) -> anyhow::Result<()> {
        self.query("", &format!("DROP DATABASE {}", quote(name)))
            .await?;
        Ok(())
    }

    /// The answer of InfluxDB 1.x to one InfluxQL statement: the object of `/query` in its
    /// documented shape, times as integer nanoseconds since the epoch.
    ///
    /// # Errors
    /// When InfluxDB cannot be reached, or the statement fails.
    pub async fn query(&self, database: &str, statement: &str) -> anyhow::Result<Value> {
        let url = format!("{}/query", self.influxdb_url());
        // Parameters of a POST may stand in the URL; they are read there as in a form.
        let parameters = format!("?db={}&epoch=ns&q={}", encode(database), encode(statement));
        let answer = send(self.client().post(url + &parameters)).await?;
        if let Some(error) = answer.pointer("/results/0/error") {
            bail!("InfluxDB refuses `{statement}`: {error}");
        }
        Ok(answer)
    }
}

async fn send(request: RequestBuilder) -> anyhow::Result<Value> {
    let response = request.send().await?;
    let (status, url) = (response.status(), response.url().clone());
    let body = response.text().await?;
    if !status.is_success() {
        bail!("{url} answers {status}: {}", body.trim());
    }
    if body.trim().is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(&body).with_context(|| format!("{url} does not answer with JSON"))
}

/// An InfluxQL identifier.
fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::{encode, quote};

    #[test]
    fn names_are_escaped() {
        assert_eq!(encode("/a b_ä"), "%2Fa%20b_%C3%A4");
        assert_eq!(quote(r#"a"b\c"#), r#""a\"b\\c""#);
    }
}
