use super::*;

fn network(text: &str) -> Network {
    text.parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn networks(texts: &[&str]) -> Networks {
    let networks: Vec<Network> = texts.iter().map(|text| network(text)).collect();
    Networks::new(&networks)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_network_is_read_and_shown() {
    for (text, shown) in [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("192.0.2.7", "192.0.2.7/32"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("::1", "::1/128"),
        ("::/0", "::/0"),
    ] {
        assert_eq!(network(text).to_string(), shown);
    }
    for (text, error) in [
        ("", BadNetwork::Syntax),
        ("10.0.0/8", BadNetwork::Syntax),
        ("10.0.0.0/", BadNetwork::Syntax),
        ("10.0.0.0/+8", BadNetwork::Syntax),
        ("example.com", BadNetwork::Syntax),
        ("10.0.0.0/33", BadNetwork::Prefix),
        ("10.0.0.0/999", BadNetwork::Prefix),
        ("::/129", BadNetwork::Prefix),
        ("10.1.2.3/8", BadNetwork::HostBits(network("10.0.0.0/8"))),
        (
            "2001:db8::1/32",
            BadNetwork::HostBits(network("2001:db8::/32")),
        ),
    ] {
        assert_eq!(text.parse::<Network>(), Err(error), "{text}");
    }
}

#[test]
fn a_set_has_the_addresses_of_its_networks_and_no_other() {
    let set = networks(&[
        "10.1.0.0/16",
        "10.0.0.0/8",
        "192.0.2.4/30",
        "192.0.2.9",
        "2001:db8::/32",
    ]);
    for (address, inside) in [
        ("9.255.255.255", false),
        ("10.0.0.0", true),
        ("10.1.2.3", true),
        ("10.255.255.255", true),
        ("11.0.0.0", false),
        ("192.0.2.3", false),
        ("192.0.2.7", true),
        ("192.0.2.8", false),
        ("192.0.2.9", true),
        ("2001:db8:ffff::1", true),
        ("2001:db9::", false),
        ("::a00:1", false),
    ] {
        assert_eq!(set.contains(ip(address)), inside, "{address}");
    }
    assert!(networks(&["0.0.0.0/0"]).contains(ip("255.255.255.255")));
    // All of IPv6 is nothing of IPv4.
    assert!(!networks(&["::/0"]).contains(ip("10.0.0.1")));
    assert!(!networks(&[]).contains(ip("10.0.0.1")));
}

#[test]
fn deny_beats_allow_and_no_allow_is_all() {
    let admission = |allow: Option<&[&str]>, deny: &[&str]| Admission {
        allow: allow.map(networks),
        deny: networks(deny),
        rate: None,
    };
    let admits = |admission: &Admission, address: &str| {
        admission.admit(ip(address), || Duration::ZERO).is_ok()
    };
    let both = admission(Some(&["10.0.0.0/8"]), &["10.1.0.0/16"]);
    assert!(admits(&both, "10.2.0.1"));
    assert!(admits(&both, "::ffff:10.2.0.1"));
    assert!(!admits(&both, "10.1.0.1"));
    assert!(!admits(&both, "::ffff:10.1.0.1"));
    assert!(!admits(&both, "192.0.2.1"));
    let denied = admission(None, &["10.1.0.0/16"]);
    assert!(admits(&denied, "192.0.2.1"));
    assert!(!admits(&denied, "10.1.0.1"));
}

fn limit(requests: u32, burst: u32, clients: usize) -> RateLimit {
    RateLimit::new(Rate {
        requests,
        per: Duration::from_secs(1),
        burst,
        clients,
    })
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn a_bucket_gives_its_burst_then_its_rate() {
    let limit = limit(10, 3, 100);
    let client = ip("192.0.2.1");
    for _ in 0..3 {
        assert_eq!(limit.take(client, millis(5000)), Ok(()));
    }
    assert_eq!(limit.take(client, millis(5000)), Err(millis(100)));
    assert_eq!(limit.take(client, millis(5060)), Err(millis(40)));
    // Having asked in vain costs nothing.
    assert_eq!(limit.take(client, millis(5100)), Ok(()));
    assert_eq!(limit.take(client, millis(5100)), Err(millis(100)));
    // It fills up to its burst, and no further.
    for _ in 0..3 {
        assert_eq!(limit.take(client, millis(60_000)), Ok(()));
    }
    assert!(limit.take(client, millis(60_000)).is_err());
    assert_eq!(limit.take(ip("192.0.2.2"), millis(60_000)), Ok(()));
}

#[test]
fn the_addresses_of_an_ipv6_subscriber_share_a_bucket() {
    let limit = limit(1, 1, 100);
    assert!(limit.take(ip("2001:db8::1"), millis(0)).is_ok());
    assert!(limit.take(ip("2001:db8::ffff:2"), millis(0)).is_err());
    assert!(limit.take(ip("2001:db8:0:1::1"), millis(0)).is_ok());
}

#[test]
fn more_clients_than_there_is_room_for_are_let_in_and_one_is_still_held() {
    let limit = limit(1, 2, 8);
    let heavy = ip("192.0.2.1");
    assert!(limit.take(heavy, millis(0)).is_ok());
    assert!(limit.take(heavy, millis(0)).is_ok());
    for number in 0..1000_u32 {
        let other = IpAddr::V4(number.into());
        assert!(limit.take(other, millis(0)).is_ok(), "{other}");
        // Those who asked once are nearer to full, so they give way.
        assert!(limit.take(heavy, millis(0)).is_err());
    }
}

#[test]
fn extreme_rates_overflow_nothing() {
    for (requests, per, burst) in [
        (1, Duration::MAX, u32::MAX),
        (u32::MAX, millis(1), 1),
        (0, Duration::ZERO, 0),
    ] {
        let limit = RateLimit::new(Rate {
            requests,
            per,
            burst,
            clients: 0,
        });
        let client = ip("192.0.2.1");
        assert_eq!(limit.take(client, Duration::MAX), Ok(()));
        let _ = limit.take(client, Duration::ZERO);
    }
}
