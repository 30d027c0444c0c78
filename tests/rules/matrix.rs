//! EARLY-DATA R13, R14, R16, R18: every policy × early, marked, both, neither × the shapes of a
//! request × what answers, over real sockets.

use bytes::Bytes;
use cutwater::early::EarlyDataPolicy::{self, Allow, Refuse, Safe, Wait};
use http::Request;

use super::stage::{EARLY, POLICIES, Stage, View, asked};
use crate::support::client::Client;
use crate::support::h2::{H2, request};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Respond,
    Redirect,
    Early,
    Plain,
    Aware,
    Unaware,
}

const TARGETS: [Target; 6] = [
    Target::Respond,
    Target::Redirect,
    Target::Early,
    Target::Plain,
    Target::Aware,
    Target::Unaware,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Get,
    GetOfNothing,
    Head,
    Options,
    Post,
    GetWithBody,
    Override,
    Upgrade,
}

const SHAPES: [Shape; 8] = [
    Shape::Get,
    Shape::GetOfNothing,
    Shape::Head,
    Shape::Options,
    Shape::Post,
    Shape::GetWithBody,
    Shape::Override,
    Shape::Upgrade,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Now,
    Waits,
    TooEarly,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    policy: EarlyDataPolicy,
    target: Target,
    shape: Shape,
    early: bool,
    marked: bool,
}

fn cases(shapes: &[Shape], early: bool) -> Vec<Case> {
    let mut all = Vec::new();
    for policy in POLICIES {
        for target in TARGETS {
            for &shape in shapes {
                for marked in [false, true] {
                    all.push(Case {
                        policy,
                        target,
                        shape,
                        early,
                        marked,
                    });
                }
            }
        }
    }
    all
}

impl Case {
    /// What the rules say, read from their text and not from the gate.
    fn expected(self) -> Outcome {
        if !self.early && !self.marked {
            return Outcome::Now;
        }
        // R18: waiting never clears a mark.
        let held = if self.marked {
            Outcome::TooEarly
        } else {
            Outcome::Waits
        };
        let safe = matches!(
            self.shape,
            Shape::Get | Shape::GetOfNothing | Shape::Head | Shape::Options
        );
        match (self.policy, self.target) {
            // R13: Upgrade waits under every policy.
            _ if self.shape == Shape::Upgrade => held,
            (Refuse, _) => Outcome::TooEarly,
            (Wait, _) => held,
            // R14, R16.
            (_, Target::Plain | Target::Unaware) => held,
            (Safe, _) if !safe => held,
            // R18: nobody here can judge a mark.
            (Allow, Target::Respond | Target::Redirect) if self.marked && !safe => held,
            (Safe | Allow, _) => Outcome::Now,
        }
    }

    fn path(self) -> String {
        let Self {
            target,
            policy,
            shape,
            early,
            marked,
        } = self;
        let (target, policy) = (format!("{target:?}").to_lowercase(), policy.as_str());
        format!("/{target}/{policy}/{shape:?}-{early}-{marked}")
    }

    fn method(self) -> &'static str {
        match self.shape {
            Shape::Post => "POST",
            Shape::Options => "OPTIONS",
            Shape::Head => "HEAD",
            _ => "GET",
        }
    }

    fn fields(self) -> Vec<(&'static str, &'static str)> {
        let mut fields = match self.shape {
            Shape::GetOfNothing => vec![("content-length", "0")],
            Shape::Override => vec![("x-http-method-override", "DELETE")],
            Shape::Upgrade => vec![("connection", "upgrade"), ("upgrade", "websocket")],
            Shape::Post | Shape::GetWithBody => vec![("content-length", "4")],
            Shape::Get | Shape::Head | Shape::Options => Vec::new(),
        };
        if self.marked {
            fields.push(("early-data", "1"));
        }
        fields
    }

    fn body(self) -> &'static str {
        match self.shape {
            Shape::Post | Shape::GetWithBody => "body",
            _ => "",
        }
    }

    fn h1(self) -> String {
        let mut text = format!(
            "{} {} HTTP/1.1\r\nhost: {EARLY}\r\n",
            self.method(),
            self.path()
        );
        for (name, value) in self.fields() {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        text + self.body()
    }

    fn h2(self) -> Request<Bytes> {
        let uri = format!("https://{EARLY}{}", self.path());
        let mut request = request(self.method(), &uri, self.body());
        for (name, value) in self.fields() {
            request.headers_mut().append(name, value.parse().unwrap());
        }
        request
    }

    async fn answer(self, client: &mut Client) -> u16 {
        let to_head = self.shape == Shape::Head;
        client.try_response(to_head).await.unwrap().status
    }

    /// Whether the right one was asked, as often as it should, and told the right thing.
    fn verify(self, stage: &Stage, status: u16) {
        let outcome = self.expected();
        let right = match (outcome, self.target) {
            (Outcome::TooEarly, _) => 425,
            (_, Target::Redirect) => 308,
            (_, _) => 200,
        };
        assert_eq!(status, right, "{self:?}");
        let answered = usize::from(outcome != Outcome::TooEarly);
        let suspect = outcome == Outcome::Now && (self.early || self.marked);
        let path = self.path();
        let origin = match self.target {
            Target::Respond | Target::Redirect => return,
            Target::Early | Target::Plain => {
                let view = View {
                    path: path.clone(),
                    early: suspect,
                    marked: self.marked,
                };
                assert_eq!(stage.views(&path), vec![view; answered], "{self:?}");
                return;
            }
            Target::Aware => &stage.aware,
            Target::Unaware => &stage.unaware,
        };
        let asked = asked(origin, &path);
        assert_eq!(asked.len(), answered, "{self:?}");
        for asked in asked {
            let told: &[&str] = if suspect { &["1"] } else { &[] };
            assert_eq!(asked.fields("early-data"), told, "{self:?}");
        }
    }
}

#[tokio::test]
async fn early_requests_over_http1_fare_as_their_route_says() {
    let stage = Stage::start().await;
    let setup = stage.returning(&["http/1.1"]).await;
    for case in cases(&SHAPES, true) {
        let delayed = stage.metrics().early.delayed.get();
        let mut client = stage.early(&setup, &case.h1()).await;
        let mut status = None;
        if case.expected() == Outcome::Waits {
            stage
                .until("a held request", |metrics| {
                    metrics.early.delayed.get() == delayed + 1
                })
                .await;
            assert_eq!(client.take_plain(), b"", "{case:?}");
        } else {
            status = Some(case.answer(&mut client).await);
        }
        client.finish().await;
        let status = match status {
            Some(status) => status,
            None => case.answer(&mut client).await,
        };
        case.verify(&stage, status);
        let ticket = |_: &mut Client| (setup.tickets().left(EARLY) > 0).then_some(());
        client.until("the next ticket", ticket).await.unwrap();
    }
}

#[tokio::test]
async fn confirmed_requests_over_http1_fare_as_their_marks_say() {
    let stage = Stage::start().await;
    let setup = stage.returning(&["http/1.1"]).await.early_data(false);
    for case in cases(&SHAPES, false) {
        let mut client = Client::open(stage.address, EARLY, &setup).await;
        client.send(case.h1().as_bytes()).await;
        let status = case.answer(&mut client).await;
        case.verify(&stage, status);
    }
    assert_eq!(stage.metrics().early.delayed.get(), 0);
}

/// HTTP/2 knows no Upgrade.
const H2_SHAPES: [Shape; 4] = [
    Shape::Head,
    Shape::Post,
    Shape::GetWithBody,
    Shape::Override,
];

#[tokio::test]
async fn early_requests_over_http2_fare_as_their_route_says() {
    let stage = Stage::start().await;
    let setup = stage.returning(&["h2"]).await;
    for marked in [false, true] {
        let mut cases = cases(&H2_SHAPES, true);
        cases.retain(|case| case.marked == marked);
        let (held, at_once): (Vec<_>, Vec<_>) = cases
            .into_iter()
            .partition(|case| case.expected() == Outcome::Waits);
        let delayed = stage.metrics().early.delayed.get();
        let mut client = Client::connect(stage.address, EARLY, &setup).await;
        client.hold_finished();
        let requests = at_once.iter().chain(&held).map(|case| case.h2());
        let mut h2 = H2::start_early(client, requests.collect()).await;
        for case in at_once {
            let answer = h2.next().await.unwrap();
            case.verify(&stage, answer.status.as_u16());
        }
        stage
            .until("held requests", |metrics| {
                metrics.early.delayed.get() == delayed + held.len() as u64
            })
            .await;
        h2.finish();
        for case in held {
            let answer = h2.next().await.unwrap();
            case.verify(&stage, answer.status.as_u16());
        }
        h2.close().await;
    }
}

#[tokio::test]
async fn confirmed_requests_over_http2_fare_as_their_marks_say() {
    let stage = Stage::start().await;
    let setup = stage.pki.client().alpn(&["h2"]);
    let client = Client::open(stage.address, EARLY, &setup).await;
    let mut h2 = H2::start(client).await;
    for case in cases(&H2_SHAPES, false) {
        let answer = h2.fetch(case.h2()).await.unwrap();
        case.verify(&stage, answer.status.as_u16());
    }
}
