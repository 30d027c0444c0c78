use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use rustls::pki_types::ServerName;

use super::*;

fn name(text: &str) -> SiteName {
    SiteName::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refused(text: &str) -> NameError {
    SiteName::parse(text).expect_err(text)
}

#[test]
fn case_and_final_dot_do_not_matter() {
    assert_eq!(name("WWW.Example.COM."), name("www.example.com"));
    assert_eq!(name("*.Example.COM.").to_string(), "*.example.com");
}

#[test]
fn u_labels_become_a_labels() {
    assert_eq!(name("Bücher.example").to_string(), "xn--bcher-kva.example");
    assert_eq!(
        name("*.bücher.example").to_string(),
        "*.xn--bcher-kva.example"
    );
    assert_eq!(name("bücher。example"), name("xn--bcher-kva.example"));
}

#[test]
fn names_that_cannot_be_are_refused_with_the_reason() {
    let long_label = format!("{}.example", "a".repeat(64));
    let long_name = format!("{}example", "abcdefg.".repeat(31));
    assert_eq!(refused(""), NameError::Empty);
    assert_eq!(refused("."), NameError::Empty);
    assert_eq!(refused("*"), NameError::BareWildcard);
    assert_eq!(refused("*."), NameError::BareWildcard);
    assert_eq!(refused("*.."), NameError::Empty);
    assert_eq!(refused("*example.com"), NameError::MisplacedWildcard);
    assert_eq!(refused("www.*.com"), NameError::MisplacedWildcard);
    assert_eq!(refused("*.*.com"), NameError::MisplacedWildcard);
    assert_eq!(refused("w*.example.com"), NameError::MisplacedWildcard);
    assert_eq!(refused("a..b"), NameError::EmptyLabel);
    assert_eq!(refused(".example.com"), NameError::EmptyLabel);
    assert_eq!(
        refused(&long_label),
        NameError::LabelTooLong("a".repeat(64).into())
    );
    assert_eq!(refused(&long_name), NameError::TooLong);
    assert_eq!(refused("192.0.2.1"), NameError::IpAddress);
    assert_eq!(refused("2001:db8::1"), NameError::IpAddress);
    assert_eq!(refused("[::1]"), NameError::IpAddress);
    assert_eq!(refused("１９２.0.2.1"), NameError::IpAddress);
    assert_eq!(refused("host.42"), NameError::NumericEnd);
    assert_eq!(refused("example.com:443"), NameError::BadCharacter(':'));
    assert_eq!(refused("exa mple.com"), NameError::BadCharacter(' '));
    assert_eq!(refused("https://example.com"), NameError::BadCharacter(':'));
    assert_eq!(refused("-a.example"), NameError::Hyphen("-a".into()));
    assert_eq!(refused("a-.example"), NameError::Hyphen("a-".into()));
    assert_eq!(refused("\u{2028}.example"), NameError::Idna);
}

#[test]
fn a_wildcard_counts_its_own_two_characters() {
    let base = format!("{}abcde", "abcdefg.".repeat(31));
    assert_eq!(base.len(), MAX_NAME);
    name(&base);
    assert_eq!(refused(&format!("*.{base}")), NameError::TooLong);
}

#[test]
fn hosts_are_normalised_without_a_copy_where_possible() {
    assert!(matches!(
        normalise_host("example.com."),
        Some(Cow::Borrowed("example.com"))
    ));
    assert_eq!(
        normalise_host("Example.COM").as_deref(),
        Some("example.com")
    );
    assert_eq!(
        normalise_host("[2001:DB8::1]").as_deref(),
        Some("[2001:db8::1]")
    );
    for bad in [
        "",
        ".",
        "*.example.com",
        "exa mple",
        "bücher.example",
        "a/b",
        "a@b",
    ] {
        assert_eq!(normalise_host(bad), None, "{bad}");
    }
    assert_eq!(normalise_host(&"a".repeat(254)), None);
}

#[test]
fn exact_beats_wildcard_and_a_wildcard_covers_one_label() {
    let mut index = NameIndex::new();
    index.insert(name("*.example.com"), 1).expect("new");
    index.insert(name("www.example.com"), 2).expect("new");
    index.insert(name("*.www.example.com"), 3).expect("new");
    assert_eq!(
        index.get_with_kind("www.example.com"),
        Some((&2, Match::Exact))
    );
    assert_eq!(
        index.get_with_kind("api.example.com"),
        Some((&1, Match::Wildcard))
    );
    assert_eq!(index.get("a.www.example.com"), Some(&3));
    assert_eq!(index.get("example.com"), None);
    assert_eq!(index.get("a.b.example.com"), None);
    assert_eq!(index.get(".example.com"), None);
    assert_eq!(index.get("com"), None);
    assert_eq!(index.len(), 3);
}

#[test]
fn a_name_is_taken_once() {
    let mut index = NameIndex::new();
    assert_eq!(index.insert(name("example.com"), 1), Ok(()));
    assert_eq!(index.insert(name("EXAMPLE.com."), 2), Err(Duplicate));
    assert_eq!(index.insert(name("*.example.com"), 3), Ok(()));
    assert_eq!(index.get_name(&name("*.example.com")), Some(&3));
    assert_eq!(index.get_name(&name("example.com")), Some(&1));
    assert_eq!(index.get_name(&name("*.example.org")), None);
}

/// Counts the hashes made: one for each look-up.
#[derive(Clone, Default)]
struct Counting {
    state: RandomState,
    hashes: Arc<AtomicUsize>,
}

impl BuildHasher for Counting {
    type Hasher = <RandomState as BuildHasher>::Hasher;

    fn build_hasher(&self) -> Self::Hasher {
        self.hashes.fetch_add(1, Ordering::Relaxed);
        self.state.build_hasher()
    }
}

#[test]
fn at_most_two_lookups_whatever_the_number_of_names() {
    for count in [1, 100, 20_000] {
        let mut index: NameIndex<usize, Counting> = NameIndex::default();
        for i in 0..count {
            index
                .insert(name(&format!("site{i}.example")), i)
                .expect("new");
            index
                .insert(name(&format!("*.site{i}.example")), i)
                .expect("new");
        }
        let made = |index: &NameIndex<usize, Counting>| {
            index.exact.hasher().hashes.load(Ordering::Relaxed)
                + index.wildcard.hasher().hashes.load(Ordering::Relaxed)
        };
        for (host, found) in [
            ("site0.example", true),
            ("www.site0.example", true),
            ("a.b.c.d.e.f.g.h.unknown.example", false),
            ("nolabel", false),
        ] {
            let before = made(&index);
            assert_eq!(index.get(host).is_some(), found, "{host}");
            assert!(made(&index) - before <= 2, "{host} among {count}");
        }
    }
}

proptest! {
    #[test]
    fn any_text_is_judged_without_a_panic(text in ".{0,80}") {
        let _ = SiteName::parse(&text);
        let _ = normalise_host(&text);
    }

    #[test]
    fn what_rustls_takes_as_sni_is_a_name_and_the_other_way_round(text in "[a-zA-Z0-9_.*-]{1,40}") {
        let sni = matches!(ServerName::try_from(text.as_str()), Ok(ServerName::DnsName(_)));
        let plain = SiteName::parse(&text).is_ok_and(|name| !name.is_wildcard());
        prop_assert_eq!(sni, plain);
    }

    #[test]
    fn an_accepted_name_is_found_under_what_it_normalises_to(text in "[a-zA-Z0-9.-]{1,30}") {
        if let Ok(parsed) = SiteName::parse(&text) {
            let host = normalise_host(&text).expect("an accepted name is a host").into_owned();
            prop_assert!(parsed.matches(&host));
            let mut index = NameIndex::new();
            index.insert(parsed, ()).expect("new");
            prop_assert!(index.get(&host).is_some());
        }
    }
}
