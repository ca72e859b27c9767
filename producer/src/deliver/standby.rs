//! One active producer for a home, where a broker can tell: whoever holds the exclusive queue
//! `ha.producer.<instance>` is the active one. A second one takes no events at all until it is its
//! turn: events that two have numbered look like gaps to the audit.

use anyhow::bail;
use ha_broker::ClaimState;
use ha_telemetry::Health;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The name of the queue.
#[must_use]
pub fn queue_of(instance: &str) -> String {
    format!("ha.producer.{instance}")
}

/// The broker may hold on to a connection of our own that broke without a word, until its
/// heartbeats are missed (10 s each, two of them). Another producer is there for longer.
pub const TAKEN_MAX: Duration = Duration::from_secs(60);

const PART: &str = "instance";

/// Waits for this producer's turn; false when `shutdown` comes first. Without an answer of the
/// broker it is its turn: events are spooled until there is one.
pub async fn turn(
    claim: &mut watch::Receiver<ClaimState>,
    instance: &str,
    health: &Health,
    shutdown: &CancellationToken,
) -> bool {
    let mut waiting = false;
    loop {
        match &*claim.borrow_and_update() {
            ClaimState::Asking => {}
            ClaimState::Taken => {
                let reason = taken(instance);
                if !waiting {
                    tracing::warn!(reason, "waiting for its end");
                }
                waiting = true;
                health.not_ready(PART, reason);
            }
            _ => break,
        }
        tokio::select! {
            changed = claim.changed() => if changed.is_err() { break },
            () = shutdown.cancelled() => return false,
        }
    }
    if waiting {
        tracing::info!(instance, "the other producer is gone; this one takes over");
    }
    true
}

/// Watches over an active producer; returns when another one has held its place for this long.
///
/// # Errors
/// Always: why this one has to end.
pub async fn follow(
    mut claim: watch::Receiver<ClaimState>,
    instance: String,
    health: Health,
    taken_max: Duration,
) -> anyhow::Result<()> {
    loop {
        let state = claim.borrow_and_update().clone();
        if state == ClaimState::Taken {
            health.not_ready(PART, taken(&instance));
            let over = claim.wait_for(|state| *state != ClaimState::Taken);
            if tokio::time::timeout(taken_max, over).await.is_err() {
                bail!("{}", taken(&instance));
            }
            continue;
        }
        if let ClaimState::NotAllowed(reason) = &state {
            tracing::warn!(
                reason,
                "a second producer of this home would not be noticed: give the user of AMQP_URL \
                 the permission to configure ^ha\\.producer\\."
            );
        }
        match state {
            // Nothing is published until the broker has said whose turn it is.
            ClaimState::Asking | ClaimState::Unreachable(_) => {
                health.not_ready(PART, asking(&state))
            }
            _ => health.ready(PART),
        }
        if claim.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

fn asking(state: &ClaimState) -> String {
    let why = match state {
        ClaimState::Unreachable(reason) => reason.as_str(),
        _ => "no answer yet",
    };
    format!("whether another producer of this home is active is not known: {why}")
}

fn taken(instance: &str) -> String {
    format!(
        "another producer of INSTANCE_NAME {instance:?} is active at the broker of AMQP_URL; this \
         one takes and publishes nothing until that one ends. Two homes need two names"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_place_that_is_taken_for_long_ends_the_producer_and_a_moment_does_not() {
        let taken_max = Duration::from_millis(400);
        let (state, claim) = watch::channel(ClaimState::Held);
        let health = Health::default();
        let following = tokio::spawn(follow(claim, "home".into(), health.clone(), taken_max));
        let is_said = async |said: bool| {
            while health.reasons().is_empty() == said {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        state.send_replace(ClaimState::Unreachable("AMQP_URL: nobody".into()));
        is_said(true).await;
        assert!(health.reasons()[0].contains("not known: AMQP_URL"));
        state.send_replace(ClaimState::Held);
        is_said(false).await;
        state.send_replace(ClaimState::Taken);
        is_said(true).await;
        assert!(health.reasons()[0].contains("INSTANCE_NAME \"home\""));
        state.send_replace(ClaimState::Held);
        is_said(false).await;
        state.send_replace(ClaimState::Taken);
        let error = following.await.unwrap().unwrap_err();
        assert!(error.to_string().contains("another producer"), "{error}");
    }

    #[tokio::test]
    async fn a_second_producer_waits_and_one_without_a_broker_does_not() {
        let (health, shutdown) = (Health::default(), CancellationToken::new());
        for (state, is_its_turn) in [
            (ClaimState::Held, true),
            (ClaimState::Unreachable("nobody".into()), true),
            (ClaimState::NotAllowed("403".into()), true),
            (ClaimState::Asking, false),
            (ClaimState::Taken, false),
        ] {
            let (_sender, mut claim) = watch::channel(state.clone());
            let turn = turn(&mut claim, "home", &health, &shutdown);
            let within = tokio::time::timeout(Duration::from_millis(50), turn).await;
            assert_eq!(within.is_ok(), is_its_turn, "{state:?}");
        }
        let (_sender, mut claim) = watch::channel(ClaimState::Taken);
        shutdown.cancel();
        assert!(!turn(&mut claim, "home", &health, &shutdown).await);
    }
}
