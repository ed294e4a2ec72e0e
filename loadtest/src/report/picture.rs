//! The report as one picture: the plots of the page one below the other, with
//! the figures and the circumstances as text. It is drawn as SVG and made an
//! image of pixels by `resvg`, with a font of this machine.

use super::plot::{CHARACTER, COLOURS, Drawing, WIDTH};
use super::plots::{self, escape};
use super::quantity::value_text;
use crate::comparison::Comparison;
use crate::outcome::Outcome;
use crate::provenance::Provenance;
use anyhow::{Context, Result, bail};
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree};
use std::fmt::Write as _;
use std::path::Path;

/// Pixels for each unit of the drawing: sharp on a dense screen.
const DENSITY: f32 = 2.0;

/// Around everything, and from line to line.
const MARGIN: f64 = 20.0;
const LINE: f64 = 18.0;

/// The style sheet of the page, light, without variables.
const STYLE: &str = "text { font-family: sans-serif; font-size: 12px; fill: #1c1e21 }\
    .title { font-size: 17px; font-weight: bold } .caption { font-weight: bold }\
    .violation { fill: #b3261e; font-weight: bold }\
    .grid { stroke: #d9dce0; fill: none } .line { fill: none; stroke-width: 2 }\
    .whisker { stroke: #1c1e21; stroke-width: 2; fill: none } .bar { opacity: .75 }";
const PALETTE: [&str; COLOURS] = ["#1f6feb", "#d1570b", "#1a7f37", "#8250df", "#bf3989", "#6e7781"];

/// Writes the picture, of a comparison if there is one.
///
/// # Errors
/// If this machine has no font, or the file cannot be written.
pub(crate) fn write_png(
    path: &Path,
    provenance: &Provenance,
    outcomes: &[Outcome],
    comparison: Option<&Comparison>,
) -> Result<()> {
    let drawn = Sheet::of(provenance, outcomes, comparison).svg();
    let mut options = Options::default();
    let fonts = options.fontdb_mut();
    fonts.load_system_fonts();
    let Some(family) = fonts.faces().find_map(|face| Some(face.families.first()?.0.clone())) else {
        bail!("a picture needs a font, of which this machine has none: use --html");
    };
    let has_sans = fonts.faces().any(|face| face.families.iter().any(|(name, _)| name == SANS));
    fonts.set_sans_serif_family(if has_sans { SANS.to_owned() } else { family });
    let tree = Tree::from_str(&drawn, &options).context("the picture is not valid SVG")?;
    let size = tree.size().to_int_size().scale_by(DENSITY).context("the picture has no size")?;
    let mut pixels =
        Pixmap::new(size.width(), size.height()).context("the picture is too large")?;
    resvg::render(&tree, Transform::from_scale(DENSITY, DENSITY), &mut pixels.as_mut());
    pixels.save_png(path).with_context(|| format!("cannot write {}", path.display()))
}

/// The font taken if the machine has it, so that pictures look alike.
const SANS: &str = "DejaVu Sans";

/// Elements one below the other.
struct Sheet {
    elements: String,
    /// Where the next begins.
    down: f64,
}

impl Sheet {
    fn of(provenance: &Provenance, outcomes: &[Outcome], comparison: Option<&Comparison>) -> Self {
        let mut sheet = Self { elements: String::new(), down: MARGIN };
        sheet.text("title", "shardcast load test");
        sheet.text("", &provenance.machine());
        sheet.text("", &provenance.command);
        match comparison {
            Some(comparison) => sheet.compared(comparison, outcomes),
            None => outcomes.iter().for_each(|outcome| sheet.section(outcome)),
        }
        sheet
    }

    fn section(&mut self, outcome: &Outcome) {
        self.down += LINE;
        self.text("title", outcome.scenario);
        self.settings(outcome);
        for violation in &outcome.violations {
            self.text("violation", violation);
        }
        for figure in &outcome.figures {
            let value = value_text(figure.value, figure.unit);
            self.row(&figure.label, &value);
        }
        for drawing in plots::of_outcome(outcome) {
            self.drawing(&drawing);
        }
    }

    fn compared(&mut self, comparison: &Comparison, outcomes: &[Outcome]) {
        let Comparison { scenario, base, rounds, .. } = comparison;
        self.down += LINE;
        self.text("title", &format!("{scenario}, {rounds} rounds against {base}"));
        self.text("", Comparison::RATIO_MEANING);
        if let Some(first) = outcomes.first() {
            self.settings(first);
        }
        for violation in outcomes.iter().flat_map(|outcome| &outcome.violations) {
            self.text("violation", violation);
        }
        for drawing in plots::of_comparison(comparison, outcomes) {
            self.drawing(&drawing);
        }
    }

    fn settings(&mut self, outcome: &Outcome) {
        let settings = outcome.settings.iter().map(|(key, value)| {
            let value = value.as_str().map_or(value.to_string(), str::to_owned);
            format!("{key} {value}")
        });
        self.text("", &settings.collect::<Vec<_>>().join(" · "));
    }

    /// `text`, in as many lines as it needs.
    fn text(&mut self, class: &str, text: &str) {
        let fitting = (WIDTH / CHARACTER) as usize;
        let mut line = String::new();
        for word in text.split(' ') {
            if !line.is_empty() && line.chars().count() + word.chars().count() >= fitting {
                self.line(class, &std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        self.line(class, &line);
    }

    fn line(&mut self, class: &str, text: &str) {
        self.down += LINE;
        let (down, text) = (self.down, escape(text));
        let _ =
            write!(self.elements, r#"<text class="{class}" x="{MARGIN}" y="{down}">{text}</text>"#);
    }

    /// A figure: its label and, further right, its value.
    fn row(&mut self, label: &str, value: &str) {
        self.line("", label);
        let (right, down) = (MARGIN + WIDTH * 0.66, self.down);
        let value = escape(value);
        let _ = write!(
            self.elements,
            r#"<text x="{right}" y="{down}" text-anchor="end">{value}</text>"#
        );
    }

    fn drawing(&mut self, drawing: &Drawing) {
        let Drawing { title, height, elements, names } = drawing;
        self.down += 2.0 * LINE;
        let down = self.down;
        // The title is escaped already.
        let _ = write!(
            self.elements,
            r#"<text class="caption" x="{MARGIN}" y="{down}">{title}</text>"#
        );
        let top = down + LINE / 2.0;
        let _ = write!(self.elements, r#"<g transform="translate({MARGIN} {top})">{elements}</g>"#);
        self.down = top + height;
        let mut across = MARGIN;
        for (at, name) in names.iter().enumerate() {
            let needed = (name.chars().count() as f64 + 3.0) * CHARACTER;
            if across > MARGIN && across + needed > MARGIN + WIDTH {
                across = MARGIN;
                self.down += LINE;
            }
            let (from, down) = (across + 14.0, self.down + LINE);
            let colour = at % COLOURS;
            let _ = write!(
                self.elements,
                r#"<rect class="c{colour}" x="{across}" y="{}" width="10" height="10"/><text x="{from}" y="{down}">{name}</text>"#,
                down - 10.0
            );
            across = from + needed;
        }
        self.down += if names.is_empty() { 0.0 } else { LINE };
    }

    fn svg(&self) -> String {
        let (width, height) = (WIDTH + 2.0 * MARGIN, self.down + MARGIN);
        let colours = PALETTE.iter().enumerate().map(|(at, colour)| {
            format!(".line.c{at} {{ stroke: {colour} }} rect.c{at} {{ fill: {colour} }}")
        });
        let colours = colours.collect::<String>();
        format!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"><style>{STYLE}{colours}</style><rect width="100%" height="100%" fill="#fff"/>{}</svg>"##,
            self.elements
        )
    }
}
