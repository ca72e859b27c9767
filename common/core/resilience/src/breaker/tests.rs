use super::*;
use proptest::prelude::*;

const OPTIONS: BreakerOptions = BreakerOptions {
    failures_in_a_row_max: 3,
    blocked_first: Duration::from_secs(1),
    blocked_max: Duration::from_secs(5),
};

/// One call in a table: at which second, what, and what must come of it.
enum Step {
    Decide(u64, Decision),
    Succeeded(u64),
    Failed(u64, Failure),
    Abandoned(u64),
    Late(u64, Result<(), Failure>),
}
use Decision::{Pass, Probe, Refuse};
use Failure::{Counted, Immediate, RetryAfter};
use Step::{Abandoned, Decide, Failed, Late, Succeeded};

fn check(name: &str, steps: &[Step]) {
    let start = Instant::now();
    let at = |second: u64| start + Duration::from_secs(second);
    let mut breaker = Breaker::new(OPTIONS);
    for (number, step) in steps.iter().enumerate() {
        match *step {
            Decide(second, expected) => {
                assert_eq!(
                    breaker.decide(at(second)),
                    expected,
                    "{name}, step {number}"
                );
            }
            Succeeded(second) => breaker.succeeded(at(second)),
            Failed(second, failure) => breaker.failed(at(second), failure),
            Abandoned(second) => breaker.abandoned(at(second)),
            Late(second, outcome) => breaker.settled(at(second), Pass, outcome),
        }
    }
}

#[test]
fn tables() {
    check(
        "counted failures block only in a row",
        &[
            Failed(0, Counted),
            Failed(0, Counted),
            Succeeded(0),
            Failed(0, Counted),
            Failed(0, Counted),
            Decide(0, Pass),
            Failed(0, Counted),
            Decide(0, Refuse),
        ],
    );
    check(
        "one probe after the block, refusals meanwhile, passing after its success",
        &[
            Failed(0, Immediate),
            Decide(0, Refuse),
            Decide(1, Probe),
            Decide(1, Refuse),
            Decide(99, Refuse),
            Succeeded(99),
            Decide(99, Pass),
        ],
    );
    check(
        "failed probes double the block up to the maximum",
        &[
            Failed(0, Immediate),
            Decide(1, Probe),
            Failed(1, Counted),
            Decide(2, Refuse),
            Decide(3, Probe),
            Failed(3, Counted),
            Decide(6, Refuse),
            Decide(7, Probe),
            Failed(7, Counted),
            Decide(11, Refuse),
            Decide(12, Probe),
            Failed(12, Counted),
            Decide(16, Refuse),
            Decide(17, Probe),
        ],
    );
    check(
        "a success resets the block",
        &[
            Failed(0, Immediate),
            Decide(1, Probe),
            Failed(1, Counted),
            Decide(3, Probe),
            Succeeded(3),
            Failed(3, Immediate),
            Decide(4, Probe),
        ],
    );
    check(
        "Retry-After is held to, within the maximum",
        &[
            Failed(0, RetryAfter(Duration::from_secs(4))),
            Decide(3, Refuse),
            Decide(4, Probe),
            Failed(4, RetryAfter(Duration::from_secs(1000))),
            Decide(8, Refuse),
            Decide(9, Probe),
        ],
    );
    check(
        "attempts from before the block change nothing",
        &[
            Decide(0, Pass),
            Failed(0, Immediate),
            Late(0, Err(Counted)),
            Late(0, Err(Immediate)),
            Late(0, Ok(())),
            Decide(0, Refuse),
            Decide(1, Probe),
            Late(1, Err(Immediate)),
            Late(1, Ok(())),
            Decide(1, Refuse),
            Failed(1, Counted),
            Decide(2, Refuse),
            Decide(3, Probe),
        ],
    );
    check(
        "an abandoned probe lets the next one through",
        &[
            Failed(0, Immediate),
            Decide(1, Probe),
            Abandoned(1),
            Decide(1, Probe),
            Decide(1, Refuse),
        ],
    );
}

#[test]
fn no_limit_overflows() {
    let now = Instant::now();
    let mut breaker = Breaker::new(BreakerOptions {
        failures_in_a_row_max: 0,
        blocked_first: Duration::MAX,
        blocked_max: Duration::MAX,
    });
    breaker.failed(now, Counted);
    assert_eq!(breaker.decide(now), Probe);
}

#[derive(Debug, Clone)]
enum Call {
    Wait(u64),
    Decide,
    /// Settles the oldest attempt in flight, if there is one.
    Settle(Result<(), Failure>),
    Abandon,
}

fn any_failure() -> impl Strategy<Value = Failure> {
    prop_oneof![
        Just(Counted),
        Just(Immediate),
        (0u64..20_000).prop_map(|ms| RetryAfter(Duration::from_millis(ms))),
    ]
}

fn any_call() -> impl Strategy<Value = Call> {
    prop_oneof![
        1 => (0u64..3000).prop_map(Call::Wait),
        3 => Just(Call::Decide),
        2 => any_failure().prop_map(|failure| Call::Settle(Err(failure))),
        1 => Just(Call::Settle(Ok(()))),
        1 => Just(Call::Abandon),
    ]
}

proptest! {
    #[test]
    fn invariants(calls in prop::collection::vec(any_call(), 0..300)) {
        let mut now = Instant::now();
        let mut breaker = Breaker::new(OPTIONS);
        let mut in_flight = std::collections::VecDeque::new();
        for call in calls {
            match call {
                Call::Wait(ms) => now += Duration::from_millis(ms),
                Call::Decide => {
                    let before = breaker.state();
                    let probes = in_flight.iter().filter(|decision| **decision == Probe).count();
                    let decision = breaker.decide(now);
                    match before {
                        State::Passing => prop_assert_eq!(decision, Pass),
                        State::Blocked { until } => {
                            prop_assert_eq!(decision, if now < until { Refuse } else { Probe });
                        }
                        State::Probing => prop_assert_eq!(decision, Refuse),
                    }
                    if decision == Probe {
                        prop_assert_eq!(probes, 0, "more than one probe in flight");
                    }
                    if decision != Refuse {
                        in_flight.push_back(decision);
                    }
                }
                Call::Settle(outcome) => {
                    if let Some(decision) = in_flight.pop_front() {
                        let before = breaker.state();
                        breaker.settled(now, decision, outcome);
                        if decision == Pass && before != State::Passing {
                            prop_assert_eq!(breaker.state(), before, "a late outcome");
                        }
                        if let State::Blocked { until } = breaker.state() {
                            prop_assert!(until <= now + OPTIONS.blocked_max);
                        }
                    }
                }
                Call::Abandon => {
                    if breaker.state() == State::Probing {
                        in_flight.retain(|decision| *decision != Probe);
                        breaker.abandoned(now);
                    }
                }
            }
            let probes = in_flight.iter().filter(|decision| **decision == Probe).count();
            prop_assert_eq!(probes == 1, breaker.state() == State::Probing);
        }
        // Whatever happened, the route comes back: nothing blocks for ever.
        in_flight.retain(|decision| *decision == Probe);
        if in_flight.is_empty() {
            now += OPTIONS.blocked_max;
            prop_assert_ne!(breaker.decide(now), Refuse);
        }
    }
}
