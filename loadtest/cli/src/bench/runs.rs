//! The runs of the bench.

/// One `loadtest run`.
#[derive(Debug)]
pub(super) struct Run {
    /// Its report is the file of this name.
    pub(super) name: &'static str,
    words: &'static str,
    /// A version of it that takes seconds.
    quick: &'static str,
    /// It takes as long as all the others together.
    pub(super) only_when_asked: bool,
}

impl Run {
    /// Behind `loadtest`.
    pub(super) fn words(&self, quick: bool) -> String {
        let words = if quick { self.quick } else { self.words };
        format!("run {words}")
    }
}

const fn run(name: &'static str, words: &'static str, quick: &'static str) -> Run {
    Run {
        name,
        words,
        quick,
        only_when_asked: false,
    }
}

/// In the order in which they are made.
pub(super) static RUNS: [Run; 8] = [
    run(
        "idle",
        "steady --workers 1 --rate 10 --seconds 60",
        "steady --workers 1 --rate 10 --seconds 10",
    ),
    run(
        "growth",
        "growth --workers 1 --rate 1000 --times 10 --seconds 60",
        "growth --workers 1 --rate 30 --times 10 --seconds 10",
    ),
    run(
        "ramp",
        "ramp --workers 1 --rate 8000 --step-seconds 20",
        "ramp --workers 1 --rate 200 --rate-max 400 --step-seconds 2",
    ),
    run(
        "ramp-null",
        "ramp --workers 1 --rate 21000 --rate-max 84000 --step-seconds 20 --sink null --no-bare",
        "ramp --workers 1 --rate 200 --rate-max 400 --step-seconds 2 --sink null --no-bare",
    ),
    run(
        "ramp-inline",
        "ramp --mode inline --rate 8000 --step-seconds 20",
        "ramp --mode inline --rate 200 --rate-max 400 --step-seconds 2",
    ),
    run(
        "backlog",
        "backlog --events 1000000 --workers 1,2 --rate 10000",
        "backlog --events 4000 --workers 1,2 --rate 1000",
    ),
    run(
        "homes",
        "homes --homes 200 --rate-per-home 20 --seconds 60",
        "homes --homes 5 --rate-per-home 2 --seconds 10 --entities 20",
    ),
    Run {
        only_when_asked: true,
        ..run(
            "memory",
            "steady --workers 1 --rate 10000 --seconds 30m",
            "steady --workers 1 --rate 100 --seconds 12",
        )
    },
];
