use super::*;
use proptest::prelude::*;

const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.secret.signature";

fn session() -> Session {
    Session::new(
        TOKEN.into(),
        ["state_changed", "call_service", "state_changed"],
    )
}

/// Feeds one text and prints what comes of it.
fn said(session: &mut Session, text: &str) -> Vec<String> {
    let mut actions = Vec::new();
    let outcome = session.on_message(text, &mut actions);
    let mut said: Vec<_> = actions
        .iter()
        .map(|action| match action {
            Action::Send(text) => format!("send {text}"),
            other => format!("{other:?}"),
        })
        .collect();
    said.extend(outcome.err().map(|error| format!("error: {error}")));
    said
}

fn check(session: &mut Session, text: &str, expected: &[&str]) {
    assert_eq!(said(session, text), expected, "{text}");
}

fn ready() -> Session {
    let mut session = session();
    for text in [
        r#"{"type":"auth_required","ha_version":"2025.4.4"}"#,
        r#"{"type":"auth_ok","ha_version":"2025.4.4"}"#,
        r#"[{"id":1,"type":"result","success":true,"result":null},{"id":2,"type":"result","success":true,"result":null}]"#,
        r#"{"id":3,"type":"result","success":true,"result":null}"#,
    ] {
        said(&mut session, text);
    }
    assert!(session.is_ready());
    session
}

#[test]
fn the_handshake_subscribes_once_to_each_type() {
    let mut session = session();
    check(
        &mut session,
        r#"{"type":"auth_required","ha_version":"2025.4.4"}"#,
        &[&format!(
            r#"send {{"access_token":"{TOKEN}","type":"auth"}}"#
        )],
    );
    check(&mut session, r#"{"type":"auth_required"}"#, &[]);
    check(
        &mut session,
        r#"{"type":"auth_ok","ha_version":"2025.4.4"}"#,
        &[
            r#"send {"features":{"coalesce_messages":1},"id":1,"type":"supported_features"}"#,
            r#"send {"event_type":"state_changed","id":2,"type":"subscribe_events"}"#,
            r#"send {"event_type":"call_service","id":3,"type":"subscribe_events"}"#,
        ],
    );
    check(
        &mut session,
        r#"{"id":1,"type":"result","success":false,"error":{"code":"unknown_command","message":"Unknown command."}}"#,
        &[],
    );
    check(
        &mut session,
        r#"{"id":2,"type":"result","success":true,"result":null}"#,
        &[],
    );
    assert!(!session.is_ready());
    check(
        &mut session,
        r#"{"id":2,"type":"event","event":{"event_type":"state_changed"}}"#,
        &[r#"Event(2, {"event_type":"state_changed"})"#],
    );
    check(
        &mut session,
        r#"{"id":3,"type":"result","success":true,"result":null}"#,
        &["Ready(2025.4.4)"],
    );
    assert_eq!(session.event_type(3), Some("call_service"));
    assert_eq!(session.event_type(0), None);
}

#[test]
fn a_session_without_event_types_is_ready_at_once() {
    let mut session = Session::new(TOKEN.into(), [""; 0]);
    said(&mut session, r#"{"type":"auth_required"}"#);
    check(
        &mut session,
        r#"{"type":"auth_ok"}"#,
        &[
            r#"send {"features":{"coalesce_messages":1},"id":1,"type":"supported_features"}"#,
            "Ready(unknown)",
        ],
    );
    assert!(session.unsubscribe_all().is_empty());
    assert!(session.is_unsubscribed());
}

#[test]
fn refusals() {
    let mut refused = session();
    said(&mut refused, r#"{"type":"auth_required"}"#);
    check(
        &mut refused,
        r#"{"type":"auth_invalid","message":"Invalid access token or password"}"#,
        &[r#"AuthInvalid("Invalid access token or password")"#],
    );
    let mut session = session();
    said(&mut session, r#"{"type":"auth_required"}"#);
    said(&mut session, r#"{"type":"auth_ok"}"#);
    check(
        &mut session,
        r#"[{"id":3,"type":"result","success":false,"error":{"code":"unauthorized","message":"Unauthorized"}},
            {"id":2,"type":"event","event":{"a":1}}]"#,
        &[
            r#"Event(2, {"a":1})"#,
            r#"error: the subscription to "call_service" was refused: Home Assistant answered unauthorized: Unauthorized"#,
        ],
    );
}

#[test]
fn what_is_only_watched_is_told_apart_and_may_be_refused() {
    let mut session = Session::new(TOKEN.into(), ["state_changed", "both"]).watching([
        "both",
        "area_registry_updated",
        "unknown_here",
    ]);
    said(&mut session, r#"{"type":"auth_required"}"#);
    let sent = said(&mut session, r#"{"type":"auth_ok"}"#);
    assert_eq!(sent.len(), 5, "one subscription a type: {sent:?}");
    check(
        &mut session,
        r#"[{"id":5,"type":"result","success":false,"error":{"code":"unauthorized","message":"Unauthorized"}},
            {"id":2,"type":"result","success":true,"result":null}]"#,
        &[],
    );
    check(
        &mut session,
        r#"[{"id":3,"type":"result","success":true,"result":null},{"id":4,"type":"result","success":true,"result":null}]"#,
        &["Ready(unknown)"],
    );
    check(
        &mut session,
        r#"[{"id":4,"type":"event","event":{"a":1}},{"id":3,"type":"event","event":{"a":2}}]"#,
        &["Watched(1)", "Watched(0)", r#"Event(3, {"a":2})"#],
    );
}

#[test]
fn requests_are_answered_between_events() {
    let mut session = ready();
    assert_eq!(session.ping(), (4, r#"{"id":4,"type":"ping"}"#.to_owned()));
    let (id, text) = session.request("get_states", json!({"id": 1, "type": "x", "only": [2]}));
    assert_eq!(
        (id, text.as_str()),
        (5, r#"{"id":5,"only":[2],"type":"get_states"}"#)
    );
    check(
        &mut session,
        r#"[{"id":2,"type":"event","event":{"n":1}},{"id":4,"type":"pong"},
            {"id":5,"type":"result","success":true,"result":[{"s": "1"}]},
            {"id":6,"type":"result","success":true},
            {"id":7,"type":"result","success":false,"error":{"code":"unknown_command","message":"Unknown command.","x":1}},
            {"id":8,"type":"result","success":false,"error":{"code":3}},
            {"id":9,"type":"result","success":false,"error":"?"},
            {"type":"of_a_version_to_come","message":{"a":1},"success":7,"id":null},
            {"id":3,"type":"event","event":{"n":2}}]"#,
        &[
            r#"Event(2, {"n":1})"#,
            "Pong(4)",
            r#"Result(5, Ok("[{\"s\": \"1\"}]"))"#,
            r#"Result(6, Ok("null"))"#,
            r#"Result(7, Err(HomeAssistantError { code: "unknown_command", message: "Unknown command." }))"#,
            r#"Result(8, Err(HomeAssistantError { code: "3", message: "no reason given" }))"#,
            r#"Result(9, Err(HomeAssistantError { code: "unknown_error", message: "no reason given" }))"#,
            r#"Event(3, {"n":2})"#,
        ],
    );
}

#[test]
fn unsubscribing_ends_with_its_last_result() {
    let mut session = ready();
    assert_eq!(
        session.unsubscribe_all(),
        [
            r#"{"id":4,"subscription":2,"type":"unsubscribe_events"}"#,
            r#"{"id":5,"subscription":3,"type":"unsubscribe_events"}"#,
        ]
    );
    assert!(
        session.unsubscribe_all().is_empty(),
        "a second call sends nothing"
    );
    check(
        &mut session,
        r#"[{"id":2,"type":"event","event":{"n":1}},
            {"id":4,"type":"result","success":true,"result":null},
            {"id":3,"type":"event","event":{"n":2}},
            {"id":5,"type":"result","success":false,"error":{"code":"not_found","message":"?"}}]"#,
        &[
            r#"Event(2, {"n":1})"#,
            r#"Event(3, {"n":2})"#,
            "Unsubscribed",
        ],
    );
    assert!(session.is_unsubscribed());
}

#[test]
fn bad_messages_do_not_hide_their_neighbours() {
    const GOOD: &str = r#"{"id":2,"type":"event","event":{"n":1}}"#;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for bad in [
        "1",
        "null",
        "\"text\"",
        "[]",
        r#"[null,"event"]"#,
        "{}",
        r#"{"type":5}"#,
        r#"{"type":"event","id":"2","event":{}}"#,
        r#"{"type":"event","id":2}"#,
        r#"{"type":"event","id":2,"event":null}"#,
        r#"{"type":"event","id":2,"event":[]}"#,
        r#"{"type":"event","id":77,"event":{}}"#,
        r#"{"type":"event","event":{}}"#,
        r#"{"type":"event","type":"event","id":2,"event":{}}"#,
        r#"{"type":"result","id":5}"#,
        r#"{"type":"result","success":true}"#,
        r#"{"\ud800":1}"#,
        r#""\ud800""#,
        "1e999",
        deep.as_str(),
    ] {
        let said = said(&mut ready(), &format!("[{GOOD},{bad},{GOOD}, {GOOD}]"));
        assert_eq!(said.len(), 4, "{bad:.80}: {said:?}");
        assert!(said[1].starts_with("Bad("), "{said:?}");
        for index in [0, 2, 3] {
            assert_eq!(said[index], r#"Event(2, {"n":1})"#);
        }
    }
    // Deep nesting inside an event is the event's own affair.
    let nested = format!(r#"{{"id":2,"type":"event","event":{{"n":{deep}}}}}"#);
    assert_eq!(
        said(&mut ready(), &nested),
        [format!(r#"Event(2, {{"n":{deep}}})"#)]
    );
}

#[test]
fn a_text_that_is_no_json_is_one_bad_message() {
    for text in [
        "",
        " ",
        "x",
        "{",
        r#"{"type":"#,
        "[",
        "[,]",
        "]",
        "[{]",
        "7",
        "\u{0}",
    ] {
        let said = said(&mut ready(), text);
        assert_eq!(said.len(), 1, "{text}: {said:?}");
        assert!(said[0].starts_with("Bad("), "{said:?}");
    }
    // What was complete before the damage still counts.
    let said = said(
        &mut ready(),
        r#"[{"id":2,"type":"event","event":{"n":1}},{"id":2,"type":"e"#,
    );
    assert_eq!(said.len(), 2);
    assert_eq!(said[0], r#"Event(2, {"n":1})"#);
    assert!(said[1].starts_with("Bad("));
    assert!(self::said(&mut ready(), "[]").is_empty());
}

#[test]
fn a_very_bad_text_is_bounded() {
    let text = format!("[{}]", vec!["1"; 100_000].join(","));
    let mut actions = Vec::new();
    ready().on_message(&text, &mut actions).unwrap();
    assert_eq!(actions.len(), 17);
    let count: u64 = actions
        .iter()
        .map(|action| match action {
            Action::Bad { count, excerpt, .. } => {
                assert!(excerpt.len() <= 200);
                *count
            }
            other => panic!("{other:?}"),
        })
        .sum();
    assert_eq!(count, 100_000);
}

#[test]
fn the_token_is_nowhere_but_in_the_text_that_sends_it() {
    let mut session = session();
    assert!(!format!("{session:?}").contains("secret"));
    let mut actions = Vec::new();
    session
        .on_message(r#"{"type":"auth_required"}"#, &mut actions)
        .unwrap();
    assert!(!format!("{actions:?}").contains("secret"));
    for text in [
        format!(r#"{{"type":"auth_invalid","message":"no such token: {TOKEN}"}}"#),
        format!(r#""{TOKEN}""#),
        format!(r#"{{"id":"{TOKEN}"}}"#),
        format!(r#"{}{TOKEN}"#, "é".repeat(95)),
        format!(
            r#"{{"id":9,"type":"result","success":false,"error":{{"code":"x","message":"{TOKEN}"}}}}"#
        ),
    ] {
        let mut session = self::session();
        said(&mut session, r#"{"type":"auth_required"}"#);
        let said = said(&mut session, &text);
        assert_eq!(said.len(), 1, "{text}");
        assert!(
            !said[0].contains("secret") && !said[0].contains("eyJ"),
            "{said:?}"
        );
    }
}

fn any_message() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (0u64..5, any::<i64>(), ".*").prop_map(|(id, n, s)| {
            json!({"id": id, "type": "event", "event": {"n": n, "s": s}}).to_string()
        }),
        1 => (0u64..9, any::<bool>()).prop_map(|(id, success)| {
            json!({"id": id, "type": "result", "success": success, "result": {"a": [1]}})
                .to_string()
        }),
        1 => (0u64..9).prop_map(|id| json!({"id": id, "type": "pong"}).to_string()),
        1 => prop_oneof![Just("{}"), Just("1"), Just("[1]"), Just(r#"{"type":"new"}"#)]
            .prop_map(str::to_owned),
    ]
}

/// What a session says to these texts, without the words about bad ones (their excerpt is of the
/// text that they came in).
fn stream(texts: &[String]) -> Vec<String> {
    let mut session = ready();
    texts
        .iter()
        .flat_map(|text| said(&mut session, text))
        .map(|said| {
            if said.starts_with("Bad(") {
                "Bad".to_owned()
            } else {
                said
            }
        })
        .collect()
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in ".*", json in any_message(), at in 0usize..200) {
        let mut session = ready();
        said(&mut session, &text);
        let mut spliced = json;
        let at = (0..=at.min(spliced.len())).rev().find(|i| spliced.is_char_boundary(*i)).unwrap();
        spliced.insert_str(at, &text);
        said(&mut session, &spliced);
        said(&mut self::session(), &spliced);
        said(&mut session, &format!("[{spliced},{text}]"));
        said(&mut session, &format!("[{text}"));
    }

    #[test]
    fn any_split_into_arrays_says_the_same(
        messages in prop::collection::vec((any_message(), any::<bool>()), 1..16),
    ) {
        let singles: Vec<_> = messages
            .iter()
            // A bare array would be taken for a coalesced message.
            .map(|(message, _)| {
                if message.starts_with('[') { format!("[{message}]") } else { message.clone() }
            })
            .collect();
        let mut groups: Vec<Vec<&str>> = vec![Vec::new()];
        for (message, starts_group) in &messages {
            if *starts_group {
                groups.push(Vec::new());
            }
            if let Some(group) = groups.last_mut() {
                group.push(message);
            }
        }
        let arrays: Vec<_> =
            groups.iter().map(|group| format!("[{}]", group.join(" ,"))).collect();
        prop_assert_eq!(stream(&arrays), stream(&singles));
    }
}

#[test]
fn what_was_read_on_the_way_is_what_a_second_look_finds() {
    let event = |entity: &str| {
        format!(
            r#"{{"event_type":"state_changed","data":{{"entity_id":"{entity}","old_state":null,"new_state":{{"entity_id":"{entity}","state":"on","attributes":{{"a":["}}"]}},"last_changed":"1970-01-01T00:00:01+00:00","last_updated":"1970-01-01T00:00:01+00:00","context":{{"id":"c","parent_id":null,"user_id":null}}}}}},"origin":"LOCAL","time_fired":"1970-01-01T00:00:01+00:00","context":{{"id":"c","parent_id":null,"user_id":null}}}}"#
        )
    };
    let first = |entity| format!(r#"{{"id":2,"type":"event","event":{}}}"#, event(entity));
    let last = |entity| format!(r#"{{"type":"event","event":{},"id":2}}"#, event(entity));
    let result = r#"{"id":9,"type":"result","success":true,"result":null}"#;
    let (a, b) = (first("light.a"), last("light.b"));
    for (text, events, is_read) in [
        (a.clone(), 1, true),
        (b.clone(), 1, true),
        (format!("[{a},{b},{a}]"), 3, true),
        (format!("[{a}, {b}]"), 2, false),
        (format!("[{b},{result}]"), 1, false),
        (b.replace("light.b", "light.\\u0062"), 1, false),
        (b.replace("state_changed", "call_service"), 1, false),
        // Cut off: what is complete is told anyway.
        (format!("[{a},{b},"), 2, false),
        (format!("[{a}{b}]"), 1, false),
    ] {
        let mut actions = Vec::new();
        ready().on_message(&text, &mut actions).unwrap();
        let mut found = 0;
        for action in &actions {
            let Action::Event { json, facts, .. } = action else {
                continue;
            };
            found += 1;
            assert_eq!(facts.is_some(), is_read, "{text}");
            if let Some(facts) = facts {
                assert_eq!(
                    facts.of(json.as_bytes()),
                    ha_event::peek(json.as_bytes()).ok()
                );
            }
        }
        assert_eq!(found, events, "{text}");
    }
    let mut actions = Vec::new();
    let stranger = b.replace("\"id\":2", "\"id\":77");
    ready().on_message(&stranger, &mut actions).unwrap();
    assert!(matches!(&actions[..], [Action::Bad { .. }]), "{actions:?}");
}
