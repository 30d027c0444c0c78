//! `--html FILE`: one page that needs nothing else, readable in light and dark.

use super::plot::{Line, Plot, Point};
use super::units::{grouped, rate, time};
use super::{COLUMNS, Distribution, Moment, Report, text};

const STYLE: &str = include_str!("page.css");
/// More points than these are drawn as fewer, each for several seconds.
const MOST_POINTS: usize = 180;
/// A last second shorter than this says nothing about a rate.
const SHORTEST: f64 = 0.2;

/// The page. It is XML too: every element is closed.
pub fn render(report: &Report) -> String {
    let title = format!("cutwater load {}", report.plan.url);
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <title>{0}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>{0}</h1>\n<p class=\"faint\">{1}</p>\n",
        escape(&title),
        escape(&text::plan(&report.plan))
    );
    page.push_str(&tiles(report));
    let unmet = report.unmet.iter().map(|unmet| format!("failed: {unmet}"));
    for note in unmet.chain(text::warnings(report)) {
        page.push_str(&format!("<p class=\"note\">{}</p>\n", escape(&note)));
    }
    page.push_str("<h2>Latency by percentile</h2>\n");
    page.push_str(&percentiles(report));
    page.push_str("<h2>Rate over time</h2>\n");
    page.push_str(&rates(report));
    page.push_str("<h2>Latency over time</h2>\n");
    page.push_str(&latency_over_time(report));
    page.push_str("<h2>Latency</h2>\n");
    page.push_str(&table(report));
    page.push_str("<h2>What happened</h2>\n");
    page.push_str(&facts(report));
    page.push_str(&format!(
        "<footer>cutwater {}. Times count from the beginning of the operation{}. \
         Point at a plot for its figures.</footer>\n</main>\n</body>\n</html>\n",
        escape(&report.cutwater),
        if report.plan.rate.is_some() {
            ", which in an open loop is the intended one"
        } else {
            ""
        }
    ));
    page
}

/// For text and for quoted attributes.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            other => safe.push(other),
        }
    }
    safe
}

fn tiles(report: &Report) -> String {
    let mut tiles = String::from("<dl class=\"tiles\">\n");
    let mut tile = |name: &str, value: &str, bad: bool| {
        let class = if bad { " class=\"bad\"" } else { "" };
        let (name, value) = (escape(name), escape(value));
        tiles.push_str(&format!(
            "<div{class}><dt>{name}</dt><dd>{value}</dd></div>\n"
        ));
    };
    tile("per second", &rate(report.operations_per_second), false);
    tile("median", &time(report.latency.total.p50_us), false);
    tile("p99", &time(report.latency.total.p99_us), false);
    tile(
        "errors",
        &grouped(report.errors_total),
        report.errors_total > 0,
    );
    let server = report.server.as_ref();
    if let Some(micros) = server.and_then(|server| server.cpu_us_per_operation) {
        tile("server CPU", &time(micros), false);
    }
    if let Some(micros) = report.generator.cpu_us_per_operation {
        tile("generator CPU", &time(micros), false);
    }
    tiles.push_str("</dl>\n");
    tiles
}

const CLASSES: [&str; 4] = ["connect", "handshake", "first-byte", "total"];

fn figure(legend: &[(&str, &str)], plot: &Plot<'_>) -> String {
    let mut html = String::from("<figure>\n<figcaption>");
    for (class, name) in legend {
        html.push_str(&format!("<span class=\"{class}\">{}</span>", escape(name)));
    }
    html.push_str("</figcaption>\n");
    html.push_str(&plot.render());
    html.push_str("</figure>\n");
    html
}

/// The axis spreads the rare end: each ten-fold of nines has the same width.
fn percentiles(report: &Report) -> String {
    let named = report.latency.named();
    let most = named.iter().map(|(_, it)| it.count).max().unwrap_or(0);
    // Beyond one in all there is only the longest.
    let nines = (most.max(10) as f64).log10().min(5.0);
    let place = |share: f64| (-(1.0 - share).max(10f64.powf(-nines)).log10() / nines).min(1.0);
    let shown = named
        .iter()
        .zip(CLASSES)
        .filter(|((_, it), _)| it.count > 0);
    let mut legend = Vec::new();
    let mut lines = Vec::new();
    for ((name, distribution), class) in shown {
        legend.push((class, *name));
        lines.push(Line {
            class,
            points: curve(name, distribution, place),
        });
    }
    let marks: [f64; 7] = [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999];
    let marks = marks
        .into_iter()
        .filter(|share| -(1.0 - share).log10() <= nines)
        .map(|share| (place(share), share_text(share)))
        .collect();
    let plot = Plot {
        title: "Latency by percentile",
        below: "share of operations that took no longer",
        marks,
        lines,
        logarithmic: true,
        show: time,
    };
    figure(&legend, &plot)
}

fn curve(name: &str, distribution: &Distribution, place: impl Fn(f64) -> f64) -> Vec<Point> {
    let one = 1.0 / distribution.count.max(1) as f64;
    let seen = |share: f64| share >= 1.0 || 1.0 - share >= one;
    let points = distribution.curve.iter().filter(|(share, _)| seen(*share));
    points
        .map(|(share, micros)| Point {
            x: place(*share),
            y: *micros,
            tip: format!(
                "{name}: {} took at most {}",
                share_text(*share),
                time(*micros)
            ),
            bad: false,
        })
        .collect()
}

/// `99.9 %`, without the noise of binary fractions.
fn share_text(share: f64) -> String {
    let percent = (share * 1e7).round() / 1e5;
    format!("{percent} %")
}

/// Some seconds of a run as one.
struct Span {
    from: f64,
    length: f64,
    operations: u64,
    errors: u64,
    p50: f64,
    p99: f64,
}

/// All seconds, or as many together as keeps the plot readable.
fn spans(report: &Report) -> Vec<Span> {
    let together = report.series.len().div_ceil(MOST_POINTS).max(1);
    let chunks = report.series.chunks(together).enumerate();
    let spans = chunks.map(|(number, seconds)| {
        let from = (number * together) as f64;
        let sum = |figure: fn(&Moment) -> u64| seconds.iter().map(figure).sum();
        let most = |figure: fn(&Moment) -> f64| seconds.iter().map(figure).fold(0.0, f64::max);
        Span {
            from,
            length: (report.seconds - from).min(seconds.len() as f64),
            operations: sum(|second| second.operations),
            errors: sum(|second| second.errors),
            p50: most(|second| second.p50_us),
            p99: most(|second| second.p99_us),
        }
    });
    let mut spans: Vec<Span> = spans.collect();
    if spans.len() > 1 {
        spans.retain(|span| span.length >= SHORTEST);
    }
    spans
}

fn over_time(
    spans: &[Span],
    class: &'static str,
    figure: impl Fn(&Span) -> Option<(f64, String)>,
) -> Line {
    let last = (spans.len().max(2) - 1) as f64;
    let points = spans.iter().enumerate().filter_map(|(number, span)| {
        let (y, said) = figure(span)?;
        let errors = match span.errors {
            0 => String::new(),
            errors => format!(", {} errors", grouped(errors)),
        };
        Some(Point {
            x: number as f64 / last,
            y,
            tip: format!("from {:.0} s: {said}{errors}", span.from),
            bad: span.errors > 0,
        })
    });
    Line {
        class,
        points: points.collect(),
    }
}

fn seconds_marks(spans: &[Span]) -> Vec<(f64, String)> {
    let last = (spans.len().max(2) - 1) as f64;
    let rough = spans.len().div_ceil(12);
    let every = [1, 2, 5, 10].into_iter().find(|step| *step >= rough);
    let every = every.unwrap_or(rough.next_multiple_of(5));
    let marks = spans.iter().enumerate().step_by(every);
    marks
        .map(|(number, span)| (number as f64 / last, format!("{:.0} s", span.from)))
        .collect()
}

fn rates(report: &Report) -> String {
    let spans = spans(report);
    let line = over_time(&spans, "handshake", |span| {
        let per_second = span.operations as f64 / span.length.max(f64::MIN_POSITIVE);
        let sane = if span.length > 0.0 { per_second } else { 0.0 };
        Some((sane, format!("{} a second", rate(sane))))
    });
    let mut legend = vec![("handshake", "operations a second")];
    if report.errors_total > 0 {
        legend.push(("errors", "with errors"));
    }
    let plot = Plot {
        title: "Operations a second, over time",
        below: "time",
        marks: seconds_marks(&spans),
        lines: vec![line],
        logarithmic: false,
        show: rate,
    };
    figure(&legend, &plot)
}

fn latency_over_time(report: &Report) -> String {
    let spans = spans(report);
    let line = |class, name: &'static str, figure: fn(&Span) -> f64| {
        over_time(&spans, class, |span| {
            let micros = figure(span);
            // A second in which nothing ended has no latency.
            (span.operations > 0).then(|| (micros, format!("{name} {}", time(micros))))
        })
    };
    let plot = Plot {
        title: "Latency over time",
        below: "time",
        marks: seconds_marks(&spans),
        lines: vec![
            line("total", "99th percentile", |span| span.p99),
            line("first-byte", "median", |span| span.p50),
        ],
        logarithmic: true,
        show: time,
    };
    figure(
        &[("total", "99th percentile"), ("first-byte", "median")],
        &plot,
    )
}

fn table(report: &Report) -> String {
    let mut html = String::from("<div class=\"wide\"><table>\n<thead><tr><th></th><th>count</th>");
    for column in COLUMNS {
        html.push_str(&format!("<th>{column}</th>"));
    }
    html.push_str("</tr></thead>\n<tbody>\n");
    for (name, distribution) in report.latency.named() {
        if distribution.count == 0 {
            continue;
        }
        let count = grouped(distribution.count);
        html.push_str(&format!("<tr><th>{name}</th><td>{count}</td>"));
        for micros in distribution.columns() {
            html.push_str(&format!("<td>{}</td>", time(micros)));
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody>\n</table></div>\n");
    html
}

fn facts(report: &Report) -> String {
    let mut html = String::from("<table class=\"facts\">\n<tbody>\n");
    for (name, value) in text::facts(report) {
        let value = escape(&value);
        html.push_str(&format!("<tr><th>{name}</th><td>{value}</td></tr>\n"));
    }
    html.push_str("</tbody>\n</table>\n");
    html
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::report::testing::report;

    /// Checks that every element is closed by its own name, and returns the text.
    fn well_formed(page: &str) -> String {
        let mut open = Vec::new();
        let mut text = String::new();
        let mut rest = page.strip_prefix("<!DOCTYPE html>\n").unwrap();
        while let Some((before, after)) = rest.split_once('<') {
            assert!(!before.contains('>'), "{before}");
            text.push_str(before);
            let (tag, after) = after.split_once('>').unwrap();
            rest = after;
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name.to_owned()));
            } else if !tag.ends_with('/') {
                assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
                let name = tag.split(' ').next().unwrap().to_owned();
                if name == "style" {
                    rest = rest.split_once("</style>").unwrap().1;
                } else {
                    open.push(name);
                }
            }
        }
        assert!(open.is_empty(), "{open:?} left open");
        text
    }

    #[test]
    fn the_page_is_well_formed_and_has_the_figures() {
        let mut report = report();
        let text = well_formed(&render(&report));
        for figure in [
            "1,000",
            "2,990 accepted",
            "2 refused",
            "980 µs",
            "100 µs",
            "150 µs",
        ] {
            assert!(text.contains(figure), "{figure}");
        }
        assert!(text.contains("x?y&amp;z"));
        report.series.clear();
        report.latency = Default::default();
        well_formed(&render(&report));
    }

    #[test]
    fn the_page_needs_nothing_else() {
        let mut report = report();
        report.plan.url = "https".into();
        let page = render(&report);
        for outside in [
            "http:", "https:", "url(", "@import", "<script", "<link", "src=",
        ] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.contains("prefers-color-scheme: dark"));
    }

    #[test]
    fn a_long_run_is_drawn_with_few_points() {
        let mut report = report();
        let second = report.series[0].clone();
        report.series = vec![second; 3_600];
        report.seconds = 3_600.0;
        let spans = spans(&report);
        assert_eq!(spans.len(), MOST_POINTS);
        assert_eq!(
            (spans[1].from, spans[1].length, spans[1].operations),
            (20.0, 20.0, 19_800)
        );
    }

    #[test]
    fn a_second_cut_short_does_not_look_like_a_fall() {
        let mut report = report();
        report.seconds = 2.5;
        assert_eq!(spans(&report)[2].length, 0.5);
        report.seconds = 2.1;
        assert_eq!(spans(&report).len(), 2);
    }

    #[test]
    fn shares_are_written_without_binary_noise() {
        assert_eq!(share_text(0.999_75), "99.975 %");
        assert_eq!(share_text(0.1), "10 %");
        assert_eq!(share_text(1.0), "100 %");
    }
}
