//! Lines over logarithmic axes, as one SVG that needs nothing else.
//!
//! Owns [`svg`]. In: lines of points above zero. Out: text, the same for the same lines.
//!
//! Does not: follow a theme; it stands on white, so that it can be read on any page.

use std::fmt::{self, Write};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
/// Room for the numbers and names around the area of the plot: left, right, top, bottom.
const LEFT: f64 = 70.0;
const RIGHT: f64 = 220.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;

/// They differ in lightness, too, for those who see colours differently.
const COLOURS: [&str; 8] =
    ["#0b3c5d", "#d1495b", "#66a182", "#edae49", "#6a4c93", "#2e86ab", "#8d6a4f", "#7a7a7a"];

/// One system's points.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// Both above zero; others are left out.
    pub points: Vec<(f64, f64)>,
}

/// A logarithmic axis, from a power of ten to a power of ten.
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Self {
        let low = values.clone().fold(f64::INFINITY, f64::min).log10().floor();
        let high = values.fold(0.0, f64::max).log10().ceil();
        Self { low, high: high.max(low + 1.0), from, to }
    }

    fn at(&self, value: f64) -> f64 {
        self.from + (value.log10() - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    fn decades(&self) -> impl Iterator<Item = f64> {
        let (mut exponent, high) = (self.low, self.high);
        std::iter::from_fn(move || {
            exponent += 1.0;
            (exponent - 1.0 <= high).then(|| 10_f64.powf(exponent - 1.0))
        })
    }
}

/// Draws lines. Without any point there is only the title.
///
/// # Errors
/// None in practice: writing to a string does not fail.
pub fn svg(title: &str, x_name: &str, y_name: &str, lines: &[Line]) -> Result<String, fmt::Error> {
    let mut out = String::new();
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" \
         fill=\"white\"/>\n<text x=\"{LEFT}\" y=\"24\" font-size=\"15\">{}</text>",
        escaped(title)
    )?;
    let lines: Vec<(&str, Vec<(f64, f64)>)> = lines
        .iter()
        .map(|Line { name, points }| {
            let above_zero = points.iter().copied().filter(|(x, y)| *x > 0.0 && *y > 0.0);
            (name.as_str(), above_zero.collect())
        })
        .collect();
    let points = || lines.iter().flat_map(|(_, points)| points.iter());
    if points().next().is_some() {
        let x = Axis::over(points().map(|point| point.0), LEFT, WIDTH - RIGHT);
        let y = Axis::over(points().map(|point| point.1), HEIGHT - BOTTOM, TOP);
        grid(&mut out, &x, &y, [x_name, y_name])?;
        for (number, (name, points)) in lines.iter().enumerate() {
            line(&mut out, number, name, points.iter().map(|(a, b)| (x.at(*a), y.at(*b))))?;
        }
    }
    out.push_str("</svg>\n");
    Ok(out)
}

fn grid(out: &mut String, x: &Axis, y: &Axis, [x_name, y_name]: [&str; 2]) -> fmt::Result {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for value in x.decades() {
        let at = x.at(value);
        writeln!(out, "<path d=\"M{at:.1} {TOP}V{bottom}\" stroke=\"#ddd\"/>")?;
        let under = bottom + 18.0;
        writeln!(out, "<text x=\"{at:.1}\" y=\"{under}\" text-anchor=\"middle\">{value}</text>")?;
    }
    for value in y.decades() {
        let at = y.at(value);
        writeln!(out, "<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"#ddd\"/>")?;
        let (before, base) = (LEFT - 8.0, at + 4.0);
        writeln!(out, "<text x=\"{before}\" y=\"{base:.1}\" text-anchor=\"end\">{value}</text>")?;
    }
    let (middle, under) = (f64::midpoint(LEFT, right), HEIGHT - 12.0);
    writeln!(
        out,
        "<text x=\"{middle}\" y=\"{under}\" text-anchor=\"middle\">{}</text>",
        escaped(x_name)
    )?;
    let half = f64::midpoint(TOP, bottom);
    writeln!(
        out,
        "<text transform=\"translate(16 {half}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
        escaped(y_name)
    )
}

fn line(
    out: &mut String,
    number: usize,
    name: &str,
    points: impl Iterator<Item = (f64, f64)>,
) -> fmt::Result {
    let colour = COLOURS[number % COLOURS.len()];
    // Beyond the number of colours, lines are told apart by their dashes.
    let dash = ["", "6 3", "2 3"][number / COLOURS.len() % 3];
    let mut path = String::new();
    for (x, y) in points {
        let step = if path.is_empty() { 'M' } else { 'L' };
        write!(path, "{step}{x:.1} {y:.1}")?;
        writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>")?;
    }
    writeln!(
        out,
        "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" \
         stroke-dasharray=\"{dash}\"/>"
    )?;
    let (x, y) = (WIDTH - RIGHT + 16.0, TOP + 8.0 + 18.0 * number as f64);
    let (to, text, base) = (x + 22.0, x + 28.0, y + 4.0);
    writeln!(
        out,
        "<path d=\"M{x} {y}H{to}\" stroke=\"{colour}\" stroke-width=\"2\" \
         stroke-dasharray=\"{dash}\"/>\n<text x=\"{text}\" y=\"{base}\">{}</text>",
        escaped(name)
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_of_ten_is_a_grid_line_and_names_are_escaped() {
        let lines = [Line { name: "a<b".into(), points: vec![(1.0, 900.0), (256.0, 35_000.0)] }];
        let drawn = svg("t", "clients", "ops/s", &lines).unwrap();
        for expected in [">1</text>", ">1000</text>", ">100000</text>", "a&lt;b", "</svg>"] {
            assert!(drawn.contains(expected), "no {expected} in\n{drawn}");
        }
    }

    #[test]
    fn nothing_to_draw_is_no_reason_to_fail() {
        let lines = [Line { name: "none".into(), points: vec![(1.0, 0.0)] }];
        assert!(svg("t", "x", "y", &lines).unwrap().ends_with("</svg>\n"));
    }
}
