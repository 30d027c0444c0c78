//! The thread that keeps staples: reads what was kept, asks responders, tells what came of it.
//!
//! No handshake waits for it. It begins with the first certificate that is to be stapled.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;

use super::book::{Book, Failure, Figures, Happened, Job};
use super::store::{self, FileError};
use super::verify::verify;
use super::{Settings, Source, Staple, Stapled, Subject, fetch};
use crate::telemetry::labels::{OcspFetch, StapleState};
use crate::telemetry::metrics::Metrics;

/// The longest rest: figures are brought up to date, and a clock that was set is noticed.
const REST: Duration = Duration::from_secs(10);

/// How often what could not be written to disk is tried again.
const KEEP: Duration = Duration::from_secs(60);

/// How often files of certificates that are gone are looked for.
const SWEEP: Duration = Duration::from_secs(24 * 60 * 60);

/// Keeps the staples of all certificates in use. Dropped, it ends.
pub struct Keeper {
    inner: Arc<Inner>,
    running: AtomicBool,
}

struct Inner {
    book: Mutex<Book>,
    settings: ArcSwap<Settings>,
    metrics: Arc<Metrics>,
    changed: Notify,
    stopped: AtomicBool,
}

impl Keeper {
    /// A keeper of nothing yet.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            inner: Arc::new(Inner {
                book: Mutex::new(Book::new(Box::new(by_chance))),
                settings: ArcSwap::from_pointee(Settings::default()),
                metrics,
                changed: Notify::new(),
                stopped: AtomicBool::new(false),
            }),
            running: AtomicBool::new(false),
        }
    }

    /// These certificates are in use from now on, and no others. What is known of them, or was kept
    /// on disk, is shown when this returns: so it comes before they serve.
    pub fn follow<'s>(&self, stapled: impl Iterator<Item = &'s Arc<Stapled>>, settings: &Settings) {
        let inner = &self.inner;
        let former = inner.settings.swap(Arc::new(settings.clone()));
        let now = SystemTime::now();
        let mut recall = |subject: &Subject| recall(subject, settings, now);
        let mut book = inner.book();
        if former.directory != settings.directory {
            book.keep_anew();
        }
        book.follow(stapled.cloned(), &mut recall, now);
        let idle = book.is_empty();
        inner.report(book.figures(now));
        drop(book);
        if !idle && !self.running.swap(true, Ordering::Relaxed) {
            let kept = Arc::clone(inner);
            let thread = std::thread::Builder::new().name("ocsp".to_owned());
            if let Err(error) = thread.spawn(move || work(&kept)) {
                self.running.store(false, Ordering::Relaxed);
                tracing::error!(%error, "no thread for OCSP: nothing is fetched");
            }
        }
        inner.changed.notify_one();
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.inner.stopped.store(true, Ordering::Relaxed);
        self.inner.changed.notify_one();
    }
}

/// What was kept of a certificate, came with it, or lies in its file.
fn recall(subject: &Subject, settings: &Settings, now: SystemTime) -> Option<Staple> {
    let kept = match (&subject.source, &settings.directory) {
        (Some(Source::File(path)), _) => Some(store::read_file(path, subject, now)),
        (Some(Source::Responder(_)), Some(directory)) => Some(store::read(directory, subject, now)),
        _ => None,
    };
    let kept = kept.and_then(|kept| match kept {
        Ok(staple) => Some(staple),
        Err(error) => {
            if !is_missing(&error) {
                tracing::info!(certificate = subject.name, %error, "a staple that was kept is of no use");
            }
            None
        }
    });
    let given = subject.given.as_deref().and_then(|given| {
        let verified = verify(given, subject, None, now);
        if let Err(error) = &verified {
            tracing::warn!(certificate = subject.name, %error, "the staple that came with a certificate is not shown");
        }
        verified.ok()
    });
    [kept, given]
        .into_iter()
        .flatten()
        .max_by_key(|staple| staple.this_update)
}

fn is_missing(error: &FileError) -> bool {
    matches!(error, FileError::Io(error) if error.kind() == io::ErrorKind::NotFound)
}

fn work(inner: &Arc<Inner>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => {
            runtime.block_on(keep(inner));
            // A name that is being resolved is not waited for.
            runtime.shutdown_background();
        }
        Err(error) => tracing::error!(%error, "no runtime for OCSP: nothing is fetched"),
    }
}

async fn keep(inner: &Arc<Inner>) {
    let mut jobs = JoinSet::new();
    let mut swept = None;
    let mut kept: Option<(SystemTime, Option<PathBuf>)> = None;
    while !inner.stopped.load(Ordering::Relaxed) {
        let now = SystemTime::now();
        if swept.is_none_or(|at| now.duration_since(at).is_ok_and(|age| age > SWEEP)) {
            swept = Some(now);
            inner.sweep(now).await;
        }
        let directory = inner.settings.load().directory.clone();
        let again = kept.as_ref().is_none_or(|(at, before)| {
            *before != directory || now.duration_since(*at).map_or(true, |age| age > KEEP)
        });
        if again {
            if let Some(directory) = &directory {
                jobs.spawn(Arc::clone(inner).keep_rest(directory.clone()));
            }
            kept = Some((now, directory));
        }
        let rest = {
            let mut book = inner.book();
            while let Some(job) = book.due(now) {
                jobs.spawn(Arc::clone(inner).run(job));
            }
            inner.report(book.figures(now));
            // Only now: that one is revoked is told before.
            book.forget(now);
            let until = book
                .next()
                .map(|next| next.duration_since(now).unwrap_or_default());
            until.map_or(REST, |until| until.min(REST))
        };
        let something = async {
            tokio::select! {
                _ = jobs.join_next(), if !jobs.is_empty() => {}
                () = inner.changed.notified() => {}
            }
        };
        // Timers count in milliseconds; less would be a rest of none.
        let _ = timeout(rest.max(Duration::from_millis(1)), something).await;
    }
}

impl Inner {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn sweep(&self, now: SystemTime) {
        let Some(directory) = self.settings.load().directory.clone() else {
            return;
        };
        let in_use = self.book().fingerprints();
        let _ = spawn_blocking(move || store::sweep(&directory, &in_use, now)).await;
    }

    async fn run(self: Arc<Self>, job: Job) {
        // Whatever happens to this task, the book hears of it.
        let mut pending = Pending {
            inner: &self,
            job: Some(job),
        };
        let Some(job) = pending.job.clone() else {
            return;
        };
        let settings = self.settings.load_full();
        let result = match &job.source {
            Source::Responder(responder) => {
                fetch::ask(&job.subject, responder, &settings, SystemTime::now).await
            }
            Source::File(path) => look(path, &job.subject).await,
        };
        pending.job = None;
        self.ended(&job, result, &settings).await;
    }

    async fn ended(&self, job: &Job, result: Result<Staple, Failure>, settings: &Settings) {
        let now = SystemTime::now();
        let happened = self.book().done(job, result.clone(), now);
        let label = match (&happened, &result) {
            (Happened::Older, _) => OcspFetch::Older,
            (_, Ok(_)) => OcspFetch::Ok,
            (_, Err(failure)) => failure.result,
        };
        self.metrics.ocsp.fetches.inc(label);
        tell(job, &result, &happened, now);
        let of_responder = matches!(job.source, Source::Responder(_));
        if let (Happened::New { .. }, Ok(staple), Some(directory), true) =
            (happened, result, settings.directory.clone(), of_responder)
        {
            let subject = Arc::clone(&job.subject);
            self.keep(directory, vec![(subject, staple)]).await;
        }
    }

    /// Keeps what is not on disk, because that failed or the directory is new.
    async fn keep_rest(self: Arc<Self>, directory: PathBuf) {
        let staples = self.book().not_kept();
        self.keep(directory, staples).await;
    }

    async fn keep(&self, directory: PathBuf, staples: Vec<(Arc<Subject>, Staple)>) {
        let write = move || {
            let mut written = Vec::with_capacity(staples.len());
            for (subject, staple) in staples {
                match store::write(&directory, &subject, &staple) {
                    Ok(()) => written.push((subject, staple)),
                    Err(error) => {
                        let directory = directory.display();
                        tracing::warn!(%directory, %error, "a staple cannot be kept for the next start");
                        // So it will be with the others.
                        break;
                    }
                }
            }
            written
        };
        let Ok(written) = spawn_blocking(write).await else {
            return;
        };
        let mut book = self.book();
        for (subject, staple) in &written {
            book.kept(subject, staple);
        }
    }

    fn report(&self, figures: Figures) {
        let metrics = &self.metrics.ocsp;
        for (state, count) in [
            (StapleState::Valid, figures.valid),
            (StapleState::Revoked, figures.revoked),
            (StapleState::Expired, figures.expired),
            (StapleState::Missing, figures.missing),
        ] {
            metrics
                .certificates
                .set(state, i64::try_from(count).unwrap_or(i64::MAX));
        }
        metrics.first_end.set(figures.first_end.map_or(0, seconds));
        metrics.oldest.set(figures.oldest.map_or(0, seconds));
        for (subject, since) in figures.told_revoked {
            let ago = SystemTime::now().duration_since(since).unwrap_or_default();
            let since = format!("{}s", ago.as_secs());
            tracing::error!(
                certificate = subject.name,
                serial = subject.serial_hex(),
                from = subject.source.as_ref().map(from),
                since,
                "the certificate is REVOKED by its authority: replace it"
            );
        }
        for subject in figures.lapsed {
            tracing::error!(
                certificate = subject.name,
                serial = subject.serial_hex(),
                "no valid staple: handshakes that need this certificate are refused"
            );
        }
    }
}

/// Tells the book of a job that ended without a result: its task panicked or was dropped.
struct Pending<'i> {
    inner: &'i Inner,
    job: Option<Job>,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if let Some(job) = self.job.take() {
            let failure = Failure {
                result: OcspFetch::Other,
                of_responder: false,
                message: "it was given up".to_owned(),
            };
            self.inner
                .book()
                .done(&job, Err(failure), SystemTime::now());
            self.inner.metrics.ocsp.fetches.inc(OcspFetch::Other);
        }
    }
}

async fn look(path: &Path, subject: &Arc<Subject>) -> Result<Staple, Failure> {
    let (path, subject) = (path.to_owned(), Arc::clone(subject));
    let failure = |message: String| Failure {
        result: OcspFetch::File,
        of_responder: false,
        message,
    };
    let read = move || store::read_file(&path, &subject, SystemTime::now());
    match spawn_blocking(read).await {
        Ok(Ok(staple)) => Ok(staple),
        Ok(Err(FileError::Refused(refusal))) => Err(refusal.into()),
        Ok(Err(error)) => Err(failure(error.to_string())),
        Err(error) => Err(failure(error.to_string())),
    }
}

/// A line in the log for what an operator wants to know; of failures in a row ever fewer.
fn tell(job: &Job, result: &Result<Staple, Failure>, happened: &Happened, now: SystemTime) {
    let (certificate, serial) = (&job.subject.name, job.subject.serial_hex());
    let from = from(&job.source);
    match (happened, result) {
        (Happened::New { .. }, Ok(staple)) => {
            let left = staple.next_update.duration_since(now).unwrap_or_default();
            let valid_for = format!("{}s", left.as_secs());
            // A revocation is told by the figures, again and again.
            tracing::info!(certificate, serial, from, valid_for, "new staple");
        }
        (Happened::Failed { times }, Err(failure)) if times.is_power_of_two() => {
            let error = &failure.message;
            tracing::warn!(certificate, serial, from, times, error, "no new staple");
        }
        (Happened::Older, _) => {
            tracing::warn!(
                certificate,
                serial,
                from,
                "an older staple than the one in use is not taken"
            );
        }
        _ => tracing::debug!(certificate, serial, from, ?happened, "asked for a staple"),
    }
}

fn from(source: &Source) -> String {
    match source {
        Source::Responder(uri) => uri.to_string(),
        Source::File(path) => path.display().to_string(),
    }
}

fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// A number from 0 to 1.
fn by_chance() -> f64 {
    let mut bytes = [0; 4];
    // Without random numbers nothing is spread, and nothing else is lost.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX)
}
