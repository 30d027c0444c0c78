//! What a replay test found, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use serde::{Serialize, Serializer};

use crate::load::stats::ErrorKind;

/// What a replay test found. `Display` is the text for people; serialised it is that for programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReplayReport {
    /// All rounds together.
    pub finding: Finding,
    /// The process exit code that says so; see [`Finding::exit_code`].
    pub exit_code: u8,
    /// One flight each: sent one copy after the other, and another one all copies at once.
    pub rounds: Vec<Round>,
}

/// What the rounds prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// Every flight was accepted once, and no copy of it again.
    Clear,
    /// An original was not accepted, so that its copies prove nothing; or none of its copies was
    /// answered.
    Inconclusive,
    /// A flight was accepted at least twice.
    AcceptedTwice,
}

impl Finding {
    /// 0 clear, 1 accepted twice, 3 inconclusive.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Clear => 0,
            Self::AcceptedTwice => 1,
            Self::Inconclusive => 3,
        }
    }
}

/// In which order the copies of a flight were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// The original, then its copies, one after the other.
    InTurn,
    /// All connections first, then the flight on all of them: nobody can say which is the
    /// original.
    AtOnce,
    /// Over QUIC: the same, the ClientHello of each under a connection id of its own, which gets
    /// them to different workers and past any memory of ids. Whoever records a flight can do that.
    OtherIds,
}

/// One flight and what became of its copies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Round {
    /// How they were sent.
    pub order: Order,
    /// This round alone.
    pub finding: Finding,
    /// How many flights it took until one was accepted; those before it are not counted here. More than
    /// one where a server refused the early data of a new ticket.
    pub flights: usize,
    /// The flight, if one could be recorded.
    pub flight: Option<FlightSummary>,
    /// Why none could be.
    pub trouble: Option<String>,
    /// What became of the original, where it can be told from its copies.
    pub original: Option<Outcome>,
    /// How often the flight was sent, the original included.
    pub sent: u64,
    /// How often it was accepted as early data, the original included.
    pub accepted: u64,
    /// The same by address, in the order of the plan.
    pub addresses: Vec<AddressCount>,
}

/// What was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FlightSummary {
    /// All of it on the wire, in bytes.
    pub bytes: usize,
    /// The request in it, in bytes of plaintext.
    pub early_data: usize,
    /// What the ticket allowed, in bytes of plaintext.
    pub allowed: u32,
    /// The ticket's suite: `TLS13_AES_128_GCM_SHA256`.
    pub suite: String,
    /// The group of the share: `X25519`.
    pub group: String,
}

/// What an address did with the copies that it got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AddressCount {
    /// The address.
    pub address: SocketAddr,
    /// Copies sent there, the original included.
    pub sent: u64,
    /// How many were accepted as early data.
    pub accepted: u64,
    /// How many of each outcome, by its name.
    pub outcomes: BTreeMap<Outcome, u64>,
}

/// What became of a copy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// EncryptedExtensions have the `early_data` extension: accepted as early data.
    Accepted,
    /// Resumed, and EncryptedExtensions do not have it.
    Resumed,
    /// The server chose no PSK: a full handshake, and early data is skipped.
    FullHandshake,
    /// The server wants another ClientHello; there is no early data after that.
    HelloRetryRequest,
    /// The server answered with TLS 1.2 or older.
    OlderVersion,
    /// The server does not speak this version of QUIC.
    OtherVersion,
    /// The server wants the client's address proved first, which no copy from elsewhere can do.
    Retry,
    /// The server ended the connection with this alert.
    Alert(&'static str),
    /// The server ended the connection with this error of QUIC.
    Quic(u64),
    /// The server closed before it had said anything on early data.
    Closed,
    /// The same with a reset.
    Reset,
    /// The server said nothing on early data in time.
    Timeout,
    /// No connection: why.
    Unreachable(String),
    /// The server sent something that could not be read: what.
    Unreadable(&'static str),
}

impl Outcome {
    /// Whether it shows what the server makes of the flight.
    fn is_answer(&self) -> bool {
        !matches!(
            self,
            Self::Timeout | Self::Unreachable(_) | Self::Unreadable(_)
        )
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted => f.write_str("accepted"),
            Self::Resumed => f.write_str("resumed without early data"),
            Self::FullHandshake => f.write_str("full handshake"),
            Self::HelloRetryRequest => f.write_str("HelloRetryRequest"),
            Self::OlderVersion => f.write_str("TLS 1.2 or older"),
            Self::OtherVersion => f.write_str("another version of QUIC"),
            Self::Retry => f.write_str("Retry"),
            Self::Alert(name) => write!(f, "alert: {name}"),
            Self::Quic(code) => ErrorKind::Quic(*code).fmt(f),
            Self::Closed => f.write_str("closed"),
            Self::Reset => f.write_str("reset"),
            Self::Timeout => f.write_str("timeout"),
            Self::Unreachable(why) => write!(f, "unreachable: {why}"),
            Self::Unreadable(what) => write!(f, "unreadable: {what}"),
        }
    }
}

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl ReplayReport {
    /// Of these rounds. None at all prove nothing.
    pub(super) fn new(rounds: Vec<Round>) -> Self {
        let findings = rounds.iter().map(|round| round.finding);
        let finding = findings.max().unwrap_or(Finding::Inconclusive);
        Self {
            finding,
            exit_code: finding.exit_code(),
            rounds,
        }
    }
}

impl Round {
    /// One for which no flight could be recorded.
    pub(super) fn failed(order: Order, trouble: String) -> Self {
        Self {
            order,
            finding: Finding::Inconclusive,
            flights: 0,
            flight: None,
            trouble: Some(trouble),
            original: None,
            sent: 0,
            accepted: 0,
            addresses: Vec::new(),
        }
    }

    /// Whether the server read the flight and took no copy of it as early data.
    pub(super) fn is_refused(&self) -> bool {
        let refusals = [Outcome::Resumed, Outcome::FullHandshake];
        let mut outcomes = self.addresses.iter().flat_map(|at| at.outcomes.keys());
        self.accepted == 0 && outcomes.any(|outcome| refusals.contains(outcome))
    }

    /// One whose copies went to these addresses and came to this, the original first.
    pub(super) fn counted(
        order: Order,
        flight: FlightSummary,
        addresses: &[SocketAddr],
        outcomes: Vec<(SocketAddr, Outcome)>,
    ) -> Self {
        let original = match order {
            Order::InTurn => outcomes.first().map(|(_, outcome)| outcome.clone()),
            Order::AtOnce | Order::OtherIds => None,
        };
        let mut counts: Vec<AddressCount> = Vec::new();
        for address in addresses {
            if !counts.iter().any(|count| count.address == *address) {
                counts.push(AddressCount {
                    address: *address,
                    sent: 0,
                    accepted: 0,
                    outcomes: BTreeMap::new(),
                });
            }
        }
        for (address, outcome) in outcomes {
            for count in counts.iter_mut().filter(|count| count.address == address) {
                count.sent += 1;
                count.accepted += u64::from(outcome == Outcome::Accepted);
                *count.outcomes.entry(outcome.clone()).or_default() += 1;
            }
        }
        let accepted = counts.iter().map(|count| count.accepted).sum();
        let count = |count: &AddressCount| {
            let answered = count
                .outcomes
                .iter()
                .filter(|(outcome, _)| outcome.is_answer());
            answered.map(|(_, number)| number).sum::<u64>()
        };
        let answered: u64 = counts.iter().map(count).sum();
        let original_accepted = match &original {
            Some(outcome) => *outcome == Outcome::Accepted,
            None => accepted > 0,
        };
        Self {
            order,
            finding: match accepted {
                2.. => Finding::AcceptedTwice,
                _ if original_accepted && answered > 1 => Finding::Clear,
                _ => Finding::Inconclusive,
            },
            flights: 1,
            flight: Some(flight),
            trouble: None,
            original,
            sent: counts.iter().map(|count| count.sent).sum(),
            accepted,
            addresses: counts,
        }
    }
}

impl fmt::Display for ReplayReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for round in &self.rounds {
            round.fmt(f)?;
        }
        f.write_str(match self.finding {
            Finding::Clear => "clear: each flight was accepted as early data once\n",
            Finding::Inconclusive => {
                "inconclusive: an original was not accepted as early data, or no copy was answered\n"
            }
            Finding::AcceptedTwice => {
                "REPLAYED: a flight was accepted as early data more than once\n"
            }
        })
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = match self.order {
            Order::InTurn => "one after the other",
            Order::AtOnce => "at once",
            Order::OtherIds => "at once, under other connection ids",
        };
        let Some(flight) = &self.flight else {
            let trouble = self.trouble.as_deref().unwrap_or("nothing was recorded");
            return writeln!(f, "{order}: {trouble}");
        };
        writeln!(
            f,
            "{order}: {} × {} bytes ({} of early data), {}, {}",
            self.sent, flight.bytes, flight.early_data, flight.suite, flight.group
        )?;
        if self.flights > 1 {
            writeln!(
                f,
                "  the flight is number {}: others were refused",
                self.flights
            )?;
        }
        if let Some(original) = &self.original {
            writeln!(f, "  the original: {original}")?;
        }
        for count in &self.addresses {
            let AddressCount {
                address,
                sent,
                accepted,
                outcomes,
            } = count;
            write!(f, "  {address}: {accepted} of {sent} accepted")?;
            for (outcome, number) in outcomes {
                if *outcome != Outcome::Accepted {
                    write!(f, ", {number} {outcome}")?;
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
