//! Networks in CIDR notation, and sets of them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A network: an address and how many of its leading bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Why a text is no [`Network`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadNetwork {
    /// Neither an address nor a network.
    Syntax,
    /// More bits than the address has.
    Prefix,
    /// The address has bits set behind the prefix; the network that was probably meant.
    HostBits(Network),
}

impl fmt::Display for BadNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syntax => "not an address and not a network",
            Self::Prefix => "its prefix is longer than its address",
            Self::HostBits(_) => "its address has bits set behind its prefix",
        })
    }
}

impl std::error::Error for BadNetwork {}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Network {
    type Err = BadNetwork;

    /// Reads `10.0.0.0/8`, `2001:db8::/32`, or an address, which is a network of one.
    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| BadNetwork::Syntax)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => most,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().map_err(|_| match digits {
                    "" => BadNetwork::Syntax,
                    _ => BadNetwork::Prefix,
                })?
            }
            Some(_) => return Err(BadNetwork::Syntax),
        };
        if prefix > most {
            return Err(BadNetwork::Prefix);
        }
        let network = Self { address, prefix };
        let (first, _) = network.bounds();
        if first != number(address) {
            let address = match address {
                IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(
                    u32::try_from(first).map_err(|_| BadNetwork::Syntax)?,
                )),
                IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(first)),
            };
            return Err(BadNetwork::HostBits(Self { address, prefix }));
        }
        Ok(network)
    }
}

impl Network {
    /// The first and the last address.
    fn bounds(self) -> (u128, u128) {
        let bits: u32 = if self.address.is_ipv4() { 32 } else { 128 };
        let free = bits.saturating_sub(self.prefix.into());
        let host = 1_u128.checked_shl(free).map_or(u128::MAX, |size| size - 1);
        let first = number(self.address) & !host;
        (first, first | host)
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// A set of networks. Looked through by bisection: a long list costs little more than a short one.
#[derive(Clone, Debug, Default)]
pub struct Networks {
    v4: Ranges,
    v6: Ranges,
}

impl Networks {
    /// The union of `networks`.
    pub fn new(networks: &[Network]) -> Self {
        let of = |v4: bool| {
            let networks = networks.iter();
            let family = networks.filter(move |network| network.address.is_ipv4() == v4);
            Ranges::new(family.map(|network| network.bounds()).collect())
        };
        Self {
            v4: of(true),
            v6: of(false),
        }
    }

    /// Whether `address`, in its canonical form, is in one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(_) => self.v4.contains(number(address)),
            IpAddr::V6(_) => self.v6.contains(number(address)),
        }
    }
}

/// First and last addresses, in order, no two overlapping.
#[derive(Clone, Debug, Default)]
struct Ranges(Box<[(u128, u128)]>);

impl Ranges {
    fn new(mut ranges: Vec<(u128, u128)>) -> Self {
        ranges.sort_unstable();
        let mut union: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match union.last_mut() {
                Some((_, end)) if first <= *end => *end = last.max(*end),
                _ => union.push((first, last)),
            }
        }
        Self(union.into())
    }

    fn contains(&self, address: u128) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= address);
        let before = after.checked_sub(1).and_then(|index| self.0.get(index));
        before.is_some_and(|(_, last)| address <= *last)
    }
}
