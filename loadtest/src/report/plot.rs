//! Plots as SVG. Colours are classes of a style sheet, so that a plot on a page
//! follows light and dark. Pure.

use std::fmt::Write as _;

/// The width of every drawing.
pub(super) const WIDTH: f64 = 720.0;
/// The height of a plot of lines, and the room above and below the lines.
const HEIGHT: f64 = 260.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 40.0;
/// Between the longest text at the left and its axis, and to the right of a text.
const GAP: f64 = 8.0;
/// What one character of a text needs, at most on average.
pub(super) const CHARACTER: f64 = 7.2;

/// How many classes of colours there are.
pub(super) const COLOURS: usize = 6;

/// A name and its points.
pub(super) type Line = (String, Vec<(f64, f64)>);

/// What is drawn: the elements of an SVG of [`WIDTH`] and `height`.
#[derive(Clone, Debug)]
pub(super) struct Drawing {
    pub(super) title: String,
    pub(super) height: f64,
    pub(super) elements: String,
    /// The names of its lines, in the order of the colours.
    pub(super) names: Vec<String>,
}

/// One axis: what it shows, and the values with a mark and a text.
pub(super) struct Axis {
    pub(super) label: &'static str,
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) ticks: Vec<(f64, String)>,
}

impl Axis {
    /// An axis from 0 to at least `most`, with round values and `text` for each.
    pub(super) fn linear(label: &'static str, most: f64, text: impl Fn(f64) -> String) -> Self {
        let step = round_step(most.max(1e-9) / 4.0);
        let count = (most / step).ceil().max(1.0);
        let ticks = (0..=count as u32).map(|at| f64::from(at) * step);
        let ticks: Vec<_> = ticks.map(|value| (value, text(value))).collect();
        Self { label, from: 0.0, to: count * step, ticks }
    }

    /// An axis of powers of ten that holds `least` and `most`; its values are
    /// logarithms.
    pub(super) fn logarithmic(
        label: &'static str,
        least: f64,
        most: f64,
        text: impl Fn(f64) -> String,
    ) -> Self {
        let from = least.max(1.0).log10().floor();
        let to = most.max(1.0).log10().ceil().max(from + 1.0);
        let ticks = (0..=(to - from) as i32).map(|at| from + f64::from(at));
        let ticks = ticks.map(|power| (power, text(10f64.powf(power)))).collect();
        Self { label, from, to, ticks }
    }

    /// Where `value` lies, from 0 to 1.
    fn place(&self, value: f64) -> f64 {
        ((value - self.from) / (self.to - self.from)).clamp(0.0, 1.0)
    }
}

/// The next of 1, 2, 5, 10, … that is not less than `step`.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    let fitting = factors.into_iter().find(|factor| factor * power >= step * 0.999);
    fitting.unwrap_or(10.0) * power
}

/// How wide the longest of `texts` is.
fn widest<'a>(texts: impl Iterator<Item = &'a String>) -> f64 {
    texts.map(|text| text.chars().count()).max().unwrap_or(0) as f64 * CHARACTER
}

/// A plot of `lines`. Both margins are as wide as the texts at the axes.
pub(super) fn lines(title: &str, x: &Axis, y: &Axis, lines: &[Line]) -> Drawing {
    let mut svg = String::new();
    let left = widest(y.ticks.iter().map(|(_, text)| text)) + 2.0 * GAP;
    let last = x.ticks.last().map(|(_, text)| text);
    let right = WIDTH - GAP.max(widest(last.into_iter()) / 2.0);
    let bottom = HEIGHT - BOTTOM;
    let across = |value: f64| left + x.place(value) * (right - left);
    let down = |value: f64| bottom - y.place(value) * (bottom - TOP);
    for (value, text) in &y.ticks {
        let at = down(*value);
        let _ = write!(
            svg,
            r#"<path class="grid" d="M{left:.1} {at:.1}H{right:.1}"/><text x="{:.1}" y="{:.1}" text-anchor="end">{text}</text>"#,
            left - GAP,
            at + 4.0
        );
    }
    for (value, text) in &x.ticks {
        let at = across(*value);
        let _ = write!(
            svg,
            r#"<path class="grid" d="M{at:.1} {TOP}V{bottom}"/><text x="{at:.1}" y="{}" text-anchor="middle">{text}</text>"#,
            bottom + 16.0
        );
    }
    let _ = write!(
        svg,
        r#"<text x="{:.1}" y="{}" text-anchor="middle">{}</text>"#,
        f64::midpoint(left, right),
        HEIGHT - 6.0,
        x.label
    );
    for (at, (name, points)) in lines.iter().enumerate() {
        let colour = at % COLOURS;
        let points = points.iter().map(|(px, py)| format!("{:.1},{:.1}", across(*px), down(*py)));
        let points = points.collect::<Vec<_>>().join(" ");
        let _ = write!(
            svg,
            r#"<polyline class="line c{colour}" points="{points}"><title>{name}</title></polyline>"#
        );
    }
    let names = lines.iter().map(|(name, _)| name.clone()).collect();
    Drawing { title: format!("{title}: {}", y.label), height: HEIGHT, elements: svg, names }
}

/// One bar: its name, value, what is written behind it, and the range it had.
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) value: f64,
    pub(super) range: (f64, f64),
}

/// Horizontal bars from 0 on, each with a whisker for its range.
pub(super) fn bars(title: &str, bars: &[Bar]) -> Drawing {
    const ROW: f64 = 26.0;
    let names = widest(bars.iter().map(|bar| &bar.name)) + GAP;
    let texts = widest(bars.iter().map(|bar| &bar.text)) + 2.0 * GAP;
    let most = bars.iter().map(|bar| bar.range.1.max(bar.value)).fold(1e-9, f64::max);
    let scale = (WIDTH - names - texts).max(0.0) / most;
    let mut svg = String::new();
    for (at, bar) in bars.iter().enumerate() {
        let (colour, top) = (at % COLOURS, ROW * at as f64 + 4.0);
        let (low, high) = (names + bar.range.0 * scale, names + bar.range.1 * scale);
        let (name, text, width, middle) = (&bar.name, &bar.text, bar.value * scale, top + 9.0);
        let _ = write!(
            svg,
            r#"<text x="{:.1}" y="{:.1}" text-anchor="end">{name}</text><rect class="bar c{colour}" x="{names:.1}" y="{top:.1}" width="{width:.1}" height="18"/><path class="whisker" d="M{low:.1} {middle:.1}H{high:.1}"/><text x="{:.1}" y="{:.1}">{text}</text>"#,
            names - GAP,
            top + 13.0,
            high.max(names + width) + GAP,
            top + 13.0
        );
    }
    let height = ROW * bars.len() as f64 + 6.0;
    Drawing { title: title.to_owned(), height, elements: svg, names: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_values_and_hold_the_data() {
        let linear = Axis::linear("", 7.3, |value| format!("{value}"));
        let texts: Vec<_> = linear.ticks.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, ["0", "2", "4", "6", "8"]);
        let logarithmic = Axis::logarithmic("", 150.0, 20_000.0, |value| format!("{value:.0}"));
        let texts: Vec<_> = logarithmic.ticks.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, ["100", "1000", "10000", "100000"]);
        assert!((logarithmic.place(3.5) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn nothing_at_all_is_still_a_drawing() {
        let axis = || Axis::linear("x", 0.0, |value| format!("{value}"));
        let drawing = lines("empty", &axis(), &axis(), &[("none".to_owned(), Vec::new())]);
        assert!(!drawing.elements.contains("NaN"), "{drawing:?}");
    }

    /// Where every text of `drawing` begins and ends.
    fn extents(drawing: &Drawing) -> Vec<(f64, f64)> {
        let texts = drawing.elements.split("<text ").skip(1);
        let extent = |element: &str| {
            let (attributes, rest) = element.split_once('>').unwrap();
            let text = rest.split_once('<').unwrap().0;
            let x = attributes.split('"').nth(1).unwrap().parse::<f64>().unwrap();
            // A narrow guess: what is clipped by it is clipped by any font.
            let width = text.chars().count() as f64 * 6.0;
            match attributes.split("text-anchor=\"").nth(1) {
                Some(anchor) if anchor.starts_with("end") => (x - width, x),
                Some(_) => (x - width / 2.0, x + width / 2.0),
                None => (x, x + width),
            }
        };
        texts.map(extent).collect()
    }

    #[test]
    fn no_text_is_clipped_by_the_edge_of_the_drawing() {
        let long = |value: f64| format!("{value:.0} messages a second");
        let axis = || Axis::linear("seconds", 1e9, long);
        let drawing = lines("rate", &axis(), &axis(), &[("server".to_owned(), Vec::new())]);
        let bar = Bar {
            name: "a server with a long name".to_owned(),
            text: "1.00 [0.99..1.01]  1,234,567,890/s".to_owned(),
            value: 1.0,
            range: (0.99, 1.01),
        };
        for drawing in [drawing, bars("rate", &[bar])] {
            for (from, to) in extents(&drawing) {
                assert!(from >= 0.0 && to <= WIDTH, "{from}..{to} in {}", drawing.elements);
            }
        }
    }
}
