//! Plots as inline SVG. Colours are classes of the page's style sheet, so that
//! a plot follows light and dark. Pure.

use std::fmt::Write as _;

/// The drawing's size, and the room left, right, above and below the plot.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 40.0;

/// How many classes of colours there are.
const COLOURS: usize = 6;

/// A name and its points.
pub(super) type Line = (String, Vec<(f64, f64)>);

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

/// A plot of `lines`, with a legend below if there are several.
pub(super) fn lines(title: &str, x: &Axis, y: &Axis, lines: &[Line]) -> String {
    let mut svg = String::new();
    let across = |value: f64| LEFT + x.place(value) * (WIDTH - LEFT - RIGHT);
    let down = |value: f64| HEIGHT - BOTTOM - y.place(value) * (HEIGHT - TOP - BOTTOM);
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let _ = write!(svg, r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">"#);
    for (value, text) in &y.ticks {
        let at = down(*value);
        let _ = write!(
            svg,
            r#"<path class="grid" d="M{LEFT} {at:.1}H{right}"/><text x="{}" y="{:.1}" text-anchor="end">{text}</text>"#,
            LEFT - 6.0,
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
        r#"<text x="{}" y="{}" text-anchor="middle">{}</text>"#,
        f64::midpoint(LEFT, right),
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
    svg.push_str("</svg>");
    figure(&format!("{title}: {}", y.label), &svg, lines.iter().map(|(name, _)| name.as_str()))
}

/// One bar: its name, value, what is written behind it, and the range it had.
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) value: f64,
    pub(super) range: (f64, f64),
}

/// Horizontal bars from 0 on, each with a whisker for its range.
pub(super) fn bars(title: &str, bars: &[Bar]) -> String {
    const ROW: f64 = 26.0;
    const NAMES: f64 = 150.0;
    const TEXTS: f64 = 210.0;
    let most = bars.iter().map(|bar| bar.range.1.max(bar.value)).fold(1e-9, f64::max);
    let scale = (WIDTH - NAMES - TEXTS) / most;
    let height = ROW * bars.len() as f64 + 6.0;
    let mut svg =
        format!(r#"<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{title}">"#);
    for (at, bar) in bars.iter().enumerate() {
        let (colour, top) = (at % COLOURS, ROW * at as f64 + 4.0);
        let (low, high) = (NAMES + bar.range.0 * scale, NAMES + bar.range.1 * scale);
        let (name, text, width, middle) = (&bar.name, &bar.text, bar.value * scale, top + 9.0);
        let _ = write!(
            svg,
            r#"<text x="{}" y="{:.1}" text-anchor="end">{name}</text><rect class="bar c{colour}" x="{NAMES}" y="{top:.1}" width="{width:.1}" height="18"/><path class="whisker" d="M{low:.1} {middle:.1}H{high:.1}"/><text x="{:.1}" y="{:.1}">{text}</text>"#,
            NAMES - 8.0,
            top + 13.0,
            high.max(NAMES + width) + 8.0,
            top + 13.0
        );
    }
    svg.push_str("</svg>");
    figure(title, &svg, std::iter::empty())
}

fn figure<'a>(title: &str, svg: &str, names: impl Iterator<Item = &'a str>) -> String {
    let mut text = format!("<figure><figcaption>{title}</figcaption>{svg}<p class=\"legend\">");
    for (at, name) in names.enumerate() {
        let _ = write!(text, r#"<span class="c{}">■</span> {name} "#, at % COLOURS);
    }
    text.push_str("</p></figure>");
    text
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
        let svg = lines("empty", &axis(), &axis(), &[("none".to_owned(), Vec::new())]);
        assert!(svg.contains("</svg>") && !svg.contains("NaN"), "{svg}");
    }
}
