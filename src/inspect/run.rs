//! The order of things: a first word, then everything that stands alone, then what depends on it.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustls::client::Tls12Resumption;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ProtocolVersion, RootCertStore};

use super::certificates::Certificates;
use super::chains::{KINDS, Met, meet};
use super::client::{Client, Offer};
use super::line::{Fault, Line};
use super::names::{self, Version};
use super::report::{Compression, EarlyData, Http3, Inspection, Resumption, Usual, VersionReport};
use super::resumption::field;
use super::suites::{self, Spoken};
use super::target::Target;
use super::witness::Learnt;
use super::{compression, early, quic, resumption};
use crate::certs::transparency::LogList;
use crate::telemetry::timestamp::Rfc3339;

const H2: &[u8] = b"h2";
const HTTP11: &[u8] = b"http/1.1";

/// What is inspected, and how.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) target: Target,
    /// Where connections go.
    pub(super) address: SocketAddr,
    /// The name that is asked for, and that certificates must have.
    pub(super) name: ServerName<'static>,
    pub(super) trust: Trust,
    /// What is asked for by GET.
    pub(super) path: String,
    /// The bound of each connection.
    pub(super) timeout: Duration,
    /// When all has to be over.
    pub(super) end: tokio::time::Instant,
}

/// Whose word is taken.
#[derive(Clone, Debug)]
pub(super) struct Trust {
    /// Authorities, as they were read.
    pub(super) authorities: Vec<CertificateDer<'static>>,
    /// The same, for verifiers.
    pub(super) roots: Arc<RootCertStore>,
    /// Logs of Certificate Transparency.
    pub(super) logs: Option<LogList>,
}

/// Inspects a server.
///
/// # Errors
/// For people: there is no server, or it speaks no TLS.
pub(super) async fn inspect(plan: &Plan) -> Result<Inspection, String> {
    let (began, clock) = (SystemTime::now(), Instant::now());
    let run = Run {
        plan,
        line: Line::new(plan.address, plan.timeout, plan.end),
        client: Client::new(plan.name.clone(), Arc::clone(&plan.trust.roots)),
        notes: RefCell::default(),
    };
    let (learnt, met) = run.first_word().await?;
    let mut certificates = Certificates::new(&plan.trust, began);
    let (spoken, kinds, alpn) = tokio::join!(run.spoken(), run.kinds(), run.alpn());
    let mut spoken = spoken;
    for (kind, learnt) in &kinds {
        certificates.add(Some(kind), learnt);
    }
    certificates.add(None, &learnt);
    for older in spoken.iter().flat_map(|(_, spoken)| &spoken.shown) {
        certificates.add_unverified(older);
    }
    if let Some(met) = &met {
        believe(&mut spoken, met);
    }
    let speaks = |version| {
        let mut all = spoken.iter();
        all.any(|(it, spoken)| *it == version && spoken.version == Some(true))
    };
    if !Version::ALL.into_iter().any(speaks) {
        let why = run.notes.into_inner();
        let why = why.first().map_or("no reason is known", String::as_str);
        let target = &plan.target;
        return Err(format!("{target}: no version of TLS is spoken: {why}"));
    }

    let (groups, compressions, sessions, older, http3) = tokio::join!(
        run.groups(&spoken),
        run.compressions(speaks(Version::Tls13)),
        run.sessions(speaks(Version::Tls13), &alpn),
        run.older_sessions(speaks(Version::Tls12)),
        run.http3(plan.address),
    );
    let promised = |version| {
        let mut all = spoken.iter();
        all.any(|(it, spoken)| *it == version && spoken.ticket)
    };
    let versions = spoken
        .iter()
        .zip(groups)
        .map(|((version, spoken), groups)| VersionReport {
            version: version.as_str(),
            spoken: spoken.version,
            suites: spoken
                .suites
                .iter()
                .map(|code| names::suite(*code))
                .collect(),
            groups: groups.into_iter().map(names::group).collect(),
            dh_bits: spoken.dh_bits,
        });
    let (tickets, resumed, early_data, alt_svc) = sessions;
    let http3 = run.alternative(http3, alt_svc).await;
    let (certificates, note) = certificates.reports(|| run.line.is_in_time());
    run.notes.borrow_mut().extend(note);
    Ok(Inspection {
        target: plan.target.to_string(),
        address: plan.address,
        server_name: run.sni().map(str::to_owned),
        began: Rfc3339(began).to_string(),
        versions: versions.collect(),
        usual: met.as_ref().map(usual),
        alpn,
        http3,
        resumption: Resumption {
            tickets,
            tls13: resumed,
            tls12_session_id: older.0,
            // rustls resumes by id too where no ticket came.
            tls12_ticket: older.1.map(|resumed| resumed && promised(Version::Tls12)),
        },
        early_data,
        certificate_compression: compressions,
        client_certificate: learnt.asks_certificate,
        certificates,
        seconds: clock.elapsed().as_secs_f64(),
        connections: run.line.opened(),
        notes: run.notes.into_inner(),
    })
}

struct Run<'p> {
    plan: &'p Plan,
    line: Line,
    client: Client,
    notes: RefCell<Vec<String>>,
}

impl Run<'_> {
    fn sni(&self) -> Option<&str> {
        match &self.plan.name {
            ServerName::DnsName(name) => Some(name.as_ref()),
            _ => None,
        }
    }

    fn note(&self, what: &str, fault: &Fault) {
        self.notes.borrow_mut().push(format!("{what}: {fault}"));
    }

    /// A note where a handshake that may well fail was not answered at all.
    fn note_unanswered(&self, what: &str, fault: Option<Fault>) {
        if let Some(fault @ (Fault::Connect(_) | Fault::TimedOut | Fault::OutOfTime)) = fault {
            self.note(what, &fault);
        }
    }

    /// `None` where it could not be found out, with a note.
    fn noted<T>(&self, what: &str, told: Result<T, Fault>) -> Option<T> {
        told.inspect_err(|fault| self.note(what, fault)).ok()
    }

    /// A handshake that offers everything. Where it tells nothing at all, an older hello may; two
    /// silences are enough, because the rest would wait for as long each time.
    async fn first_word(&self) -> Result<(Learnt, Option<Met>), String> {
        let offer = Offer {
            alpn: &[H2, HTTP11],
            ..Offer::default()
        };
        let (learnt, met) = meet(&self.line, &self.client, &offer).await;
        let fault = match met {
            Ok(met) => return Ok((learnt, Some(met))),
            Err(fault) => fault,
        };
        let complain = |fault: &Fault| Err(format!("{}: {fault}", self.plan.target));
        if let Fault::Connect(_) = fault {
            return complain(&fault);
        }
        if learnt.shown.is_none() && !fault.is_no() {
            match suites::first_word(&self.line, self.sni()).await {
                Err(again) if !again.is_no() => return complain(&again),
                _ => {}
            }
        }
        self.note("a handshake that offers everything", &fault);
        Ok((learnt, None))
    }

    async fn spoken(&self) -> [(Version, Spoken); 5] {
        let ask = async |version: Version| {
            let spoken = suites::ask(&self.line, self.sni(), version).await;
            if let Some(fault) = &spoken.fault {
                self.note(&format!("the suites of {}", version.as_str()), fault);
            }
            (version, spoken)
        };
        let [a, b, c, d, e] = Version::ALL.map(ask);
        tokio::join!(a, b, c, d, e).into()
    }

    /// What is shown to clients that know one kind of signature only. A server without such a
    /// certificate says no, or shows another one.
    async fn kinds(&self) -> [(&'static str, Learnt); 4] {
        let ask = async |(kind, schemes): (&'static str, &[_])| {
            let offer = Offer {
                schemes: schemes.to_vec(),
                ..Offer::default()
            };
            let (learnt, met) = meet(&self.line, &self.client, &offer).await;
            self.note_unanswered(&format!("certificates for {kind}"), met.err());
            (kind, learnt)
        };
        let [a, b, c, d] = KINDS.map(ask);
        tokio::join!(a, b, c, d).into()
    }

    async fn alpn(&self) -> Vec<&'static str> {
        let ask = async |name: &'static str, alpn: &'static [&'static [u8]]| {
            let offer = Offer {
                alpn,
                ..Offer::default()
            };
            let (_, met) = meet(&self.line, &self.client, &offer).await;
            let chosen = match met {
                Ok(met) => met.alpn,
                Err(fault) => {
                    self.note_unanswered(&format!("ALPN {name}"), Some(fault));
                    None
                }
            };
            chosen
                .is_some_and(|chosen| alpn.contains(&&*chosen))
                .then_some(name)
        };
        let (h2, http11) = tokio::join!(ask("h2", &[H2]), ask("http/1.1", &[HTTP11]));
        h2.into_iter().chain(http11).collect()
    }

    /// In the order of the versions. Older ones than TLS 1.2 have the curves of their time.
    async fn groups(&self, spoken: &[(Version, Spoken); 5]) -> [Vec<u16>; 5] {
        let ask = async |(version, spoken): &(Version, Spoken)| {
            if spoken.version != Some(true) {
                return Vec::new();
            }
            let asked = suites::groups(&self.line, self.sni(), *version, &spoken.suites);
            let (groups, fault) = asked.await;
            if let Some(fault) = fault {
                self.note(&format!("the groups of {}", version.as_str()), &fault);
            }
            groups
        };
        let [a, b, c, d, e] = spoken.each_ref().map(ask);
        tokio::join!(a, b, c, d, e).into()
    }

    async fn compressions(&self, speaks_tls13: bool) -> Vec<Compression> {
        let ask = async |one: &'static compression::Noting| {
            if !speaks_tls13 {
                return None;
            }
            let told = one.ask(&self.line, &self.client).await;
            let sizes = self.noted(&format!("certificates by {}", one.name), told)??;
            Some(Compression {
                algorithm: one.name,
                compressed: sizes.compressed,
                uncompressed: sizes.whole,
            })
        };
        let [a, b, c] = compression::ALL.each_ref().map(ask);
        let (a, b, c) = tokio::join!(a, b, c);
        [a, b, c].into_iter().flatten().collect()
    }

    /// Tickets of TLS 1.3, whether one resumes, early data, and the answer's `Alt-Svc`.
    async fn sessions(
        &self,
        speaks_tls13: bool,
        alpn: &[&str],
    ) -> (Option<usize>, Option<bool>, EarlyData, Option<String>) {
        let unknown = (None, None, EarlyData::default(), None);
        if !speaks_tls13 {
            return unknown;
        }
        let request = self.request();
        // A server of HTTP/2 alone is asked nothing: a ticket needs no request.
        let (alpn, request): (&'static [&'static [u8]], _) = match alpn {
            ["h2"] => (&[H2], None),
            [] => (&[], Some(request.as_bytes())),
            _ => (&[HTTP11], Some(request.as_bytes())),
        };
        let tickets = resumption::tickets(&self.line, &self.client, alpn, request).await;
        let Some(tickets) = self.noted("tickets of TLS 1.3", tickets) else {
            return unknown;
        };
        let mut answer = None;
        if let (Some(request), 1..) = (request, tickets.early_data) {
            let told = early::ask(&self.line, &tickets, request).await;
            answer = self.noted("early data", told).flatten();
        }
        let alt_svc = tickets
            .head
            .as_deref()
            .and_then(|head| field(head, "alt-svc"));
        let early_data = EarlyData {
            allowed: Some(tickets.early_data),
            answer,
        };
        let alt_svc = alt_svc.map(str::to_owned);
        (
            Some(tickets.came),
            Some(tickets.resumed),
            early_data,
            alt_svc,
        )
    }

    /// By session id, and by id or ticket.
    async fn older_sessions(&self, speaks_tls12: bool) -> (Option<bool>, Option<bool>) {
        let ask = async |kind, what| {
            if !speaks_tls12 {
                return None;
            }
            let told = resumption::older(&self.line, &self.client, kind).await;
            self.noted(what, told)
        };
        tokio::join!(
            ask(Tls12Resumption::SessionIdOnly, "session ids of TLS 1.2"),
            ask(Tls12Resumption::SessionIdOrTickets, "tickets of TLS 1.2"),
        )
    }

    async fn http3(&self, address: SocketAddr) -> Option<bool> {
        let told = match self.line.is_in_time() {
            true => quic::ask(&self.client, address, self.line.timeout()).await,
            false => Err(Fault::OutOfTime),
        };
        self.noted("HTTP/3", told)
    }

    /// HTTP/3 may be on another port than the one that was asked, if an answer says so.
    async fn alternative(&self, spoken: Option<bool>, alt_svc: Option<String>) -> Http3 {
        let port = alt_svc.as_deref().and_then(quic::alternative);
        let spoken = match port {
            Some(port) if port != self.plan.address.port() => {
                self.http3((self.plan.address.ip(), port).into()).await
            }
            _ => spoken,
        };
        if let (Some(port), Some(false)) = (port, spoken) {
            let note = format!("Alt-Svc promises HTTP/3 on port {port}: nobody speaks it there");
            self.notes.borrow_mut().push(note);
        }
        Http3 { spoken, alt_svc }
    }

    fn request(&self) -> String {
        let host = match &self.plan.name {
            ServerName::DnsName(name) => Target {
                host: name.as_ref().to_owned(),
                port: self.plan.target.port,
            },
            _ => self.plan.target.clone(),
        };
        let host = host.to_string();
        let host = host.strip_suffix(":443").unwrap_or(&host);
        format!(
            "GET {} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: cutwater-inspect/{}\r\n\
             Accept: */*\r\nConnection: close\r\n\r\n",
            self.plan.path,
            env!("CARGO_PKG_VERSION"),
        )
    }
}

/// What a whole handshake used is spoken, even where a hello without shares got no answer.
fn believe(spoken: &mut [(Version, Spoken); 5], met: &Met) {
    for (version, spoken) in spoken {
        if met.version == Some(ProtocolVersion::from(version.code())) {
            spoken.version = Some(true);
            if let Some(suite) = met.suite
                && !spoken.suites.contains(&suite)
            {
                spoken.suites.push(suite);
            }
        }
    }
}

fn usual(met: &Met) -> Usual {
    let version = Version::ALL.into_iter();
    let mut version = version.filter(|it| met.version == Some(it.code().into()));
    Usual {
        version: version.next().map_or("", Version::as_str).to_owned(),
        suite: met.suite.map(names::suite),
        group: met.group.map(names::group),
        alpn: met
            .alpn
            .as_ref()
            .map(|name| name.escape_ascii().to_string()),
    }
}
