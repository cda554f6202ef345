//! A group's ratios as a picture: a bar for each figure, the spread of its rounds as a whisker and
//! its goal as a tick.

use std::fmt::{Display, Write};

use crate::figure::Measured;
use crate::table::readable;
use crate::work::Goal;

/// An SVG that is readable on light and on dark ground. Figures without a ratio are lines of text.
pub(crate) fn plot(title: &str, figures: &[Measured]) -> String {
    let highest = figures.iter().flat_map(extremes).fold(1.25, f64::max).min(MOST);
    let x = |ratio: f64| LABELS + BARS * ratio.min(highest) / highest;
    let height = TOP + ROW * figures.len() as f64 + BOTTOM;
    let ground = height - BOTTOM;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" font-family=\"system-ui, sans-serif\" font-size=\"12\">\n{STYLE}\n\
         <rect class=\"ground\" width=\"{WIDTH}\" height=\"{height}\"/>\n"
    );
    text(&mut svg, "title", 12.0, 22.0, title);
    text(
        &mut svg,
        "quiet",
        12.0,
        40.0,
        "FeDist / floor. Whisker: the rounds. Triangle: the goal, pointing to where the bar is to end; ✓ met, ✗ missed",
    );
    for tick in ticks(highest) {
        let class = if tick == 1.0 { "one" } else { "grid" };
        line(&mut svg, class, (x(tick), TOP - 4.0), (x(tick), ground));
        text(&mut svg, "quiet middle", x(tick), ground + 16.0, tick);
    }
    for (row, figure) in figures.iter().enumerate() {
        let middle = TOP + ROW * (row as f64 + 0.5);
        text(&mut svg, "end", LABELS - 8.0, middle + 4.0, figure.label);
        let Some(ratio) = figure.ratio else {
            let value = figure.fedist.map_or_else(|| "-".to_owned(), readable);
            let goal = figure.goal.map_or_else(String::new, |goal| format!(" ({goal})"));
            let value = format!("{value} {}{goal}", figure.unit);
            text(&mut svg, class(figure), LABELS + 6.0, middle + 4.0, value);
            continue;
        };
        let _ = writeln!(
            svg,
            "<rect class=\"bar {}\" x=\"{LABELS}\" y=\"{:.1}\" width=\"{:.1}\" height=\"12\"/>",
            class(figure),
            middle - 6.0,
            x(ratio) - LABELS
        );
        if let Some((low, high)) = figure.spread {
            line(&mut svg, "whisker", (x(low), middle), (x(high), middle));
            for end in [low, high] {
                line(&mut svg, "whisker", (x(end), middle - 3.0), (x(end), middle + 3.0));
            }
        }
        if let Some((goal, more_is_better)) = goal(figure) {
            // It points to where the bar's end is to be.
            let (base, tip) = if more_is_better { (-5.0, 4.0) } else { (5.0, -4.0) };
            let _ = writeln!(
                svg,
                "<path class=\"goal\" d=\"M{x:.1} {:.1}V{:.1}M{base:.1} {:.1}L{tip:.1} {middle:.1}L{base:.1} {:.1}Z\"/>",
                middle - 10.0,
                middle + 10.0,
                middle - 5.0,
                middle + 5.0,
                x = x(goal),
                base = x(goal) + base + if more_is_better { 5.0 } else { -5.0 },
                tip = x(goal) + tip + if more_is_better { 5.0 } else { -5.0 },
            );
        }
        let beyond = if ratio > highest { " →" } else { "" };
        let met = figure.is_met().map_or("", |met| if met { " ✓" } else { " ✗" });
        let ratio = format!("{ratio:.2}{beyond}{met}");
        text(&mut svg, class(figure), LABELS + BARS + 12.0, middle + 4.0, ratio);
    }
    svg.push_str("</svg>\n");
    svg
}

/// What the axis has to reach, if it can.
fn extremes(figure: &Measured) -> impl Iterator<Item = f64> {
    let high = figure.ratio.and(figure.spread).map(|spread| spread.1);
    [figure.ratio, high, goal(figure).map(|goal| goal.0)].into_iter().flatten()
}

/// The ratio that is the goal, and whether more is better.
fn goal(figure: &Measured) -> Option<(f64, bool)> {
    match figure.goal? {
        Goal::RatioAtLeast(least) => Some((least, true)),
        Goal::RatioAtMost(most) => Some((most, false)),
        Goal::ValueAtMost(_) => None,
    }
}

fn class(figure: &Measured) -> &'static str {
    match figure.is_met() {
        Some(true) => "met",
        Some(false) => "missed",
        None => "free",
    }
}

fn ticks(highest: f64) -> impl Iterator<Item = f64> {
    let step = if highest <= 2.5 { 0.25 } else { 0.5 };
    (0..).map(move |tick| f64::from(tick) * step).take_while(move |&tick| tick <= highest)
}

fn line(svg: &mut String, class: &str, from: (f64, f64), to: (f64, f64)) {
    let _ = writeln!(
        svg,
        "<line class=\"{class}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
        from.0, from.1, to.0, to.1
    );
}

fn text(svg: &mut String, class: &str, x: f64, y: f64, text: impl Display) {
    let text = text.to_string().replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(svg, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>");
}

const WIDTH: f64 = 860.0;
/// Where the labels end and the bars begin.
const LABELS: f64 = 330.0;
const BARS: f64 = 450.0;
const TOP: f64 = 60.0;
const ROW: f64 = 24.0;
const BOTTOM: f64 = 30.0;
/// Longer bars and whiskers are cut off.
const MOST: f64 = 3.0;

const STYLE: &str = "<style>
text { fill: #1f2328 } .title { font-size: 15px; font-weight: 600 } .quiet { fill: #656d76 }
.middle { text-anchor: middle } .end { text-anchor: end }
.ground { fill: #ffffff } .grid { stroke: #d8dee4 } .one { stroke: #656d76 }
rect.met { fill: #4a9d5f } rect.missed { fill: #d1704f } rect.free { fill: #8c959f }
text.met { fill: #2c6e3f } text.missed { fill: #a8431f }
.whisker { stroke: #1f2328; stroke-width: 1.5 } .goal { stroke: #0550ae; fill: #0550ae; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .quiet { fill: #9198a1 } .ground { fill: #0d1117 }
.grid { stroke: #30363d } .one { stroke: #9198a1 }
text.met { fill: #6fcf87 } text.missed { fill: #ff9a75 }
.whisker { stroke: #e6edf3 } .goal { stroke: #79c0ff; fill: #79c0ff }
}
</style>";
