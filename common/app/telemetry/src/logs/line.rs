//! How a line is written: as the format has it, with what this process adds: the place in a trace,
//! and how many lines like it were left out.

use super::repeats::{Repeats, Saying};
use std::fmt;
use std::sync::Arc;
use std::time::Instant;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, Full, Json, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// A format, and what is added to it.
pub(super) struct Line<F> {
    format: F,
    is_json: bool,
    repeats: Arc<Repeats>,
}

impl Line<Format<Json>> {
    /// One JSON object.
    pub fn json(format: Format<Json>, repeats: Arc<Repeats>) -> Self {
        Self {
            format,
            is_json: true,
            repeats,
        }
    }
}

impl Line<Format<Full>> {
    /// For people.
    pub fn pretty(format: Format<Full>, repeats: Arc<Repeats>) -> Self {
        Self {
            format,
            is_json: false,
            repeats,
        }
    }
}

impl<S, N, F> FormatEvent<S, N> for Line<F>
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    N: for<'writer> FormatFields<'writer> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let suppressed = match self.repeats.look_at(event, Instant::now()) {
            // Nothing is written: no line.
            Saying::Suppress => return Ok(()),
            Saying::Say { suppressed } => suppressed,
        };
        let place = ha_trace::current();
        if place.is_none() && suppressed == 0 {
            return self.format.format_event(context, writer, event);
        }
        let mut line = String::new();
        let plain = Writer::new(&mut line);
        self.format.format_event(context, plain, event)?;
        let mut added = Vec::new();
        if let Some((trace_id, span_id)) = place {
            // Hexadecimal digits: nothing in them needs an escape.
            added.push(self.field("trace_id", &format_args!("\"{trace_id}\"")));
            added.push(self.field("span_id", &format_args!("\"{span_id}\"")));
        }
        if suppressed > 0 {
            added.push(self.field("suppressed", &suppressed));
        }
        let line = line.trim_end();
        if self.is_json {
            let open = line.strip_suffix('}').unwrap_or(line);
            writeln!(writer, "{open},{}}}", added.join(","))
        } else {
            writeln!(writer, "{line} {}", added.join(" "))
        }
    }
}

impl<F> Line<F> {
    fn field(&self, name: &str, value: &dyn fmt::Display) -> String {
        if self.is_json {
            format!("\"{name}\":{value}")
        } else {
            format!("{name}={value}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ha_trace::Context;
    use serde_json::Value;
    use std::io;
    use std::sync::Mutex;
    use tracing_subscriber::fmt::format::JsonFields;
    use tracing_subscriber::layer::SubscriberExt;

    const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const UNSAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Written {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn say(reason: &str) {
        tracing::warn!(reason, "it is \"away\"");
    }

    #[tokio::test]
    async fn json_lines_carry_the_ids_of_a_sampled_span_and_the_count_of_what_was_left_out() {
        let (written, repeats) = (Written::default(), Arc::new(Repeats::default()));
        let format = Format::default().json().flatten_event(true);
        let lines = tracing_subscriber::fmt::layer()
            .fmt_fields(JsonFields::new())
            .event_format(Line::json(format, Arc::clone(&repeats)));
        let writer = written.clone();
        let lines = lines.with_writer(move || writer.clone());
        let subscriber = tracing_subscriber::Registry::default().with(lines);
        let _guard = tracing::subscriber::set_default(subscriber);

        say("none");
        (0..40).for_each(|_| say("none"));
        ha_trace::within(&Context::read(SAMPLED), async {
            tokio::task::yield_now().await;
            say("sampled");
            tracing::info!("one");
            tracing::info!("one");
        })
        .await;
        ha_trace::within(&Context::read(UNSAMPLED), async { say("unsampled") }).await;
        say("none");

        let text = written.text();
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
            .collect();
        let brief = |line: &Value| {
            let text = |name: &str| line[name].as_str().unwrap_or("-").to_owned();
            let reason = text("reason");
            let of = line.get("suppressed").and_then(Value::as_u64);
            format!("{reason} {} {} {of:?}", text("trace_id"), text("span_id"))
        };
        let ids = "0af7651916cd43dd8448eb211c80319c b7ad6b7169203331";
        assert_eq!(
            lines.iter().map(brief).collect::<Vec<_>>(),
            [
                "none - - None".to_owned(),
                format!("sampled {ids} Some(40)"),
                format!("- {ids} None"),
                format!("- {ids} None"),
                "unsampled - - None".to_owned(),
            ],
            "{text}"
        );
        assert_eq!(lines[0]["message"], "it is \"away\"");
        let left_out = repeats.all();
        let left_out: Vec<_> = left_out.iter().map(|place| place.suppressed).collect();
        assert_eq!(left_out, [1]);
    }

    #[test]
    fn lines_for_people_carry_the_count_too() {
        let written = Written::default();
        let line = Line::pretty(Format::default().with_ansi(false), Arc::default());
        let lines = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .event_format(line);
        let writer = written.clone();
        let lines = lines.with_writer(move || writer.clone());
        let subscriber = tracing_subscriber::Registry::default().with(lines);
        let _guard = tracing::subscriber::set_default(subscriber);
        ["a", "a", "b"].into_iter().for_each(say);
        let text = written.text();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.ends_with("reason=\"b\" suppressed=1\n"), "{text}");
    }
}
