//! Tracing for the program: messages to standard error, one line each.
//!
//! Only the program calls this. The library installs no global subscriber: it emits tracing
//! events and spans, and its user decides where they go.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use prometheus::IntCounter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::TryInitError;

use super::sink::{DEFAULT_CAPACITY, Destination, LineSink};

/// The environment variable that overrides `[log] level`, with the directives of
/// [`EnvFilter`]: `cutwater=debug,hyper=warn`.
pub const VARIABLE: &str = "CUTWATER_LOG";

/// How messages look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One short line. The default.
    #[default]
    Compact,
    /// One line with spans and targets written out.
    Full,
}

/// Why tracing could not be set up.
#[derive(Debug)]
pub enum InitError {
    /// `[log] level` or [`VARIABLE`] is not a list of directives.
    Level(ParseError),
    /// The writer of standard error could not be started.
    Writer(io::Error),
    /// A global subscriber is there already.
    Installed(TryInitError),
}

impl fmt::Display for InitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Level(error) => write!(f, "log level: {error}"),
            Self::Writer(error) => write!(f, "log to standard error: {error}"),
            Self::Installed(error) => write!(f, "log: {error}"),
        }
    }
}

impl std::error::Error for InitError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Level(error) => Some(error),
            Self::Writer(error) => Some(error),
            Self::Installed(error) => Some(error),
        }
    }
}

/// Installs the program's subscriber. `level` is `[log] level`: `error`, `warn`, `info`,
/// `debug`, `trace`, `off`, or a list of directives. Close the sink that comes back at the
/// end of the program. Like every log it never makes its callers wait; `dropped` counts what
/// is lost.
///
/// # Errors
/// [`InitError`]
pub fn init(level: &str, format: Format, dropped: IntCounter) -> Result<Arc<LineSink>, InitError> {
    let filter = filter(level, std::env::var(VARIABLE).ok().as_deref())?;
    let sink = LineSink::open(Destination::Stderr, DEFAULT_CAPACITY, dropped)
        .map(Arc::new)
        .map_err(InitError::Writer)?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(ToSink(Arc::clone(&sink)));
    match format {
        Format::Compact => {
            tracing_subscriber::util::SubscriberInitExt::try_init(subscriber.compact().finish())
        }
        Format::Full => tracing_subscriber::util::SubscriberInitExt::try_init(subscriber.finish()),
    }
    .map_err(InitError::Installed)?;
    Ok(sink)
}

/// A line of a hosts file that these crates cannot read would be told at every resolution; what fails
/// is told by ours.
const QUIET: &str = "hickory_net=error,hickory_proto=error,hickory_resolver=error";

fn filter(level: &str, variable: Option<&str>) -> Result<EnvFilter, InitError> {
    let directives = match variable.filter(|value| !value.trim().is_empty()) {
        Some(directives) => directives.to_owned(),
        None if matches!(level, "info" | "warn") => format!("{level},{QUIET}"),
        None => level.to_owned(),
    };
    EnvFilter::try_new(directives).map_err(InitError::Level)
}

/// Gives each message, which comes in one piece, to the sink.
#[derive(Debug)]
struct ToSink(Arc<LineSink>);

impl<'a> MakeWriter<'a> for ToSink {
    type Writer = Message<'a>;

    fn make_writer(&'a self) -> Message<'a> {
        Message(&self.0)
    }
}

#[derive(Debug)]
struct Message<'a>(&'a LineSink);

impl Write for Message<'_> {
    fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        // A dropped message is counted by the sink: to the caller it is written.
        self.0.write(message);
        Ok(message.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_overrides_the_configured_level() {
        let shown = |level, variable| filter(level, variable).map(|filter| filter.to_string());
        assert_eq!(shown("debug", None).unwrap(), "debug");
        assert_eq!(shown("debug", Some(" ")).unwrap(), "debug");
        let quiet = shown("info", None).unwrap();
        assert!(quiet.contains("info") && quiet.contains("hickory_net=error"));
        assert_eq!(
            shown("info", Some("cutwater=debug")).unwrap(),
            "cutwater=debug"
        );
    }

    #[test]
    fn a_level_that_is_none_is_an_error() {
        let error = filter("cutwater=loud", None).unwrap_err();
        assert!(error.to_string().starts_with("log level: "), "{error}");
    }

    #[test]
    fn messages_reach_the_sink_as_whole_lines() {
        let (mut reader, writer) = io::pipe().unwrap();
        let dropped = IntCounter::new("dropped", "help").unwrap();
        let sink = Arc::new(LineSink::to_writer(writer, DEFAULT_CAPACITY, dropped).unwrap());
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(ToSink(Arc::clone(&sink)))
            .compact()
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(sites = 3, "serving");
            tracing::warn!("a certificate expires soon");
        });
        assert!(sink.close(std::time::Duration::from_secs(10)));
        let mut text = String::new();
        io::Read::read_to_string(&mut reader, &mut text).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(
            lines[0].contains("INFO")
                && lines[0].contains("serving")
                && lines[0].contains("sites=3")
        );
        assert!(lines[1].contains("WARN") && lines[1].contains("expires soon"));
    }
}
