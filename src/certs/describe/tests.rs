use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::*;

/// RSA of 1024 bits, signed over SHA-1 by an authority that is not there.
const OLD: &str = include_str!("old.pem");

type Authority = CertifiedIssuer<'static, KeyPair>;

fn now() -> SystemTime {
    rcgen::date_time_ymd(2026, 7, 1).into()
}

fn parameters(name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.not_before = rcgen::date_time_ymd(2026, 6, 1);
    parameters.not_after = rcgen::date_time_ymd(2026, 8, 1);
    parameters
}

fn authority(name: &str) -> CertificateParams {
    let mut parameters = parameters(name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters
}

fn leaf() -> CertificateParams {
    let mut leaf = parameters("the leaf");
    leaf.subject_alt_names = vec![
        rcgen::SanType::DnsName("example.com".try_into().unwrap()),
        rcgen::SanType::IpAddress([127, 0, 0, 1].into()),
    ];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf
}

/// A root and an intermediate below it.
struct Public {
    root: Authority,
    between: Authority,
}

impl Public {
    fn new() -> Self {
        let key = || KeyPair::generate().unwrap();
        let root = CertifiedIssuer::self_signed(authority("root"), key()).unwrap();
        let between = CertifiedIssuer::signed_by(authority("between"), key(), &root).unwrap();
        Self { root, between }
    }

    fn sign(&self, leaf: &CertificateParams) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        leaf.signed_by(&key, &self.between).unwrap().der().clone()
    }

    fn between(&self) -> CertificateDer<'static> {
        self.between.der().clone()
    }

    fn root(&self) -> CertificateDer<'static> {
        self.root.der().clone()
    }

    fn anchors(&self) -> Anchors {
        let mut store = RootCertStore::empty();
        store.add(self.root()).unwrap();
        Anchors::new(&store)
    }

    fn describe(&self, chain: &[CertificateDer<'_>]) -> Description {
        let anchors = self.anchors();
        let known = Known {
            anchors: Some(&anchors),
            ..Known::default()
        };
        describe(chain, now(), &known).unwrap()
    }

    fn problems(&self, chain: &[CertificateDer<'_>]) -> Vec<ChainProblem> {
        self.describe(chain).problems
    }
}

/// authorityInfoAccess with a responder and a place of the issuer's certificate.
fn access() -> CustomExtension {
    fn described(method: u8, place: &str) -> Vec<u8> {
        let length = u8::try_from(place.len()).unwrap();
        let mut der = vec![0x30, 12 + length, 0x06, 8, 0x2b, 6, 1, 5, 5, 7, 48, method];
        der.extend([0x86, length]);
        der.extend(place.as_bytes());
        der
    }
    let both = [
        described(1, "http://ocsp.example/"),
        described(2, "http://ca.example/"),
    ]
    .concat();
    let mut der = vec![0x30, u8::try_from(both.len()).unwrap()];
    der.extend(both);
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], der)
}

#[test]
fn a_good_chain_has_no_problem_and_says_what_it_is() {
    let public = Public::new();
    let chain = [public.sign(&leaf()), public.between()];
    let described = public.describe(&chain);
    assert_eq!(described.problems, []);
    assert_eq!(described.names, ["example.com", "127.0.0.1"]);
    assert_eq!(described.subject, "CN=the leaf");
    assert_eq!(described.issuer, "CN=between");
    assert_eq!(described.key.to_string(), "ECDSA P-256");
    assert_eq!(described.signature, "ecdsa-with-SHA256");
    assert_eq!(described.days_left, 31);
    assert_eq!(described.anchored, Some(true));
    assert_eq!(described.responder, None);
    assert!(!described.must_staple && !described.public);
    assert_eq!(described.chain.len(), 1);
    let json = serde_json::to_value(&described).unwrap();
    assert_eq!(json["not_after"], "2026-08-01T00:00:00Z");
    assert_eq!(json["key"]["kind"], "ECDSA P-256");
    let text = described.to_string();
    assert!(text.starts_with("example.com, 127.0.0.1\n"), "{text}");
    assert!(text.contains("31 days left"), "{text}");
}

#[test]
fn what_its_issuer_asked_of_it_is_read() {
    let public = Public::new();
    let mut leaf = leaf();
    let feature = vec![0x30, 3, 2, 1, 5];
    let policy = vec![0x30, 10, 0x30, 8, 0x06, 6, 0x67, 0x81, 0x0c, 1, 2, 1];
    leaf.custom_extensions = vec![
        access(),
        CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 24], feature),
        CustomExtension::from_oid_content(&[2, 5, 29, 32], policy),
    ];
    let described = public.describe(&[public.sign(&leaf), public.between()]);
    assert_eq!(described.responder.as_deref(), Some("http://ocsp.example/"));
    assert!(described.must_staple);
    assert!(described.public);
}

#[test]
fn a_missing_intermediate_is_told_with_its_place() {
    let public = Public::new();
    let mut leaf = leaf();
    leaf.custom_extensions = vec![access()];
    let missing = ChainProblem::MissingIntermediate {
        issuer: "CN=between".to_owned(),
        at: Some("http://ca.example/".to_owned()),
    };
    let leaf = public.sign(&leaf);
    let told = public.problems(std::slice::from_ref(&leaf));
    assert_eq!(told, std::slice::from_ref(&missing));
    // Nor does it take trust in anybody to see that.
    let alone = describe(&[leaf], now(), &Known::default()).unwrap();
    assert_eq!(alone.problems, [missing]);
    assert_eq!(alone.anchored, None);
}

#[test]
fn a_private_authority_is_no_missing_intermediate() {
    let public = Public::new();
    let leaf = [public.sign(&leaf())];
    let unknown = ChainProblem::UnknownIssuer {
        issuer: "CN=between".to_owned(),
    };
    assert!(unknown.may_be_meant());
    assert_eq!(public.problems(&leaf), [unknown]);
    let alone = describe(&leaf, now(), &Known::default()).unwrap();
    assert_eq!(alone.problems, []);
}

#[test]
fn wrong_order_roots_duplicates_and_strangers_are_told() {
    let public = Public::new();
    let other = Public::new();
    let leaf = public.sign(&leaf());
    let root = ChainProblem::RootIncluded {
        position: 3,
        subject: "CN=root".to_owned(),
    };
    let chain = [leaf.clone(), public.between(), public.root()];
    assert_eq!(public.problems(&chain), [root]);
    let chain = [leaf.clone(), public.root(), public.between()];
    let problems = public.problems(&chain);
    assert!(problems.contains(&ChainProblem::WrongOrder), "{problems:?}");
    let chain = [leaf.clone(), public.between(), public.between()];
    let duplicate = ChainProblem::Duplicate {
        position: 3,
        subject: "CN=between".to_owned(),
    };
    assert_eq!(public.problems(&chain), [duplicate]);
    // The same name with another key: the one that signed is found, wherever it is.
    let chain = [leaf, other.between(), public.between()];
    let stranger = ChainProblem::Unrelated {
        position: 2,
        subject: "CN=between".to_owned(),
    };
    assert_eq!(public.problems(&chain), [stranger]);
}

#[test]
fn a_link_that_another_key_signed_is_told() {
    let (public, other) = (Public::new(), Public::new());
    let chain = [public.sign(&leaf()), other.between()];
    let bad = ChainProblem::BadSignature {
        position: 1,
        subject: "CN=the leaf".to_owned(),
    };
    assert!(public.problems(&chain).contains(&bad));
}

#[test]
fn dates_are_told_of_every_link() {
    let public = Public::new();
    let chain = [public.sign(&leaf()), public.between()];
    let later = now() + 40 * DAY;
    let described = describe(&chain, later, &Known::default()).unwrap();
    let positions: Vec<usize> = described
        .problems
        .iter()
        .map(|problem| match problem {
            ChainProblem::Expired { position, .. } => *position,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(positions, [1, 2]);
    assert_eq!(described.days_left, -10);
    let earlier = now() - 40 * DAY;
    let described = describe(&chain, earlier, &Known::default()).unwrap();
    assert!(matches!(
        described.problems[..],
        [
            ChainProblem::NotYetValid { position: 1, .. },
            ChainProblem::NotYetValid { position: 2, .. }
        ]
    ));
}

#[test]
fn the_last_day_is_day_0_and_the_one_after_it_is_negative() {
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    assert_eq!(days_between(at(0), at(86_400)), 1);
    assert_eq!(days_between(at(1), at(86_400)), 0);
    assert_eq!(days_between(at(86_401), at(86_400)), -1);
    assert_eq!(days_between(at(10 * 86_400), at(0)), -11);
}

#[test]
fn short_keys_and_broken_hashes_are_told() {
    let old = CertificateDer::from_pem_slice(OLD.as_bytes()).unwrap();
    let then = rcgen::date_time_ymd(2030, 1, 1).into();
    let described = describe(&[old], then, &Known::default()).unwrap();
    assert_eq!(described.key.to_string(), "RSA of 1024 bits");
    let subject = || "CN=old.example".to_owned();
    assert_eq!(
        described.problems,
        [
            ChainProblem::WeakKey {
                position: 1,
                subject: subject(),
                key: "RSA of 1024 bits".to_owned(),
            },
            ChainProblem::WeakSignature {
                position: 1,
                subject: subject(),
                algorithm: "sha1WithRSAEncryption".to_owned(),
            },
        ]
    );
}

#[test]
fn leaves_that_no_client_takes_are_told() {
    let public = Public::new();
    let mut leaf = leaf();
    leaf.subject_alt_names.clear();
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let chain = [public.sign(&leaf), public.between()];
    assert_eq!(
        public.problems(&chain),
        [ChainProblem::NoNames, ChainProblem::NotForServers]
    );
    let key = KeyPair::generate().unwrap();
    let own = leaf_signed_by_itself(&key);
    assert_eq!(public.problems(&[own]), [ChainProblem::SelfSigned]);
    // An intermediate that is no authority.
    let false_one = CertifiedIssuer::signed_by(parameters("false"), key, &public.root).unwrap();
    let key = KeyPair::generate().unwrap();
    let below = self::leaf().signed_by(&key, &false_one).unwrap();
    let problems = public.problems(&[below.der().clone(), false_one.der().clone()]);
    assert_eq!(
        problems,
        [ChainProblem::NoAuthority {
            position: 2,
            subject: "CN=false".to_owned()
        }]
    );
}

fn leaf_signed_by_itself(key: &KeyPair) -> CertificateDer<'static> {
    leaf().self_signed(key).unwrap().der().clone()
}

#[test]
fn garbage_is_an_error_at_the_leaf_and_a_problem_behind_it() {
    let public = Public::new();
    let garbage = CertificateDer::from(vec![0x30, 0x82, 1]);
    assert!(describe(std::slice::from_ref(&garbage), now(), &Known::default()).is_err());
    assert!(describe(&[], now(), &Known::default()).is_err());
    let chain = [public.sign(&leaf()), garbage, public.between()];
    let problems = public.problems(&chain);
    assert!(
        matches!(problems[..], [ChainProblem::Unreadable { position: 2, .. }]),
        "{problems:?}"
    );
    // Every shorter piece of a certificate is an error, never a panic.
    let leaf = public.sign(&self::leaf());
    for end in 0..leaf.len() {
        let piece = CertificateDer::from(&leaf[..end]);
        assert!(describe(&[piece], now(), &Known::default()).is_err());
    }
}

/// An authority of this name that says that another one issued it. Its signature is its own key's.
fn stranger(name: &str, issuer: &str) -> CertificateDer<'static> {
    let key = || KeyPair::generate().unwrap();
    let issuer = CertifiedIssuer::self_signed(authority(issuer), key()).unwrap();
    let signed = authority(name).signed_by(&key(), &issuer).unwrap();
    signed.der().clone()
}

#[test]
fn the_certificates_that_are_looked_at_are_bounded() {
    let public = Public::new();
    let mut chain = vec![public.sign(&leaf()), public.between()];
    chain.extend(std::iter::repeat_n(stranger("a", "b"), 998));
    let described = public.describe(&chain);
    assert_eq!(described.chain.len(), 15);
    let many = ChainProblem::TooMany {
        count: 1000,
        examined: 16,
    };
    assert!(described.problems.contains(&many));
    assert!(described.problems.len() <= 16, "{:?}", described.problems);
    assert_eq!(described.anchored, Some(true));
}

#[test]
fn the_signatures_that_are_checked_are_bounded() {
    // Each step could be the work of any of the others: as many signatures as their square.
    let mut chain = vec![stranger("the leaf", "a")];
    for _ in 0..7 {
        chain.extend([stranger("a", "b"), stranger("b", "a")]);
    }
    let described = describe(&chain, now(), &Known::default()).unwrap();
    assert!(described.problems.contains(&ChainProblem::Tangled));
    // Nothing is said against a signature that was not checked.
    let bad = |one: &&ChainProblem| matches!(one, ChainProblem::BadSignature { .. });
    let bad = described.problems.iter().filter(bad).count();
    assert!((1..7).contains(&bad), "{bad}");
    // Renewed keys of one name are none of it.
    let public = Public::new();
    let mut chain = vec![public.sign(&leaf())];
    chain.extend((0..8).map(|_| stranger("between", "root")));
    chain.push(public.between());
    let problems = public.problems(&chain);
    assert!(!problems.contains(&ChainProblem::Tangled), "{problems:?}");
    assert!(!problems.contains(&ChainProblem::BadSignature {
        position: 1,
        subject: "CN=the leaf".to_owned(),
    }));
}

#[test]
fn names_write_no_lines_of_their_own() {
    let mut leaf = leaf();
    let name = "x\n  trusted   yes\u{1b}[2J\u{9b}1m\u{7f}\u{202e}";
    leaf.distinguished_name.push(DnType::CommonName, name);
    let dns = "a.test\r\n  staple    good\u{1b}[2J";
    leaf.subject_alt_names = vec![rcgen::SanType::DnsName(dns.try_into().unwrap())];
    let issuer = CertifiedIssuer::self_signed(authority(name), KeyPair::generate().unwrap());
    let key = KeyPair::generate().unwrap();
    let signed = leaf.signed_by(&key, &issuer.unwrap()).unwrap();
    let described = describe(&[signed.der().clone()], now(), &Known::default()).unwrap();
    let shown = described.to_string();
    let obeyed = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
    assert!(!shown.contains(obeyed), "{shown:?}");
    let line = |line: &str| line.trim_start().starts_with(['t', 's']) && !line.contains("serial");
    assert_eq!(shown.lines().filter(|it| line(it)).count(), 0, "{shown}");
    assert!(shown.starts_with("a.test\\u{d}\\u{a}  staple"), "{shown}");
    // The lower controls are escaped already, as RFC 4514 §2.4 has it.
    assert!(described.issuer.contains("[2J\\u{9b}1m"), "{shown}");
    assert!(described.issuer.ends_with("\\u{202e}"), "{shown}");
}
