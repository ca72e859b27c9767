//! One holder of a name, against a real broker.

use crate::support::{SOON, Vhost, broker};
use ha_broker::{Claim, ClaimState};
use tokio::time::timeout;

const NAME: &str = "ha.producer.a home";

async fn wait_for(claim: &Claim, wanted: impl Fn(&ClaimState) -> bool) -> ClaimState {
    let mut state = claim.state();
    let found = timeout(SOON, state.wait_for(|state| wanted(state))).await;
    found.expect("in time").unwrap().clone()
}

#[tokio::test]
async fn the_second_gets_the_name_when_the_first_is_gone() {
    let vhost = Vhost::new().await;
    let first = Claim::start(vhost.broker(), NAME.into());
    wait_for(&first, |state| *state == ClaimState::Held).await;
    let second = Claim::start(vhost.broker(), NAME.into());
    let state = wait_for(&second, |state| *state != ClaimState::Asking).await;
    assert_eq!(state, ClaimState::Taken);
    assert!(!state.permits());
    let other = Claim::start(vhost.broker(), "ha.producer.another".into());
    wait_for(&other, |state| *state == ClaimState::Held).await;

    first.release().await;
    wait_for(&second, |state| *state == ClaimState::Held).await;

    // A lost connection alone forbids nothing, and the name is asked for again.
    let mut state = second.state();
    let path = format!("vhosts/{}/connections", vhost.name);
    timeout(SOON, async {
        while *state.borrow_and_update() == ClaimState::Held {
            let connections = vhost.management(reqwest::Method::GET, &path, None).await;
            for connection in connections.as_array().unwrap() {
                let path = format!("connections/{}", connection["name"].as_str().unwrap());
                vhost
                    .management(
                        reqwest::Method::DELETE,
                        &path.replace(' ', "%20").replace('>', "%3E"),
                        None,
                    )
                    .await;
            }
            let _ = timeout(std::time::Duration::from_millis(200), state.changed()).await;
        }
    })
    .await
    .expect("closed in time");
    assert!(state.borrow().permits());
    wait_for(&second, |state| *state == ClaimState::Held).await;
}

#[tokio::test]
async fn who_may_not_ask_and_who_cannot_is_told_apart() {
    let vhost = Vhost::new().await;
    let url = vhost.user("s3cret", "^$", ".*", ".*").await;
    let claim = Claim::start(broker(&url), NAME.into());
    let state = wait_for(&claim, |state| *state != ClaimState::Asking).await;
    assert!(
        matches!(&state, ClaimState::NotAllowed(reason) if reason.contains(NAME)),
        "{state:?}"
    );
    assert!(state.permits());

    let nowhere = broker("amqp://u:s3cret@127.0.0.1:1/%2f");
    let claim = Claim::start(nowhere, NAME.into());
    let state = wait_for(&claim, |state| *state != ClaimState::Asking).await;
    assert!(
        matches!(&state, ClaimState::Unreachable(_)) && !state.permits(),
        "{state:?}"
    );
    assert!(!format!("{state:?}").contains("s3cret"), "{state:?}");
}
