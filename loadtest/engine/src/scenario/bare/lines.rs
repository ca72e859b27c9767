//! Lines as the product wrote them, read back from the database, so that the bare writer writes the
//! same bytes to the same number of series and does nothing but write.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::io::Write as _;

use anyhow::ensure;
use ha_point::{FieldKey, Point, Prefix, Value, encode_line};
use ha_simulator::CROCKFORD;
use ha_sink::InfluxDb;
use ha_sink::query::Series;
use jiff::Timestamp;
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use serde_json::Value as Json;

use crate::database::{MEASUREMENT, TimeRange, where_clause};

/// How long before now the lines begin: no point lies in the future, as none of the product's does.
const BEGIN_BEFORE_NOW_NS: i64 = 2 * 3_600 * 1_000_000_000;
/// From a line to the next, in the microseconds that Home Assistant's times have.
const STEP_NS: i64 = 20_000;
/// Digits of nanoseconds since the epoch in this century, and the end of a line.
const TIME_BYTES: usize = 20;

/// The random part of a context's identifier, 16 digits of five bits (a ULID).
const RANDOM_DIGITS: usize = 16;

/// Lines of different points for ever: the sample again and again, times that rise, and identifiers of
/// contexts that are all different, as the product's are: a database compresses texts that come again into
/// less.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    heads: Vec<Head>,
    series: usize,
    random: SmallRng,
    next: u64,
    begin_ns: i64,
}

/// A line up to its time.
#[derive(Debug, Clone)]
struct Head {
    line: Vec<u8>,
    /// Where the random part of its context's identifier stands, if it has one.
    random_at: Option<usize>,
}

impl Head {
    fn new(line: Vec<u8>) -> Self {
        const NAME: &[u8] = b"context_id=\"";
        let named = line.windows(NAME.len()).position(|window| window == NAME);
        let random_at = named.and_then(|named| {
            let text = &line[named + NAME.len()..];
            let digits = text.iter().position(|byte| *byte == b'"')?;
            let time_digits = digits.checked_sub(RANDOM_DIGITS)?;
            Some(named + NAME.len() + time_digits)
        });
        Self { line, random_at }
    }

    fn append(&self, random: u128, body: &mut Vec<u8>) {
        let begins = body.len();
        body.extend_from_slice(&self.line);
        if let Some(random_at) = self.random_at {
            let digits = &mut body[begins + random_at..][..RANDOM_DIGITS];
            for (place, digit) in digits.iter_mut().enumerate() {
                *digit = CROCKFORD[(random >> (5 * place)) as usize & 31];
            }
        }
    }
}

impl Lines {
    /// Of the points that the database holds of this time and instance (all, without one), in the
    /// order of their times; with another instance instead, where one is given.
    ///
    /// # Errors
    /// When it cannot be read, or holds none.
    pub(super) async fn of_points(
        database: &InfluxDb,
        condition: &str,
        instance: Option<&str>,
    ) -> anyhow::Result<Self> {
        let types = types(database).await?;
        let mut lines: Vec<(i64, Vec<u8>)> = Vec::new();
        let mut series = HashSet::new();
        let statement = format!("SELECT * FROM \"{MEASUREMENT}\"{condition} GROUP BY *");
        let on_series = |found: Series| {
            for row in &found.values {
                let point = point(&found, row, &types, instance);
                let Some((time_ns, line)) = point.and_then(line_of) else {
                    continue;
                };
                series.insert(series_of(&line).to_vec());
                lines.push((time_ns, line));
            }
        };
        database.query(&statement, on_series).await?;
        ensure!(
            !lines.is_empty(),
            "the database holds no points of the sample to copy"
        );
        lines.sort_by_key(|(time_ns, _)| *time_ns);
        let now_ns = i64::try_from(Timestamp::now().as_nanosecond())?;
        Ok(Self {
            heads: lines.into_iter().map(|(_, line)| Head::new(line)).collect(),
            series: series.len(),
            random: SmallRng::seed_from_u64(0),
            next: 0,
            begin_ns: (now_ns - BEGIN_BEFORE_NOW_NS) / 1_000 * 1_000,
        })
    }

    /// Bytes of a line, with its time and its end.
    pub(super) fn mean_bytes(&self) -> f64 {
        let bytes: usize = self
            .heads
            .iter()
            .map(|head| head.line.len() + TIME_BYTES)
            .sum();
        (bytes as f64 / self.heads.len() as f64).round()
    }

    /// Series that the lines are of.
    pub(super) fn series(&self) -> usize {
        self.series
    }

    /// Appends the next `count` lines.
    pub(super) fn append(&mut self, count: u64, body: &mut Vec<u8>) {
        for _ in 0..count {
            let at = (self.next % self.heads.len() as u64) as usize;
            let steps = i64::try_from(self.next).unwrap_or(i64::MAX);
            let time_ns = self.begin_ns.saturating_add(steps.saturating_mul(STEP_NS));
            self.next += 1;
            self.heads[at].append(self.random.random(), body);
            // Writing to memory does not fail.
            let _ = writeln!(body, "{time_ns}");
        }
    }
}

/// The condition of the points of a time.
pub(super) fn condition(
    instances: Option<&crate::database::Instances>,
    from_ns: i64,
    to_ns: i64,
) -> String {
    let range = TimeRange {
        from_ns: Some(from_ns),
        to_ns: Some(to_ns),
    };
    where_clause(instances, range)
}

/// Which type a field has: an answer in JSON does not tell 20 from 20.0.
async fn types(database: &InfluxDb) -> anyhow::Result<HashMap<String, String>> {
    let mut types = HashMap::new();
    let on_series = |series: Series| {
        for row in &series.values {
            if let [Json::String(name), Json::String(kind)] = row.as_slice() {
                types.insert(name.clone(), kind.clone());
            }
        }
    };
    let statement = format!("SHOW FIELD KEYS FROM \"{MEASUREMENT}\"");
    database.query(&statement, on_series).await?;
    Ok(types)
}

fn point<'a>(
    series: &'a Series,
    row: &'a [Json],
    types: &HashMap<String, String>,
    instance: Option<&'a str>,
) -> Option<Point<'a>> {
    let mut point = Point::new(MEASUREMENT, row.first()?.as_i64()?);
    for (name, value) in &series.tags {
        let instance = instance.filter(|_| name == "instance");
        point.tag(name.as_str(), instance.unwrap_or(value));
    }
    for (name, value) in series.columns.iter().zip(row).skip(1) {
        let value = match types.get(name).map(String::as_str) {
            Some("float") => value.as_f64().map(Value::Float),
            Some("integer") => value.as_i64().map(Value::Integer),
            Some("boolean") => value.as_bool().map(Value::Boolean),
            _ => value.as_str().map(|text| Value::Text(text.into())),
        };
        let key = FieldKey {
            prefix: Prefix::Foreign,
            name: Cow::Borrowed(name.as_str()),
        };
        point.fields.extend(value.map(|value| (key, value)));
    }
    Some(point)
}

/// Its time, and the line up to there.
fn line_of(mut point: Point<'_>) -> Option<(i64, Vec<u8>)> {
    if !point.seal() {
        return None;
    }
    let mut line = Vec::new();
    encode_line(&point, &mut line);
    let space = line.iter().rposition(|byte| *byte == b' ')?;
    line.truncate(space + 1);
    Some((point.time_ns, line))
}

/// A line up to the first space that is none of a name.
fn series_of(line: &[u8]) -> &[u8] {
    let mut before = b' ';
    let end = line.iter().position(|byte| {
        let is_end = *byte == b' ' && before != b'\\';
        before = *byte;
        is_end
    });
    &line[..end.unwrap_or(line.len())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn types() -> HashMap<String, String> {
        let types = [
            ("available", "boolean"),
            ("sequence", "integer"),
            ("state", "string"),
            ("value", "float"),
        ];
        let owned = |(name, kind): (&str, &str)| (name.to_owned(), kind.to_owned());
        types.map(owned).into()
    }

    /// As InfluxDB answers `SELECT * … GROUP BY *`: all fields of the measurement, and every tag.
    fn series() -> Series {
        let tags = [
            ("device_class", ""),
            ("entity_id", "sensor.a b"),
            ("instance", "home"),
        ];
        let columns = ["time", "available", "sequence", "state", "value"];
        Series {
            name: MEASUREMENT.to_owned(),
            tags: tags
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            columns: columns.map(str::to_owned).into(),
            values: vec![
                vec![json!(5_000), json!(null), json!(7), json!("20"), json!(20)],
                vec![
                    json!(6_000),
                    json!(false),
                    json!(8),
                    json!("a \"b\""),
                    json!(null),
                ],
            ],
        }
    }

    fn line(row: usize, instance: Option<&str>) -> (i64, String) {
        let series = series();
        let point = point(&series, &series.values[row], &types(), instance).unwrap();
        let (time_ns, line) = line_of(point).unwrap();
        (time_ns, String::from_utf8(line).unwrap())
    }

    #[test]
    fn a_point_that_was_read_back_is_the_line_that_was_written() {
        let head = "home_assistant_events,entity_id=sensor.a\\ b,instance=home ";
        let first = format!("{head}sequence=7i,state=\"20\",value=20.0 ");
        assert_eq!(line(0, None), (5_000, first));
        let second = format!("{head}available=false,sequence=8i,state=\"a \\\"b\\\"\" ");
        assert_eq!(line(1, None), (6_000, second.clone()));
        let elsewhere = second.replace("instance=home", "instance=bare");
        assert_eq!(line(1, Some("bare")), (6_000, elsewhere));
        assert_eq!(series_of(second.as_bytes()), head.trim_end().as_bytes());
    }

    #[test]
    fn times_rise_and_lie_in_the_past() {
        let mut lines = Lines {
            heads: [&b"a x=1 "[..], b"b x=1 "]
                .map(|line| Head::new(line.to_vec()))
                .into(),
            series: 2,
            random: SmallRng::seed_from_u64(0),
            next: 0,
            begin_ns: 1_000,
        };
        let mut body = Vec::new();
        lines.append(2, &mut body);
        lines.append(1, &mut body);
        let text = String::from_utf8(body).unwrap();
        assert_eq!(text, "a x=1 1000\nb x=1 21000\na x=1 41000\n");
        assert_eq!(lines.mean_bytes(), 26.0);
    }

    #[test]
    fn contexts_are_different_and_nothing_else_is() {
        let line = br#"a context_id="01HZZZZZZZ0123456789ABCDEF",x="01HZZZZZZZ0123456789ABCDEF" "#;
        let head = Head::new(line.to_vec());
        let mut body = Vec::new();
        head.append(0, &mut body);
        let zeros = r#"a context_id="01HZZZZZZZ0000000000000000",x="01HZZZZZZZ0123456789ABCDEF" "#;
        assert_eq!(String::from_utf8(body).unwrap(), zeros);
        assert_eq!(
            Head::new(br#"a context_id="short" "#.to_vec()).random_at,
            None
        );
    }
}
