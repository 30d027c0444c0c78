//! A small SVG plot of lines over one axis each way.

use std::fmt::Write as _;

use super::html::escape;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 40.0;
/// Above this many, marks on an axis crowd each other.
const MOST_MARKS: usize = 8;

/// A plot.
pub(super) struct Plot<'a> {
    /// What it shows, for those who cannot see it.
    pub title: &'a str,
    /// What stands under the axis.
    pub below: &'a str,
    /// Marks of the axis: place from 0 to 1, and text.
    pub marks: Vec<(f64, String)>,
    pub lines: Vec<Line>,
    /// Whether the upright axis is logarithmic.
    pub logarithmic: bool,
    /// How a value is written.
    pub show: fn(f64) -> String,
}

/// A line of a plot.
pub(super) struct Line {
    /// A class of the page's style sheet.
    pub class: &'static str,
    pub points: Vec<Point>,
}

/// A point of a line.
pub(super) struct Point {
    /// From 0 to 1.
    pub x: f64,
    pub y: f64,
    /// What is shown when it is pointed at.
    pub tip: String,
    /// Something went wrong here.
    pub bad: bool,
}

impl Plot<'_> {
    /// The plot as an `svg` element.
    pub(super) fn render(&self) -> String {
        let scale = Scale::over(self);
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n",
            escape(self.title)
        );
        // Writing to a String cannot fail.
        for value in &scale.marks {
            let y = scale.y(*value);
            let _ = writeln!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"mark\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 8.0,
                y + 4.0,
                escape(&(self.show)(*value))
            );
        }
        for (place, text) in &self.marks {
            let (x, y) = (x(*place), HEIGHT - BOTTOM);
            let _ = writeln!(
                svg,
                "<line class=\"tick\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{y}\" y2=\"{}\"/>\
                 <text class=\"mark\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                y + 4.0,
                y + 17.0,
                escape(text)
            );
        }
        let _ = writeln!(
            svg,
            "<text class=\"mark\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            HEIGHT - 6.0,
            escape(self.below)
        );
        for line in &self.lines {
            draw(line, &scale, &mut svg);
        }
        svg.push_str("</svg>\n");
        svg
    }
}

fn draw(line: &Line, scale: &Scale, svg: &mut String) {
    let _ = write!(svg, "<g class=\"{}\"><polyline points=\"", line.class);
    for point in &line.points {
        let _ = write!(svg, "{:.1},{:.1} ", x(point.x), scale.y(point.y));
    }
    svg.push_str("\"/>\n");
    for point in &line.points {
        let bad = if point.bad { " class=\"bad\"" } else { "" };
        let (x, y) = (x(point.x), scale.y(point.y));
        // The second circle is not seen: it makes the point easier to hit.
        let _ = writeln!(
            svg,
            "<g{bad}><title>{}</title><circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\"/>\
             <circle class=\"aim\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"9\"/></g>",
            escape(&point.tip)
        );
    }
    svg.push_str("</g>\n");
}

fn x(place: f64) -> f64 {
    LEFT + place * (WIDTH - LEFT - RIGHT)
}

/// The upright axis.
struct Scale {
    low: f64,
    high: f64,
    logarithmic: bool,
    marks: Vec<f64>,
}

impl Scale {
    fn over(plot: &Plot<'_>) -> Self {
        let values = || {
            plot.lines
                .iter()
                .flat_map(|line| &line.points)
                .map(|it| it.y)
        };
        let high = values().fold(0.0, f64::max).max(1.0);
        if plot.logarithmic {
            let low = values().fold(high, f64::min).max(1.0);
            Self::logarithmic(low, high)
        } else {
            Self::linear(high)
        }
    }

    /// From zero, in steps of 1, 2 or 5 times a power of ten.
    fn linear(high: f64) -> Self {
        let rough = high / 5.0;
        let power = 10f64.powf(rough.log10().floor());
        let factors = [1.0, 2.0, 5.0, 10.0];
        let step = factors
            .iter()
            .map(|factor| factor * power)
            .find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        let count = (high / step).ceil().clamp(1.0, 10.0) as u32;
        Self {
            low: 0.0,
            high: step * f64::from(count),
            logarithmic: false,
            marks: (0..=count).map(|number| step * f64::from(number)).collect(),
        }
    }

    /// Over whole marks: 1, 2 and 5 times powers of ten, or the powers alone if those are many.
    fn logarithmic(low: f64, high: f64) -> Self {
        let decade = |value: f64| value.log10().floor() as i32;
        let marks = |factors: &[f64]| {
            let all = (decade(low)..=decade(high) + 1)
                .flat_map(|power| factors.iter().map(move |factor| factor * 10f64.powi(power)));
            let all: Vec<f64> = all.collect();
            // The last at or below the lowest, and the first at or above the highest.
            let from = all.iter().rposition(|mark| *mark <= low).unwrap_or(0);
            let to = all.iter().position(|mark| *mark >= high);
            let to = to.unwrap_or(all.len() - 1).max(from + 1);
            all.get(from..=to).unwrap_or(&all).to_vec()
        };
        let mut found = marks(&[1.0, 2.0, 5.0]);
        if found.len() > MOST_MARKS {
            found = marks(&[1.0]);
        }
        Self {
            low: found.first().copied().unwrap_or(low),
            high: found.last().copied().unwrap_or(high),
            logarithmic: true,
            marks: found,
        }
    }

    fn y(&self, value: f64) -> f64 {
        let share = if self.logarithmic {
            let value = value.max(self.low);
            (value / self.low).log10() / (self.high / self.low).log10()
        } else {
            value / self.high
        };
        HEIGHT - BOTTOM - share.clamp(0.0, 1.0) * (HEIGHT - TOP - BOTTOM)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linear_axis_begins_at_zero_and_has_round_marks() {
        let scale = Scale::linear(1_234.0);
        assert_eq!(scale.marks, [0.0, 500.0, 1_000.0, 1_500.0]);
        assert_eq!(scale.y(0.0), HEIGHT - BOTTOM);
        assert_eq!(scale.y(1_500.0), TOP);
        assert_eq!(Scale::linear(1.0).marks.len(), 6);
    }

    #[test]
    fn a_logarithmic_axis_holds_all_values_between_its_marks() {
        for (low, high) in [(1.0, 1.0), (50.0, 180.0), (300.0, 45_000.0), (1.0, 3.6e9)] {
            let scale = Scale::logarithmic(low, high);
            assert!(scale.low <= low && high <= scale.high, "{low} {high}");
            let count = scale.marks.len();
            assert!((2..=11).contains(&count), "{low} to {high}: {count} marks");
            assert!(scale.y(high) >= TOP && scale.y(low) <= HEIGHT - BOTTOM);
        }
    }
}
