//! How the workers of mode `service` are, by asking each of them now and then.

use ha_http::{Answers, IntakeClient, IntakeError};
use ha_telemetry::Health;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::watch;

/// Between two questions while all is well, and while no worker takes events.
const WELL_INTERVAL: Duration = Duration::from_secs(5);
const AWAY_INTERVAL: Duration = Duration::from_millis(500);

/// What the workers last said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Workers {
    /// Each one's address, and why it takes no events, if so.
    answers: Vec<(String, Result<(), String>)>,
    /// Why there is none to ask.
    unknown: Option<String>,
}

impl Workers {
    fn of(probe: Result<Answers, IntakeError>) -> Self {
        let said = |answer: Result<(), IntakeError>| answer.map_err(|error| error.to_string());
        match probe {
            Ok(answers) => Self {
                answers: answers
                    .into_iter()
                    .map(|(name, a)| (name, said(a)))
                    .collect(),
                unknown: None,
            },
            Err(error) => Self {
                answers: Vec::new(),
                unknown: Some(error.to_string()),
            },
        }
    }

    /// Why none of them takes events; `None` when one does.
    fn away(&self) -> Option<String> {
        if self.answers.iter().any(|(_, answer)| answer.is_ok()) {
            return None;
        }
        let failures = self.answers.iter().filter_map(|(_, a)| a.as_ref().err());
        let failures: Vec<_> = failures.chain(&self.unknown).map(String::as_str).collect();
        Some(failures.join("; "))
    }

    /// For `/status`.
    pub fn status(&self) -> Value {
        let worker = |(address, answer): &(String, Result<(), String>)| match answer {
            Ok(()) => json!({"address": address, "state": "ready"}),
            Err(reason) => json!({"address": address, "state": "away", "reason": reason}),
        };
        let workers: Vec<_> = self.answers.iter().map(worker).collect();
        match &self.unknown {
            None => json!(workers),
            Some(reason) => json!([{"state": "away", "reason": reason}]),
        }
    }
}

/// Asks for as long as somebody wants to know.
pub fn watch_workers(client: IntakeClient) -> watch::Receiver<Workers> {
    let (sender, receiver) = watch::channel(Workers::default());
    tokio::spawn(async move {
        loop {
            let workers = Workers::of(client.probe().await);
            let pause = match workers.away() {
                None => WELL_INTERVAL,
                Some(_) => AWAY_INTERVAL,
            };
            sender.send_if_modified(|before| {
                let changed = *before != workers;
                *before = workers;
                changed
            });
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = sender.closed() => return,
            }
        }
    });
    receiver
}

/// Readiness by the workers: one that takes events is enough.
pub async fn follow_workers(mut workers: watch::Receiver<Workers>, health: Health) {
    let part = "workers";
    health.not_ready(part, "asking them");
    if workers.changed().await.is_ok() {
        let reason = |workers: &Workers| {
            let away = workers.away()?;
            Some(format!(
                "ENRICHMENT_SERVICE_URL: {away}; trying again for ever"
            ))
        };
        health.follow(part, workers, reason).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_worker_that_takes_events_is_enough() {
        let away = || IntakeError::Unavailable("http://b: nobody there".to_owned());
        let both = Workers::of(Ok(vec![
            ("http://a".to_owned(), Ok(())),
            ("http://b".to_owned(), Err(away())),
        ]));
        assert_eq!(both.away(), None);
        assert_eq!(both.status()[1]["reason"], "http://b: nobody there");
        let none = Workers::of(Ok(vec![("http://b".to_owned(), Err(away()))]));
        assert_eq!(none.away().unwrap(), "http://b: nobody there");
        let nameless = Workers::of(Err(IntakeError::Unavailable("no such name".to_owned())));
        assert_eq!(nameless.away().unwrap(), "no such name");
        assert!(Workers::default().away().is_some());
    }
}
