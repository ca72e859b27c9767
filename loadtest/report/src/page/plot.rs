//! Plots as SVG, drawn by hand: no script, nothing from elsewhere.

use std::fmt::Write as _;

use super::markup::escape;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 28.0;

/// One plot.
pub(super) struct Plot<'a> {
    pub(super) title: &'a str,
    /// Behind the figures of the upright axis.
    pub(super) unit: &'a str,
    /// Of what the level axis counts; seconds, mostly.
    pub(super) x_unit: &'a str,
    pub(super) lines: Vec<Line>,
    pub(super) bands: &'a [Band],
    /// The upright axis by powers of ten.
    pub(super) is_log: bool,
}

/// One line; where a value is missing, so is the line.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, Option<f64>)>,
}

/// Something that lasted, or (without an end) happened.
pub(super) struct Band {
    pub(super) name: String,
    pub(super) from: f64,
    pub(super) to: Option<f64>,
}

impl Plot<'_> {
    /// The figure; empty if there is nothing to draw.
    pub(super) fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let values = || points().filter_map(|(_, value)| *value);
        let Some(x_max) = points().map(|(x, _)| *x).reduce(f64::max) else {
            return String::new();
        };
        let Some(y_max) = values().reduce(f64::max) else {
            return String::new();
        };
        let x_max = x_max.max(1e-9);
        let least = values().filter(|value| *value > 0.0).reduce(f64::min);
        let scale = match self.is_log {
            true => Scale::log(least.unwrap_or(1.0), y_max),
            false => Scale::linear(y_max),
        };
        let x_of = |x: f64| LEFT + x.clamp(0.0, x_max) / x_max * (WIDTH - LEFT - RIGHT);
        let y_of = |y: f64| TOP + (1.0 - scale.share(y)) * (HEIGHT - TOP - BOTTOM);
        let mut svg = format!(
            "<figure><figcaption>{}</figcaption>\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             aria-label=\"{0}\">\n",
            escape(self.title)
        );
        for band in self.bands {
            let (from, to) = (x_of(band.from), x_of(band.to.unwrap_or(band.from)));
            let _ = writeln!(
                svg,
                "<rect class=\"fault\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\">\
                 <title>{}</title></rect>",
                (to - from).max(1.5),
                HEIGHT - TOP - BOTTOM,
                escape(&band.name)
            );
        }
        for tick in &scale.ticks {
            let y = y_of(*tick);
            let _ = writeln!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"y\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                y + 4.0,
                number(*tick)
            );
        }
        for tick in Scale::linear(x_max)
            .ticks
            .iter()
            .filter(|tick| **tick <= x_max)
        {
            let _ = writeln!(
                svg,
                "<text class=\"x\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                x_of(*tick),
                HEIGHT - 10.0,
                number(*tick)
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{LEFT}\" y=\"10\">{}</text>",
            escape(self.unit)
        );
        for (at, line) in self.lines.iter().enumerate() {
            let mut path = String::new();
            let mut pen_down = false;
            for (x, y) in &line.points {
                let Some(y) = y else {
                    pen_down = false;
                    continue;
                };
                let command = if pen_down { 'L' } else { 'M' };
                let _ = write!(path, "{command}{:.1} {:.1}", x_of(*x), y_of(*y));
                // A point by itself has no length; a round end makes it seen.
                if !pen_down {
                    path.push_str("h0");
                }
                pen_down = true;
            }
            let _ = writeln!(svg, "<path class=\"line c{at}\" d=\"{path}\"/>");
        }
        svg.push_str("</svg>\n<div class=\"legend\">");
        for (at, line) in self.lines.iter().enumerate() {
            let _ = write!(svg, "<span class=\"c{at}\">{}</span> ", escape(&line.name));
        }
        let _ = writeln!(svg, "<i>{}</i></div></figure>", escape(self.x_unit));
        svg
    }
}

struct Scale {
    low: f64,
    high: f64,
    is_log: bool,
    ticks: Vec<f64>,
}

impl Scale {
    /// From 0 to at least `high`, with about four round steps.
    fn linear(high: f64) -> Self {
        let high = if high > 0.0 { high } else { 1.0 };
        let rough = high / 4.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0]
            .into_iter()
            .map(|factor| factor * power)
            .find(|step| *step >= rough)
            .unwrap_or(rough);
        let steps = (high / step).ceil() as u32;
        Self {
            low: 0.0,
            high: step * f64::from(steps),
            is_log: false,
            ticks: (0..=steps).map(|at| step * f64::from(at)).collect(),
        }
    }

    /// Between powers of ten that hold both.
    fn log(low: f64, high: f64) -> Self {
        let (low, mut high) = (low.log10().floor() as i32, high.log10().ceil() as i32);
        if high <= low {
            high = low + 1;
        }
        Self {
            low: 10_f64.powi(low),
            high: 10_f64.powi(high),
            is_log: true,
            ticks: (low..=high).map(|power| 10_f64.powi(power)).collect(),
        }
    }

    /// Where a value is between the ends, 0 to 1.
    fn share(&self, value: f64) -> f64 {
        let share = if self.is_log {
            let value = value.max(self.low);
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        share.clamp(0.0, 1.0)
    }
}

/// Short: 12.5k for 12,500.
fn number(value: f64) -> String {
    let (value, suffix) = match value.abs() {
        large if large >= 1e6 => (value / 1e6, "M"),
        large if large >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_round_and_hold_everything() {
        for (high, ticks) in [(7.0, 5), (1_000.0, 5), (0.3, 4), (12_345.0, 4)] {
            let scale = Scale::linear(high);
            assert!(scale.high >= high, "{high}");
            assert_eq!(scale.ticks.len(), ticks, "{high}: {:?}", scale.ticks);
            assert!(scale.share(high) <= 1.0 && scale.share(0.0) == 0.0);
        }
        let scale = Scale::log(3.0, 1_200.0);
        assert_eq!(scale.ticks, [1.0, 10.0, 100.0, 1_000.0, 10_000.0]);
        assert!((scale.share(100.0) - 0.5).abs() < 1e-9);
        assert_eq!(number(12_500.0), "12.5k");
        assert_eq!(number(0.5), "0.5");
    }

    #[test]
    fn a_gap_is_a_gap_and_text_is_text() {
        let plot = Plot {
            title: "a <b>",
            unit: "ms",
            x_unit: "s",
            lines: vec![Line {
                name: "p99".to_owned(),
                points: vec![
                    (0.0, Some(1.0)),
                    (1.0, None),
                    (2.0, Some(3.0)),
                    (3.0, Some(2.0)),
                ],
            }],
            bands: &[Band {
                name: "fault & co".to_owned(),
                from: 1.0,
                to: None,
            }],
            is_log: false,
        };
        let svg = plot.svg();
        let path = svg.split("d=\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!(path.matches('M').count(), 2, "{path}");
        assert!(
            svg.contains("a &lt;b&gt;") && svg.contains("fault &amp; co"),
            "{svg}"
        );
        let empty = Plot {
            lines: Vec::new(),
            ..plot
        };
        assert_eq!(empty.svg(), "");
    }
}
