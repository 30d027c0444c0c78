//! Finding the site of a server name: two look-ups at most, whatever the number of names.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use cutwater::config::names::{NameIndex, SiteName, normalise_host};
use cutwater::tls::select::select;

/// `count` names, every tenth of them a wildcard.
fn index(count: usize) -> NameIndex<usize> {
    let mut index = NameIndex::with_capacity(count);
    for i in 0..count {
        let star = if i % 10 == 9 { "*." } else { "" };
        let name = SiteName::parse(&format!("{star}site{i}.example.com")).expect("a name");
        index.insert(name, i).expect("a new name");
    }
    index
}

fn selection(c: &mut Criterion) {
    for count in [1, 10_000, 1_000_000] {
        let names = index(count);
        let exact = format!("site{}.example.com", count / 2 / 10 * 10);
        let wildcard = format!("www.site{}.example.com", count / 2 / 10 * 10 + 9);
        let mut group = c.benchmark_group(format!("select/{count}"));
        for (kind, host) in [
            ("exact", exact.as_str()),
            ("wildcard", wildcard.as_str()),
            ("unknown", "unknown.example.org"),
        ] {
            group.bench_function(kind, |b| {
                b.iter(|| select(black_box(Some(host)), &names, Some(&0)).is_ok());
            });
        }
        group.finish();
    }
    c.bench_function("normalise_host", |b| {
        b.iter(|| normalise_host(black_box("www.example.com")).is_some());
    });
}

criterion_group!(benches, selection);
criterion_main!(benches);
