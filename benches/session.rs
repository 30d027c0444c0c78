//! The single-use store under one thread and under sixteen, from a thousand to a million sessions.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use cutwater::tags::Tag;
use cutwater::tls::session::{Id, Session, Store, Tags, Use};

/// About what rustls stores for a session without a client certificate.
const VALUE: [u8; 112] = [7; 112];

fn id(n: u64) -> Id {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&n.to_be_bytes());
    id
}

fn filled(entries: u64, tags: Tags) -> Store {
    // Room to spare: dropping the oldest is measured on its own.
    let store = Store::new(entries as usize * 2 + 1024);
    for n in 0..entries {
        store.put(&id(n), Session::new(VALUE.to_vec(), tags, 0), 0);
    }
    store
}

/// Puts and takes `count` sessions per thread, beside those that the store holds.
fn put_and_take(store: &Store, tags: &Tags, threads: u64, count: u64) -> Duration {
    let start = Barrier::new(threads as usize + 1);
    thread::scope(|scope| {
        let start = &start;
        let running: Vec<_> = (1..=threads)
            .map(|thread| {
                scope.spawn(move || {
                    start.wait();
                    for n in 0..count {
                        let id = id((thread << 40) | n);
                        store.put(&id, Session::new(VALUE.to_vec(), *tags, 0), 0);
                        assert!(store.take(&id, tags, Use::EarlyData, 0).is_ok());
                    }
                })
            })
            .collect();
        start.wait();
        let began = Instant::now();
        for thread in running {
            thread.join().expect("a session that was put is there");
        }
        began.elapsed()
    })
}

fn store(criterion: &mut Criterion) {
    let tags = Tags::new(&Tag::of(&[b"trust"]), &Tag::of(&[b"early"]));
    let mut group = criterion.benchmark_group("session_store");
    for entries in [1_000, 10_000, 100_000, 1_000_000] {
        let store = filled(entries, tags);
        for threads in [1, 16] {
            // One element is one session put and taken, by whichever thread.
            group.throughput(Throughput::Elements(threads));
            let name = BenchmarkId::new(format!("put_take_{threads}_threads"), entries);
            group.bench_function(name, |bencher| {
                bencher.iter_custom(|count| put_and_take(&store, &tags, threads, count));
            });
        }
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("classify", entries), |bencher| {
            let mut n = 0;
            bencher.iter(|| {
                n = (n + 7919) % entries;
                store.classify(&id(n), &tags, 0)
            });
        });
        group.bench_function(BenchmarkId::new("miss", entries), |bencher| {
            let unknown = id(u64::MAX);
            bencher.iter(|| store.take(&unknown, &tags, Use::EarlyData, 0).is_err());
        });
    }
    let full = Store::new(100_000);
    let mut n = 0;
    group.bench_function("put_into_a_full_store", |bencher| {
        bencher.iter(|| {
            n += 1;
            full.put(&id(n), Session::new(VALUE.to_vec(), tags, 0), 0)
        });
    });
    group.finish();
}

criterion_group!(benches, store);
criterion_main!(benches);
