//! The embedded database, from inside where the outside cannot make the fault.

use ha_point::{Format, Point, PointBuffer, Prefix, Value};

use super::*;

const HOUR_NS: i64 = 3_600_000_000_000;

fn options(directory: &tempfile::TempDir) -> SqliteOptions {
    SqliteOptions {
        busy_timeout: Duration::from_millis(50),
        ..SqliteOptions::new(directory.path().join("points.db"))
    }
}

fn row(measurement: &str, tags: &str, fields: &str, time_ns: i64) -> Row {
    Row {
        measurement: measurement.into(),
        tags: tags.into(),
        fields: fields.into(),
        time_ns,
    }
}

/// What another program sees.
fn read(options: &SqliteOptions, sql: &str) -> Vec<String> {
    let connection = Connection::open(&options.path).unwrap();
    let mut statement = connection.prepare(sql).unwrap();
    let columns = statement.column_count();
    let line = |row: &rusqlite::Row<'_>| {
        let cells = (0..columns).map(|column| {
            Ok(match row.get_ref(column)? {
                rusqlite::types::ValueRef::Null => "NULL".to_owned(),
                rusqlite::types::ValueRef::Integer(number) => number.to_string(),
                rusqlite::types::ValueRef::Real(number) => number.to_string(),
                rusqlite::types::ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
                rusqlite::types::ValueRef::Blob(_) => panic!("a blob"),
            })
        });
        Ok(cells
            .collect::<Result<Vec<_>, rusqlite::Error>>()?
            .join("|"))
    };
    statement
        .query_map([], line)
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap()
}

#[tokio::test]
async fn writes_to_one_point_merge_in_any_order() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(&directory);
    let sqlite = Sqlite::open(options.clone()).await.unwrap();
    let full = row(
        "m",
        r#"{"a":"1"}"#,
        r#"{"enriched":true,"state":"on","value":1.0}"#,
        5,
    );
    let lean = row("m", r#"{"a":"1"}"#, r#"{"state":"on","value":1.0}"#, 5);
    let other = row("m", r#"{"a":"2"}"#, r#"{"state":"off"}"#, 5);
    for batch in [
        vec![lean.clone(), full.clone(), other.clone()],
        vec![lean.clone(), other.clone()],
        vec![full.clone(), lean, full],
        vec![],
    ] {
        assert_eq!(sqlite.write(&batch).await, WriteOutcome::Written);
    }
    let select = "SELECT tags, json_extract(fields, '$.enriched'), json_extract(fields, '$.value'), \
                  json_extract(fields, '$.state'), time_ns FROM points ORDER BY tags";
    assert_eq!(
        read(&options, select),
        [r#"{"a":"1"}|1|1|on|5"#, r#"{"a":"2"}|NULL|NULL|off|5"#]
    );
}

#[tokio::test]
async fn a_measurement_has_a_view_with_its_columns() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(&directory);
    let sqlite = Sqlite::open(options.clone()).await.unwrap();
    let mut buffer = PointBuffer::new(Format::Rows);
    let mut event = Point::new("home_assistant_events", 1_795_300_129_118_132_000);
    event.tag("entity_id", "light.k\u{fc}che \"1\"");
    event.field("state", Value::Text("on".into()));
    event.float("value", 1.0);
    buffer.push(event);
    let mut odd = Point::new("\u{b0}C \"odd\" 'name'", 0);
    odd.tag("time", "hides");
    odd.tag("Tag", "t");
    odd.field("tag", Value::Integer(7));
    odd.prefixed(
        Prefix::Foreign,
        "a \"quote\" in it".into(),
        Value::Integer(8),
    );
    odd.prefixed(
        Prefix::Foreign,
        "it's".into(),
        Value::Text("line\nbreak".into()),
    );
    buffer.push(odd);
    for name in ["points", "sqlite_x", "line\nbreak", "HOME_assistant_events"] {
        let mut point = Point::new(name, 1);
        point.field("n", Value::Integer(1));
        buffer.push(point);
    }
    let PointBuffer::Rows(rows) = &buffer else {
        panic!()
    };
    assert_eq!(sqlite.write(rows).await, WriteOutcome::Written);
    assert_eq!(sqlite.write(rows).await, WriteOutcome::Written);
    assert_eq!(
        read(
            &options,
            "SELECT time, entity_id, state, value, available FROM home_assistant_events"
        ),
        ["2026-11-21T22:28:49.118132Z|light.k\u{fc}che \"1\"|on|1|NULL"]
    );
    assert_eq!(
        read(
            &options,
            "SELECT time, Tag, \"it's\" FROM \"\u{b0}C \"\"odd\"\" 'name'\""
        ),
        ["1970-01-01T00:00:00.000000Z|t|line\nbreak"]
    );
    let views = read(
        &options,
        "SELECT count(*) FROM sqlite_schema WHERE type = 'view'",
    );
    assert_eq!(views, ["2"]);
    assert_eq!(read(&options, "SELECT count(*) FROM points"), ["6"]);
}

#[tokio::test]
async fn what_was_written_is_there_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(&directory);
    for time_ns in 1..=3 {
        let sqlite = Sqlite::open(options.clone()).await.unwrap();
        let written = sqlite.write(&[row("m", "{}", r#"{"a":1}"#, time_ns)]).await;
        assert_eq!(written, WriteOutcome::Written);
    }
    assert_eq!(
        read(&options, "SELECT group_concat(time_ns) FROM points"),
        ["1,2,3"]
    );
    assert_eq!(read(&options, "PRAGMA user_version"), ["1"]);
    assert_eq!(read(&options, "PRAGMA journal_mode"), ["wal"]);
}

#[tokio::test]
async fn files_that_are_not_ours_are_left_alone_with_a_clear_word() {
    let directory = tempfile::tempdir().unwrap();
    let newer = SqliteOptions::new(directory.path().join("newer.db"));
    drop(Sqlite::open(newer.clone()).await.unwrap());
    Connection::open(&newer.path)
        .unwrap()
        .pragma_update(None, "user_version", 9)
        .unwrap();
    let foreign = SqliteOptions::new(directory.path().join("foreign.db"));
    Connection::open(&foreign.path)
        .unwrap()
        .execute_batch("CREATE TABLE states (x)")
        .unwrap();
    let garbage = SqliteOptions::new(directory.path().join("garbage.db"));
    std::fs::write(&garbage.path, "this is no database ".repeat(1000)).unwrap();
    let torn = SqliteOptions::new(directory.path().join("torn.db"));
    drop(Sqlite::open(torn.clone()).await.unwrap());
    let mut bytes = std::fs::read(&torn.path).unwrap();
    bytes[100..].fill(0xaa);
    std::fs::write(&torn.path, bytes).unwrap();
    let absent = SqliteOptions::new(directory.path().join("no/such/folder.db"));
    let folder = SqliteOptions::new(directory.path());
    for (options, words) in [
        (newer, "layout 9"),
        (foreign, "another program"),
        (garbage, "not a database"),
        (torn, "damaged"),
        (absent, "cannot be written"),
        (folder, "cannot be written"),
    ] {
        let before = std::fs::read(&options.path).ok();
        let error = Sqlite::open(options.clone()).await.unwrap_err().to_string();
        assert!(
            error.contains("SQLITE_PATH") && error.contains(words),
            "{error}"
        );
        assert_eq!(std::fs::read(&options.path).ok(), before, "{error}");
    }
}

#[tokio::test]
async fn a_bad_row_is_rejected_alone() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(&directory);
    let sqlite = Sqlite::open(options.clone()).await.unwrap();
    let good = |time_ns| row("m", "{}", r#"{"a":1}"#, time_ns);
    let batch = [
        good(1),
        row("m", "{}", "{", 2),
        good(3),
        row("m", "{}", "{", 1),
    ];
    let WriteOutcome::Rejected(points) = sqlite.write(&batch).await else {
        panic!()
    };
    assert_eq!(
        points.iter().map(|point| point.index).collect::<Vec<_>>(),
        [1, 3]
    );
    assert_eq!(
        read(&options, "SELECT time_ns, fields FROM points"),
        [r#"1|{"a":1}"#, r#"3|{"a":1}"#]
    );
}

#[tokio::test]
async fn a_full_disk_and_a_second_writer_are_unavailable_and_nothing_is_half_written() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(&directory);
    let sqlite = Sqlite::open(options.clone()).await.unwrap();
    let many: Vec<_> = (0..2000)
        .map(|time_ns| row("m", "{}", r#"{"a":"some text"}"#, time_ns))
        .collect();

    let other = Connection::open(&options.path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let outcome = sqlite.write(&many).await;
    assert!(
        matches!(&outcome, WriteOutcome::Unavailable { reason, .. } if reason.contains("locked")),
        "{outcome:?}"
    );
    let error = sqlite.probe().await.unwrap_err();
    assert!(error.transient, "{error}");
    other.execute_batch("ROLLBACK").unwrap();
    assert!(sqlite.probe().await.unwrap().version.is_some());

    lock(&sqlite.store)
        .connection
        .pragma_update(None, "max_page_count", 20)
        .unwrap();
    let outcome = sqlite.write(&many).await;
    assert!(
        matches!(&outcome, WriteOutcome::Unavailable { reason, .. } if reason.contains("full")),
        "{outcome:?}"
    );
    assert_eq!(read(&options, "SELECT count(*) FROM points"), ["0"]);
    lock(&sqlite.store)
        .connection
        .pragma_update(None, "max_page_count", 1_000_000)
        .unwrap();
    assert_eq!(sqlite.write(&many).await, WriteOutcome::Written);
    assert_eq!(read(&options, "SELECT count(*) FROM points"), ["2000"]);
}

const DAY_NS: i64 = 24 * HOUR_NS;

/// A file that keeps its points for 30 days.
async fn for_30_days(directory: &tempfile::TempDir) -> (SqliteOptions, Sqlite) {
    let options = options(directory);
    assert_eq!(options.retention, Some(Duration::from_secs(30 * 24 * 3600)));
    let sqlite = Sqlite::open(options.clone()).await.unwrap();
    (options, sqlite)
}

async fn store(sqlite: &Sqlite, measurement: &str, times_ns: impl Iterator<Item = i64>) {
    let rows: Vec<_> = times_ns
        .map(|time_ns| row(measurement, "{}", r#"{"a":1}"#, time_ns))
        .collect();
    assert_eq!(sqlite.write(&rows).await, WriteOutcome::Written);
}

fn count(options: &SqliteOptions) -> usize {
    read(options, "SELECT count(*) FROM points")[0]
        .parse()
        .unwrap()
}

#[tokio::test]
async fn retention_deletes_what_is_too_old_and_only_that() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = options(&directory);
    options.retention = Some(Duration::from_secs(3600));
    let sqlite = Sqlite::open(options.clone()).await.unwrap();
    let now_ns = 1_000_000 * HOUR_NS;
    // More than two chunks of old ones, and the boundary itself.
    store(&sqlite, "m", (1..=4500).map(|age| now_ns - HOUR_NS - age)).await;
    store(&sqlite, "m", [now_ns - HOUR_NS, now_ns].into_iter()).await;
    let pass = sqlite.enforce_retention(now_ns).await.unwrap();
    assert_eq!(
        pass,
        Some(RetentionPass {
            deleted: 4500,
            cutoff_ns: now_ns - HOUR_NS,
            older_left: 0
        })
    );
    assert_eq!(count(&options), 2);
    let soon = now_ns + HOUR_NS / 60;
    store(&sqlite, "m", [soon].into_iter()).await;
    let pass = sqlite.enforce_retention(soon).await.unwrap();
    assert_eq!(pass, None, "not yet due");
    let later = now_ns + HOUR_NS;
    store(&sqlite, "m", [later].into_iter()).await;
    let pass = sqlite.enforce_retention(later).await.unwrap().unwrap();
    assert_eq!(pass.deleted, 1);

    options.retention = None;
    let for_ever = Sqlite::open(options).await.unwrap();
    assert_eq!(for_ever.enforce_retention(i64::MAX).await.unwrap(), None);
    assert_eq!(for_ever.survey_retention(i64::MAX).await.unwrap(), None);
}

#[tokio::test]
async fn a_clock_that_is_ahead_deletes_nothing_that_the_data_calls_young() {
    let directory = tempfile::tempdir().unwrap();
    let (options, sqlite) = for_30_days(&directory).await;
    let true_ns = 20_000 * DAY_NS;
    // 25 days of events, and the clock is set 40 days ahead.
    store(
        &sqlite,
        "home_assistant_events",
        (0..=600).map(|hour| true_ns - hour * HOUR_NS),
    )
    .await;
    let ahead_ns = true_ns + 40 * DAY_NS;
    assert_eq!(sqlite.enforce_retention(ahead_ns).await.unwrap(), None);
    // The producer's own records and the weather do not vouch for the clock that dates them.
    for measurement in ["data_quality", "home_assistant_entities", "weather"] {
        store(&sqlite, measurement, [ahead_ns].into_iter()).await;
    }
    for hour in 1..=3 {
        let now_ns = ahead_ns + hour * HOUR_NS;
        assert_eq!(sqlite.enforce_retention(now_ns).await.unwrap(), None);
    }
    let survey = sqlite.survey_retention(ahead_ns).await.unwrap().unwrap();
    assert_eq!((survey.points, survey.older), (604, 0));
    assert_eq!(survey.newest_ns, Some(true_ns));
    assert_eq!(count(&options), 604);
}

#[tokio::test]
async fn a_point_dated_in_the_future_makes_nothing_old() {
    let directory = tempfile::tempdir().unwrap();
    let (options, sqlite) = for_30_days(&directory).await;
    let now_ns = 20_000 * DAY_NS;
    store(&sqlite, "m", (0..=29).map(|day| now_ns - day * DAY_NS)).await;
    store(&sqlite, "m", [now_ns + 27_000 * DAY_NS].into_iter()).await;
    assert_eq!(sqlite.enforce_retention(now_ns).await.unwrap(), None);
    assert_eq!(count(&options), 31);
}

#[tokio::test]
async fn a_backlog_of_old_points_goes_in_bounded_passes_oldest_first() {
    let directory = tempfile::tempdir().unwrap();
    let (options, sqlite) = for_30_days(&directory).await;
    let now_ns = 20_000 * DAY_NS;
    let cutoff_ns = now_ns - 30 * DAY_NS;
    // 230,000 points, more than are counted at one time; a tenth of them share one time.
    let old = (1..=65_000).map(|age| cutoff_ns - age.min(60_000));
    let rows: Vec<_> = old
        .chain((0..165_000).map(|age| now_ns - age))
        .enumerate()
        .map(|(number, time_ns)| row("m", &format!(r#"{{"n":"{number}"}}"#), "{}", time_ns))
        .collect();
    assert_eq!(sqlite.write(&rows).await, WriteOutcome::Written);
    let survey = sqlite.survey_retention(now_ns).await.unwrap().unwrap();
    assert_eq!((survey.points, survey.older), (230_000, 65_000));
    assert_eq!(survey.cutoff_ns, Some(cutoff_ns));
    assert_eq!(survey.pass_points_max, 11_500);

    let mut left = (230_000, 65_000);
    let mut at_ns = now_ns;
    for expected in [11_500, 10_925, 10_378, 10_000, 10_000, 10_000, 2_197] {
        let pass = sqlite.enforce_retention(at_ns).await.unwrap().unwrap();
        left = (left.0 - expected, left.1 - expected);
        assert_eq!((pass.deleted, pass.older_left), (expected, left.1));
        assert_eq!(count(&options) as u64, left.0);
        if left.1 > 0 {
            let oldest = "SELECT max(time_ns) FROM points WHERE time_ns < ";
            let newest_of_old = read(&options, &format!("{oldest}{cutoff_ns}"));
            assert_eq!(newest_of_old, [(cutoff_ns - 1).to_string()]);
        }
        let between = sqlite.enforce_retention(at_ns + 1).await.unwrap();
        assert_eq!(between, None, "not yet due");
        at_ns += 10 * 60 * 1_000_000_000;
    }
    assert_eq!(left, (165_000, 0));
    assert_eq!(sqlite.enforce_retention(at_ns).await.unwrap(), None);
    assert_eq!(count(&options), 165_000);
}

#[tokio::test]
async fn a_pass_that_fails_says_what_is_gone_and_is_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let (options, sqlite) = for_30_days(&directory).await;
    let now_ns = 20_000 * DAY_NS;
    store(
        &sqlite,
        "m",
        (0..5_000).map(|age| now_ns - 31 * DAY_NS - age),
    )
    .await;
    store(&sqlite, "m", [now_ns].into_iter()).await;

    let other = Connection::open(&options.path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = sqlite.enforce_retention(now_ns).await.unwrap_err();
    assert!(error.to_string().contains("locked"), "{error}");
    other.execute_batch("ROLLBACK").unwrap();

    // The second chunk meets a row that may not go.
    let guard = format!(
        "CREATE TRIGGER guard BEFORE DELETE ON points WHEN old.time_ns = {} \
         BEGIN SELECT RAISE(ABORT, 'kept'); END",
        now_ns - 31 * DAY_NS - 2_500
    );
    other.execute_batch(&guard).unwrap();
    let pass = sqlite.enforce_retention(now_ns + 1).await.unwrap().unwrap();
    assert_eq!((pass.deleted, pass.older_left), (2_000, 3_000));
    let error = sqlite.enforce_retention(now_ns + 2).await.unwrap_err();
    assert!(error.to_string().contains("kept"), "{error}");
    other.execute_batch("DROP TRIGGER guard").unwrap();
    let pass = sqlite.enforce_retention(now_ns + 3).await.unwrap().unwrap();
    assert_eq!((pass.deleted, pass.older_left), (3_000, 0));
    assert_eq!(count(&options), 1);
}

#[tokio::test]
async fn the_survey_and_the_passes_read_along_the_index_of_time() {
    let directory = tempfile::tempdir().unwrap();
    let (options, _sqlite) = for_30_days(&directory).await;
    for sql in [retention::NEWEST, retention::COUNTED, retention::DELETE] {
        // SQLite's planner is asked with numbers instead of parameters.
        let sql = sql.replace('?', "");
        let plan = read(&options, &format!("EXPLAIN QUERY PLAN {sql}")).join(" ");
        assert!(plan.contains("INDEX points_by_time"), "{plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{plan}");
    }
}
