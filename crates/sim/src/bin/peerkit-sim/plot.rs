//! Charts as SVG: light on light screens, dark on dark ones.
//!
//! A page is a column of charts. For another scenario, make more [`Chart`]s from what it counts.

use std::fmt::{self, Display, Formatter, Write};

/// One chart with its axes.
#[derive(Clone, Debug)]
pub(crate) struct Chart {
    pub(crate) title: String,
    /// What the horizontal axis counts, with its unit.
    pub(crate) across: &'static str,
    pub(crate) layers: Vec<Layer>,
    /// Names on the horizontal axis instead of numbers, and where they are; none for numbers.
    pub(crate) names: Vec<(f64, String)>,
}

/// What is drawn into a chart, one over the other.
#[derive(Clone, Debug)]
pub(crate) enum Layer {
    /// A range of the horizontal axis that stands out.
    Range {
        from: f64,
        to: f64,
        label: &'static str,
    },
    /// A curve, with the area below it.
    Area(Series),
    /// A curve.
    Line(Series),
    /// Columns from one place to the next, with their heights. The last place has no column.
    Columns(Series),
    /// A place on the horizontal axis.
    Mark { at: f64, label: String },
    /// A few words above a point.
    Note { at: (f64, f64), label: String },
}

/// Points from left to right.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    /// For the legend.
    pub(crate) name: &'static str,
    pub(crate) points: Vec<(f64, f64)>,
}

/// A page with charts below each other.
pub(crate) fn page(title: &str, subtitle: &str, charts: &[Chart]) -> String {
    let height = TOP + charts.len() as f64 * CHART_HEIGHT;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" font-family=\"system-ui, sans-serif\" font-size=\"12\">\n<style>{STYLE}</style>\n\
         <rect class=\"page\" width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    let heading = Text::new(LEFT, 34.0, title).class("ink", "#1f2328");
    let below = Text::new(LEFT, 56.0, subtitle);
    let _ = writeln!(
        out,
        "<g font-size=\"18\" font-weight=\"600\">{heading}</g>\n{below}"
    );
    for (place, chart) in charts.iter().enumerate() {
        let top = TOP + place as f64 * CHART_HEIGHT;
        let _ = writeln!(out, "<g transform=\"translate(0 {top})\">");
        Frame::of(chart).draw(chart, &mut out);
        out.push_str("</g>\n");
    }
    out.push_str("</svg>\n");
    out
}

/// The ranges of both axes.
struct Frame {
    across: Axis,
    up: Axis,
}

impl Frame {
    fn of(chart: &Chart) -> Self {
        let series = || chart.layers.iter().filter_map(Layer::series);
        let points = || series().flat_map(|it| &it.points);
        let (across, up) = (|| points().map(|it| it.0), || points().map(|it| it.1));
        let least = across().fold(f64::INFINITY, f64::min);
        Self {
            across: Axis::across(least, across().fold(0.0, f64::max)),
            up: Axis::up(up().fold(0.0, f64::max)),
        }
    }

    fn draw(&self, chart: &Chart, out: &mut String) {
        let title = Text::new(LEFT, 16.0, &chart.title).class("ink", "#1f2328");
        let _ = writeln!(out, "<g font-weight=\"600\">{title}</g>");
        for layer in chart
            .layers
            .iter()
            .filter(|it| matches!(it, Layer::Range { .. }))
        {
            self.layer(layer, 0, out);
        }
        self.grid(out);
        self.scale(chart, out);
        let mut colour = 0;
        for layer in chart
            .layers
            .iter()
            .filter(|it| !matches!(it, Layer::Range { .. }))
        {
            self.layer(layer, colour, out);
            colour += usize::from(layer.series().is_some());
        }
        legend(chart, out);
    }

    fn grid(&self, out: &mut String) {
        for value in self.up.ticks() {
            let (y, label) = (self.y(value), self.up.label(value));
            let end = LEFT + PLOT_WIDTH;
            let _ = writeln!(
                out,
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{end}\" stroke=\"#d1d9e0\" fill=\"none\"/>{}",
                Text::new(LEFT - 8.0, y + 4.0, &label).anchor("end")
            );
        }
    }

    fn scale(&self, chart: &Chart, out: &mut String) {
        let bottom = PLOT_TOP + PLOT_HEIGHT;
        let number = |value| (value, self.across.label(value));
        let places = match &chart.names[..] {
            [] => self.across.ticks().map(number).collect(),
            names => names.to_vec(),
        };
        for (value, label) in places {
            let x = self.x(value);
            let tick = format!(
                "<path class=\"axis\" d=\"M{x:.1} {bottom}v5\" stroke=\"#818b98\" fill=\"none\"/>"
            );
            let label = Text::new(x, bottom + 19.0, &label).anchor("middle");
            let _ = writeln!(out, "{tick}{label}");
        }
        let name = Text::new(LEFT + PLOT_WIDTH, bottom + 36.0, chart.across).anchor("end");
        let _ = writeln!(out, "{name}");
    }

    fn layer(&self, layer: &Layer, colour: usize, out: &mut String) {
        let paint = COLOURS[colour % COLOURS.len()];
        let bottom = PLOT_TOP + PLOT_HEIGHT;
        let _ = match layer {
            Layer::Range { from, to, label } => {
                let (x, width) = (self.x(*from), self.x(*to) - self.x(*from));
                let label = Text::new(x + 6.0, PLOT_TOP + 14.0, label);
                writeln!(
                    out,
                    "<rect class=\"range\" x=\"{x:.1}\" y=\"{PLOT_TOP}\" width=\"{width:.1}\" \
                     height=\"{PLOT_HEIGHT}\" fill=\"#eff2f5\"/>{label}"
                )
            }
            Layer::Area(series) => {
                let curve = self.curve(series);
                let (first, last) = (series.points.first(), series.points.last());
                let ends = first.zip(last).map(|(first, last)| (self.x(first.0), self.x(last.0)));
                let (first, last) = ends.unwrap_or((LEFT, LEFT));
                writeln!(
                    out,
                    "<path class=\"{0}f\" d=\"{curve}L{last:.1} {bottom}L{first:.1} {bottom}Z\" fill=\"{1}\" \
                     fill-opacity=\"0.15\"/><path class=\"{0}\" d=\"{curve}\" stroke=\"{1}\" \
                     stroke-width=\"1.8\" stroke-linejoin=\"round\" fill=\"none\"/>",
                    paint.0, paint.1
                )
            }
            Layer::Line(series) => writeln!(
                out,
                "<path class=\"{}\" d=\"{}\" stroke=\"{}\" stroke-width=\"1.8\" stroke-linejoin=\"round\" \
                 fill=\"none\"/>",
                paint.0,
                self.curve(series),
                paint.1
            ),
            Layer::Columns(series) => series.points.windows(2).try_for_each(|pair| {
                let (x, y) = (self.x(pair[0].0), self.y(pair[0].1));
                let (width, height) = ((self.x(pair[1].0) - x - 1.0).max(0.5), bottom - y);
                writeln!(
                    out,
                    "<rect class=\"{}f\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
                     fill=\"{}\"/>",
                    paint.0, paint.1
                )
            }),
            Layer::Note { at, label } => {
                let (x, y) = (self.x(at.0), self.y(at.1) - 5.0);
                let label = Text::new(x, y, label).anchor("middle").class("ink", "#1f2328");
                writeln!(out, "{label}")
            }
            Layer::Mark { at, label } => {
                let x = self.x(*at);
                let right = x > LEFT + PLOT_WIDTH * 0.8;
                let label = Text::new(x, PLOT_TOP - 4.0, label)
                    .anchor(if right { "end" } else { "middle" })
                    .class("ink", "#1f2328");
                writeln!(
                    out,
                    "<path class=\"mark\" d=\"M{x:.1} {PLOT_TOP}V{bottom}\" stroke=\"#1f2328\" \
                     stroke-dasharray=\"4 3\" fill=\"none\"/>{label}"
                )
            }
        };
    }

    fn curve(&self, series: &Series) -> String {
        let mut path = String::new();
        for (place, (x, y)) in series.points.iter().enumerate() {
            let step = if place == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{step}{:.1} {:.1}", self.x(*x), self.y(*y));
        }
        path
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + self.across.place(value) * PLOT_WIDTH
    }

    fn y(&self, value: f64) -> f64 {
        PLOT_TOP + (1.0 - self.up.place(value)) * PLOT_HEIGHT
    }
}

/// The names of the curves, when there are several.
fn legend(chart: &Chart, out: &mut String) {
    let names: Vec<_> = chart
        .layers
        .iter()
        .filter_map(Layer::series)
        .map(|it| it.name)
        .collect();
    if names.len() < 2 {
        return;
    }
    let mut x = LEFT + PLOT_WIDTH;
    for (place, name) in names.iter().enumerate().rev() {
        let (class, colour) = COLOURS[place % COLOURS.len()];
        x -= 6.6 * name.len() as f64 + 16.0;
        let label = Text::new(x + 15.0, 16.0, name);
        let swatch = format!(
            "<rect class=\"{class}f\" x=\"{x:.1}\" y=\"7\" width=\"10\" height=\"10\" rx=\"2\" fill=\"{colour}\"/>"
        );
        let _ = writeln!(out, "{label}{swatch}");
        x -= 14.0;
    }
}

impl Layer {
    fn series(&self) -> Option<&Series> {
        match self {
            Self::Area(series) | Self::Line(series) | Self::Columns(series) => Some(series),
            Self::Range { .. } | Self::Mark { .. } | Self::Note { .. } => None,
        }
    }
}

/// An axis with a tick at each multiple of `step`.
struct Axis {
    step: f64,
    begin: f64,
    end: f64,
}

impl Axis {
    /// From zero to a tick beyond all values.
    fn up(most: f64) -> Self {
        let most = if most > 0.0 { most } else { 1.0 };
        let step = round_step(most, 4.0);
        Self {
            step,
            begin: 0.0,
            end: (most / step - 1e-9).ceil() * step,
        }
    }

    /// From zero, or near to the least value if all are far from zero, to the largest.
    fn across(least: f64, most: f64) -> Self {
        let most = if most > 0.0 { most } else { 1.0 };
        let begin = if least > most / 4.0 && least < most {
            least
        } else {
            0.0
        };
        let step = round_step(most - begin, 8.0);
        Self {
            step,
            begin: (begin / step).floor() * step,
            end: most,
        }
    }

    /// Where a value is, from 0 to 1.
    fn place(&self, value: f64) -> f64 {
        ((value - self.begin) / (self.end - self.begin)).clamp(0.0, 1.0)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        let (step, begin, end) = (self.step, self.begin, self.end);
        let all = (0_u32..).map(move |it| begin + f64::from(it) * step);
        all.take_while(move |it| *it <= end + step * 1e-6)
    }

    fn label(&self, value: f64) -> String {
        let digits = (-self.step.log10().floor()).max(0.0) as usize;
        format!("{value:.digits$}")
    }
}

/// The smallest round step that makes no more than `count` of a length.
fn round_step(length: f64, count: f64) -> f64 {
    let rough = length / count;
    let unit = 10_f64.powf(rough.log10().floor());
    let mut steps = [1.0, 2.0, 5.0].map(|it| it * unit).into_iter();
    steps
        .find(|step| *step >= rough * 0.999)
        .unwrap_or(10.0 * unit)
}

/// A text, escaped.
struct Text<'a> {
    place: (f64, f64),
    text: &'a str,
    anchor: &'static str,
    class: (&'static str, &'static str),
}

impl<'a> Text<'a> {
    fn new(x: f64, y: f64, text: &'a str) -> Self {
        Self {
            place: (x, y),
            text,
            anchor: "start",
            class: ("label", "#59636e"),
        }
    }

    fn anchor(self, anchor: &'static str) -> Self {
        Self { anchor, ..self }
    }

    fn class(self, class: &'static str, colour: &'static str) -> Self {
        Self {
            class: (class, colour),
            ..self
        }
    }
}

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let ((x, y), (class, colour)) = (self.place, self.class);
        write!(
            f,
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{}\" fill=\"{colour}\">{}</text>",
            self.anchor,
            escape(self.text)
        )
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// A class and its colour on a light page.
const COLOURS: [(&str, &str); 3] = [("s0", "#0969da"), ("s1", "#cf222e"), ("s2", "#1a7f37")];

const STYLE: &str = "@media (prefers-color-scheme:dark){.page{fill:#0d1117}.range{fill:#21262d}\
    .grid{stroke:#30363d}.axis{stroke:#6e7681}.ink{fill:#f0f6fc}.label{fill:#9198a1}.mark{stroke:#f0f6fc}\
    .s0{stroke:#4493f8}.s0f{fill:#4493f8}.s1{stroke:#f85149}.s1f{fill:#f85149}\
    .s2{stroke:#3fb950}.s2f{fill:#3fb950}}";

const WIDTH: f64 = 860.0;
const TOP: f64 = 80.0;
const LEFT: f64 = 64.0;
const CHART_HEIGHT: f64 = 250.0;
const PLOT_TOP: f64 = 30.0;
const PLOT_WIDTH: f64 = 764.0;
const PLOT_HEIGHT: f64 = 160.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_ticks_and_hold_everything() {
        for (most, step, end) in [
            (0.0, 0.5, 1.0),
            (1.0, 0.5, 1.0),
            (7.0, 2.0, 8.0),
            (400.0, 100.0, 400.0),
            (401.0, 200.0, 600.0),
        ] {
            let axis = Axis::up(most);
            assert_eq!(
                (axis.begin, axis.end, axis.step),
                (0.0, end, step),
                "{most}"
            );
            assert_eq!(axis.ticks().last(), Some(end));
        }
    }

    #[test]
    fn an_axis_begins_near_the_least_value_when_all_are_far_from_zero() {
        let axis = Axis::across(61.0, 98.0);
        assert_eq!((axis.begin, axis.end, axis.step), (60.0, 98.0, 5.0));
        let axis = Axis::across(3.0, 98.0);
        assert_eq!((axis.begin, axis.end, axis.step), (0.0, 98.0, 20.0));
        assert_eq!(axis.ticks().count(), 5);
    }

    #[test]
    fn what_is_drawn_stays_on_the_page_and_is_escaped() {
        let series = Series {
            name: "a",
            points: vec![(0.0, 0.0), (5.0, 10.0), (10.0, 3.0)],
        };
        let chart = Chart {
            title: "a < b & c".to_owned(),
            across: "seconds",
            layers: vec![
                Layer::Range {
                    from: 2.0,
                    to: 4.0,
                    label: "apart",
                },
                Layer::Area(series.clone()),
                Layer::Columns(series.clone()),
                Layer::Line(series),
                Layer::Mark {
                    at: 7.0,
                    label: "here".to_owned(),
                },
                Layer::Note {
                    at: (5.0, 10.0),
                    label: "most".to_owned(),
                },
            ],
            names: vec![(5.0, "in the middle".to_owned())],
        };
        let page = page("title", "subtitle", &[chart]);
        assert!(page.contains("a &lt; b &amp; c"));
        assert!(page.contains("in the middle") && page.contains("most"));
        assert!(
            page.contains("M64.0 190.0L446.0 30.0L828.0 142.0"),
            "{page}"
        );
        assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
    }

    #[test]
    fn nothing_to_draw_is_an_empty_chart() {
        let series = Series {
            name: "a",
            points: Vec::new(),
        };
        let layers = vec![Layer::Area(series.clone()), Layer::Columns(series)];
        let chart = Chart {
            title: String::new(),
            across: "s",
            layers,
            names: Vec::new(),
        };
        assert!(!page("", "", &[chart]).contains("NaN"));
    }
}
