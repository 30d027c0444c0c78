//! What has to be seen of a case, on the line and in what Wireshark reads there.
//!
//! As quic-interop-runner checks it: the client's side of the line is what its "left" node sees, the
//! server's side what its "right" one does.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::packets::{Kind, Packet, V1, packets};
use super::pcap::Datagram;
use super::tshark::Frame;
use crate::notes::Notes;

/// Looks at a case.
pub type Check = fn(&Trace, &mut Notes);

/// ACK with counts of marks (RFC 9000 §19.3), PATH_CHALLENGE, PATH_RESPONSE.
const ACK_ECN: u64 = 0x03;
const PATH_CHALLENGE: u64 = 0x1a;
/// Certificate, CompressedCertificate (RFC 8879).
const CERTIFICATES: [u64; 2] = [11, 25];
const CHACHA20: u64 = 0x1303;
const V2: u32 = 0x6b33_43cf;
/// What a chain of nine takes at least, in bytes of Handshake packets.
const LONG_CHAIN: usize = 7500;

/// A datagram with its packets.
#[derive(Debug, Clone)]
pub struct Passed {
    pub datagram: Datagram,
    pub packets: Vec<Packet>,
    /// Whether the client sent it.
    pub from_client: bool,
    /// What is in it, where that was looked at.
    pub frame: Frame,
}

/// One side of the line.
#[derive(Debug, Default, Clone)]
pub struct Side(pub Vec<Passed>);

impl Side {
    /// What passed; `server` is who all of it comes from or goes to.
    pub fn new(datagrams: Vec<Datagram>, server: SocketAddr) -> Self {
        let passed = datagrams.into_iter().map(|datagram| Passed {
            packets: packets(&datagram),
            from_client: datagram.to == server,
            frame: Frame::default(),
            datagram,
        });
        Self(passed.collect())
    }

    /// Adds what Wireshark has read: by the number of the datagram, from 1.
    pub fn deepen(&mut self, frames: Vec<(usize, Frame)>) {
        for (number, frame) in frames {
            if let Some(passed) = number.checked_sub(1).and_then(|at| self.0.get_mut(at)) {
                passed.frame = frame;
            }
        }
    }

    fn of(&self, client: bool) -> impl Iterator<Item = &Passed> {
        self.0.iter().filter(move |it| it.from_client == client)
    }

    fn packets(&self, client: bool, kind: Kind) -> impl Iterator<Item = &Packet> {
        let all = self.of(client).flat_map(|it| &it.packets);
        all.filter(move |packet| packet.kind == kind)
    }
}

/// Both sides of the line, and what was fetched.
#[derive(Debug, Default)]
pub struct Trace {
    pub client: Side,
    pub server: Side,
    /// How many files.
    pub files: usize,
    /// The length of all their names.
    pub names: usize,
    /// Whether they were fetched over HTTP/3.
    pub http3: bool,
}

impl Trace {
    /// The ids that the server chose for its connections: one for each handshake.
    fn handshakes(&self) -> usize {
        let ids = self.server.packets(false, Kind::Initial);
        ids.map(|packet| &packet.from)
            .collect::<BTreeSet<_>>()
            .len()
    }

    fn once(&self, notes: &mut Notes) {
        notes.is("handshakes", self.handshakes(), 1);
        self.version(notes, V1);
    }

    fn version(&self, notes: &mut Notes, version: u32) {
        let all = self.server.packets(false, Kind::Initial);
        let all: BTreeSet<u32> = all.map(|packet| packet.version).collect();
        notes.is("versions", all, BTreeSet::from([version]));
    }
}

/// One handshake, of version 1.
pub fn nothing_more(trace: &Trace, notes: &mut Notes) {
    trace.once(notes);
}

/// And no Retry.
pub fn no_retry(trace: &Trace, notes: &mut Notes) {
    trace.once(notes);
    let retries = trace.client.packets(false, Kind::Retry).count();
    notes.is("Retry packets", retries, 0);
}

/// The client did not wait for so long.
pub fn repeated_hello(trace: &Trace, notes: &mut Notes) {
    trace.once(notes);
    let before = trace.client.0.iter().take_while(|it| it.from_client);
    let before = before.filter(|it| it.packets.iter().any(|it| it.kind == Kind::Initial));
    notes.check(
        "the client sent its hello again meanwhile",
        before.count() >= 2,
    );
}

/// The suites that were offered.
pub fn only_chacha20(trace: &Trace, notes: &mut Notes) {
    trace.once(notes);
    let offered = trace.client.of(true).flat_map(|it| &it.frame.suites);
    let offered: BTreeSet<u64> = offered.copied().collect();
    notes.is("suites offered", offered, BTreeSet::from([CHACHA20]));
}

/// Keys of both phases were used, by both.
pub fn both_key_phases(trace: &Trace, notes: &mut Notes) {
    trace.once(notes);
    for (who, client) in [("client", true), ("server", false)] {
        let phases = trace.client.of(client).filter_map(|it| it.frame.key_phase);
        let phases: BTreeSet<bool> = phases.collect();
        let what = format!("key phases of the {who}");
        notes.is(&what, phases, BTreeSet::from([false, true]));
    }
}

/// There was a Retry, and its token came back.
pub fn retried(trace: &Trace, notes: &mut Notes) {
    trace.once(notes);
    let given = trace.client.packets(false, Kind::Retry);
    let given: BTreeSet<&[u8]> = given.map(|packet| &packet.token[..]).collect();
    notes.check("the server sent a Retry", !given.is_empty());
    let mut shown = trace.client.packets(true, Kind::Initial);
    let used = shown.any(|packet| given.contains(&packet.token[..]));
    notes.check("the client used its token", used);
}

/// The second of two handshakes had no certificate.
pub fn resumed(trace: &Trace, notes: &mut Notes) {
    notes.is("handshakes", trace.handshakes(), 2);
    trace.version(notes, V1);
    let mut ids: Vec<&[u8]> = Vec::new();
    for packet in trace.client.packets(false, Kind::Handshake) {
        if !ids.contains(&&packet.from[..]) {
            ids.push(&packet.from);
        }
    }
    let shown = |id: &[u8]| {
        let mut all = trace.client.of(false);
        all.any(|it| {
            it.packets.iter().any(|packet| packet.from == id)
                && CERTIFICATES
                    .iter()
                    .any(|kind| it.frame.handshakes.contains(kind))
        })
    };
    let shown: Vec<bool> = ids.into_iter().map(shown).collect();
    notes.is("certificates shown", shown, vec![true, false]);
}

/// What was asked for was asked for early.
pub fn early(trace: &Trace, notes: &mut Notes) {
    notes.is("handshakes", trace.handshakes(), 2);
    trace.version(notes, V1);
    let bytes = |kind| -> usize {
        let packets = trace.client.packets(true, kind);
        packets.map(|packet| packet.sealed).sum()
    };
    let (early, late) = (bytes(Kind::ZeroRtt), bytes(Kind::OneRtt));
    notes.note("bytes", [format!("{early} early, {late} later")]);
    notes.check("the client sent early data", early > 0);
    // Nine tenths of what the second connection asks for: quinn's first window ends before its tenth
    // datagram. HTTP/3 has names in Huffman's code, which makes six bits of a letter on average (RFC
    // 7541 appendix B).
    let names = trace.names - trace.names / trace.files.max(1);
    let names = if trace.http3 { names / 4 * 3 } else { names };
    notes.check("nearly all requests came early", early >= names / 10 * 9);
    // Half of the names, as the runner has it, whose clients speak HTTP/0.9. Over HTTP/3 what is no
    // request takes more: its streams of control, acknowledgements of more packets, and probes of
    // the path, a datagram each, for which connections last long enough there.
    notes.check("little came later", trace.http3 || late <= trace.names / 2);
}

/// As many handshakes as files.
pub fn a_connection_each(trace: &Trace, notes: &mut Notes) {
    notes.is("handshakes", trace.handshakes(), trace.files);
    trace.version(notes, V1);
}

/// Three times what the client has sent, until it shows that it has read what it was sent.
pub fn within_the_limit(trace: &Trace, notes: &mut Notes) {
    trace.once(notes);
    let sealed = trace.server.packets(false, Kind::Handshake);
    let chain: usize = sealed.map(|packet| packet.sealed).sum();
    notes.check("the server showed all of its chain", chain >= LONG_CHAIN);
    let (mut received, mut sent, mut kept) = (0, 0, true);
    let mut proved = false;
    for passed in &trace.server.0 {
        let length = passed.datagram.bytes.len();
        if passed.from_client {
            proved = passed.packets.iter().any(|it| it.kind == Kind::Handshake);
            if proved {
                break;
            }
            received += length;
        } else {
            sent += length;
            kept &= sent <= 3 * received;
        }
    }
    notes.note(
        "before proof",
        [format!("{received} received, {sent} sent")],
    );
    notes.check("the client proved its address", proved);
    notes.check("the server kept within three times that", kept);
}

/// Marks on what was sent, and counts of them in what came back.
pub fn marked(trace: &Trace, notes: &mut Notes) {
    trace.once(notes);
    for (who, client, side) in [
        ("client", true, &trace.client),
        ("server", false, &trace.server),
    ] {
        let marks = side.of(client).map(|it| it.datagram.ecn);
        let marks: BTreeSet<u8> = marks.collect();
        notes.note(&format!("marks of the {who}"), [format!("{marks:?}")]);
        let capable = marks.contains(&1) || marks.contains(&2);
        notes.check(&format!("the {who} marks its datagrams"), capable);
        notes.check(
            &format!("nothing of the {who} met congestion"),
            !marks.contains(&3),
        );
        let mut all = side.of(client);
        let told = all.any(|it| it.frame.types.contains(&ACK_ECN));
        notes.check(&format!("the {who} counts the other's marks"), told);
    }
}

/// Each new path of the client was challenged at once, and the challenge answered. The line has
/// rebound twice: with one new path alone, the transfer was over too early to show anything of the
/// second.
pub fn ports_validated(trace: &Trace, notes: &mut Notes) {
    paths_validated(trace, notes, 2);
}

fn paths_validated(trace: &Trace, notes: &mut Notes, changes: usize) {
    trace.once(notes);
    let mut paths: Vec<SocketAddr> = Vec::new();
    let mut challenges: BTreeSet<&str> = BTreeSet::new();
    for passed in trace.server.of(false) {
        let path = passed.datagram.to;
        if paths.contains(&path) {
            continue;
        }
        if !paths.is_empty() {
            let challenged = passed.frame.types.contains(&PATH_CHALLENGE);
            let what = format!("the first packet to {path} has a PATH_CHALLENGE");
            notes.check(&what, challenged);
            challenges.extend(passed.frame.challenges.iter().map(String::as_str));
        }
        paths.push(path);
    }
    let found = paths.len().saturating_sub(1);
    notes.check(
        &format!("the client's path has changed {changes} times: {found}"),
        found >= changes,
    );
    let answers = trace.client.of(true).flat_map(|it| &it.frame.responses);
    let answers: BTreeSet<&str> = answers.map(String::as_str).collect();
    let answered = !challenges.is_empty() && challenges.is_subset(&answers);
    notes.check("the client answered every challenge", answered);
}

/// The same, and each time to another address.
pub fn addresses_validated(trace: &Trace, notes: &mut Notes) {
    ports_validated(trace, notes);
    let addresses = trace.server.of(false).map(|it| it.datagram.to.ip());
    let addresses: BTreeSet<_> = addresses.collect();
    notes.check(
        &format!("the client had three addresses: {addresses:?}"),
        addresses.len() >= 3,
    );
}

/// The client itself has taken another path, with another id.
pub fn migrated(trace: &Trace, notes: &mut Notes) {
    paths_validated(trace, notes, 1);
    let mut last: Option<(SocketAddr, SocketAddr, &[u8])> = None;
    for passed in trace.client.of(true) {
        let datagram = &passed.datagram;
        let Some(packet) = passed.packets.first() else {
            continue;
        };
        if let Some((from, to, id)) = last
            && (from, to) != (datagram.from, datagram.to)
        {
            let what = format!("another id to {}", datagram.to);
            notes.check(&what, id != &packet.to[..]);
        }
        last = Some((datagram.from, datagram.to, &packet.to));
    }
}

/// Version 1 was asked in, version 2 answered in.
pub fn version_2(trace: &Trace, notes: &mut Notes) {
    notes.is("handshakes", trace.handshakes(), 1);
    trace.version(notes, V2);
}
