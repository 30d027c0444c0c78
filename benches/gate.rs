//! What every request pays before anything answers it: its route, and the gate.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use cutwater::config::snapshot::{
    FixedResponse, PathMatch, Route, RouteLimits, RouteTimeouts, Target,
};
use cutwater::early::EarlyDataPolicy;
use cutwater::gate::{GateInput, TargetKind, decide, is_safe, is_upgrade_or_connect};
use cutwater::route::Routes;
use http::{HeaderMap, Method, Request, StatusCode};

fn gate(c: &mut Criterion) {
    let mut group = c.benchmark_group("gate");
    let (parts, ()) = Request::get("/api/items?page=2")
        .header("host", "www.example.com")
        .header("user-agent", "Mozilla/5.0 (X11; Linux x86_64)")
        .header("accept", "text/html,application/xhtml+xml,*/*;q=0.8")
        .header("accept-language", "en-GB,en;q=0.5")
        .header("accept-encoding", "gzip, deflate, br")
        .header("cookie", "session=0123456789abcdef")
        .header("x-request-id", "7d4c1f")
        .body(())
        .expect("a request")
        .into_parts();
    for (name, early) in [("confirmed", false), ("early", true)] {
        group.bench_function(name, |b| {
            b.iter(|| {
                let parts = black_box(&parts);
                decide(GateInput {
                    policy: EarlyDataPolicy::Safe,
                    early,
                    marked: false,
                    safe: early && is_safe(parts, true),
                    upgrade_or_connect: is_upgrade_or_connect(parts),
                    target: TargetKind::Origin { aware: true },
                })
            });
        });
    }
    group.finish();
}

/// A prefix of its own for each route, and one for all the rest.
fn table(count: usize) -> Routes {
    let prefixes = (1..count).map(|i| format!("/service{i}/v1"));
    Routes::new(prefixes.chain(["/".to_owned()]).map(|prefix| {
        Arc::new(Route {
            name: prefix.as_str().into(),
            host: None,
            path: PathMatch::Prefix(prefix),
            methods: Vec::new(),
            early_data: EarlyDataPolicy::default(),
            target: Target::Respond(FixedResponse {
                status: StatusCode::OK,
                headers: HeaderMap::new(),
                body: Bytes::new(),
            }),
            admission: None,
            prefix_rewrite: None,
            request_headers: None,
            response_headers: None,
            timeouts: RouteTimeouts::default(),
            limits: RouteLimits::default(),
        })
    }))
}

fn route(c: &mut Criterion) {
    let mut group = c.benchmark_group("route");
    for count in [1, 10, 100] {
        let routes = table(count);
        let last = format!("/service{}/v1/items/7", count - 1);
        for (kind, path) in [("last", last.as_str()), ("rest", "/index.html")] {
            group.bench_with_input(BenchmarkId::new(kind, count), path, |b, path| {
                b.iter(|| {
                    routes
                        .find(Some("www.example.com"), black_box(path), &Method::GET)
                        .is_ok()
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, gate, route);
criterion_main!(benches);
