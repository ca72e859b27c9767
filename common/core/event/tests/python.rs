//! Time stamps of Home Assistant's history against Python's own arithmetic.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "tests fail by panicking, and so do their helpers"
)]

use ha_event::UtcMicros;
use std::io::Write;
use std::process::{Command, Stdio};

/// Reads one float of seconds a line, writes the microseconds of its `datetime` a line.
const PYTHON: &str = "
import datetime, sys
utc = datetime.timezone.utc
epoch = datetime.datetime(1970, 1, 1, tzinfo=utc)
for line in sys.stdin:
    moment = datetime.datetime.fromtimestamp(float(line), utc)
    print((moment - epoch) // datetime.timedelta(microseconds=1))
";

/// Seven and nine decimals in turn, 100,000 stamps spread over 1970 to 2100.
fn stamps() -> Vec<f64> {
    const SECONDS_MAX: u64 = 4_102_444_800;
    let mut state = 20_261_130_u64;
    let mut random = move || {
        // SplitMix64.
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    };
    let stamp = |index: u32| {
        let seconds = random() % SECONDS_MAX;
        let text = match index % 2 {
            0 => format!("{seconds}.{:07}", random() % 10_000_000),
            _ => format!("{seconds}.{:09}", random() % 1_000_000_000),
        };
        text.parse().unwrap()
    };
    (0..100_000).map(stamp).collect()
}

#[test]
fn history_stamps_are_read_as_home_assistant_reads_them() {
    let stamps = stamps();
    let mut python = Command::new("python3")
        .args(["-c", PYTHON])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 runs; the tests need it");
    let mut input = python.stdin.take().unwrap();
    let lines: String = stamps.iter().map(|stamp| format!("{stamp:?}\n")).collect();
    let writing = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = python.wait_with_output().unwrap();
    writing.join().unwrap().unwrap();
    assert!(output.status.success());
    let answers = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<i64> = answers.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(answers.len(), stamps.len());
    let mut whole_product_differs = 0;
    for (stamp, answer) in stamps.iter().zip(answers) {
        let read = UtcMicros::from_seconds(*stamp);
        assert_eq!(read, Some(UtcMicros(answer)), "{stamp:?}");
        whole_product_differs += u32::from((stamp * 1e6).round() as i64 != answer);
    }
    // The stamps tell the two ways of rounding apart, or this test proves nothing.
    assert!(whole_product_differs > 1_000, "{whole_product_differs}");
}
