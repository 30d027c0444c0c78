//! Fixed answers that need nothing but to be sent.

use std::sync::Arc;

use http::{Method, StatusCode, Uri};

use crate::config::snapshot::{Route, Target};
use crate::connection::exchange::Exchange;
use crate::connection::local::local;
use crate::connection::service::{Answer, finish, is_bare, total_deadline};
use crate::connection::stage::Watch;
use crate::telemetry::access::AnswerEnd;

/// A route's fixed answer, of which nothing is made yet.
pub(super) struct Fixed {
    exchange: Box<Exchange>,
    route: Arc<Route>,
}

/// Whether the answer to such a request is the route's fixed one, just as it stands there.
pub(super) fn is_plain(route: &Route, method: &Method) -> bool {
    let Target::Respond(respond) = &route.target else {
        return false;
    };
    route.response_headers.is_none() && *method != Method::HEAD && !is_bare(respond.status)
}

impl Fixed {
    pub(super) fn new(exchange: Box<Exchange>, route: Arc<Route>) -> Self {
        Self { exchange, route }
    }

    /// The route that it is of.
    pub(super) fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// Its head leaves.
    pub(super) fn leave(&mut self, status: StatusCode) {
        self.exchange.answer(status.as_u16());
    }

    /// It cannot leave at once: what watches over it meanwhile.
    pub(super) fn watch(&mut self) -> Option<Watch> {
        self.exchange.watch(&self.route);
        total_deadline(&self.exchange, &self.route);
        self.exchange.shared.take_watch()
    }

    /// So much of its content is sent; whether that is all.
    pub(super) fn sent(mut self, content: u64, whole: bool) {
        self.exchange.bytes_out = content;
        if whole {
            self.exchange.end = AnswerEnd::Complete;
        }
    }

    /// As an answer like all others.
    pub(super) fn into_answer(self) -> Answer {
        let Self {
            mut exchange,
            route,
        } = self;
        exchange.watch(&route);
        let total = total_deadline(&exchange, &route);
        // A path matters to redirects alone.
        let response = local(&route, &Uri::default());
        Answer::Ready(response.map(|response| finish(exchange, response, &Method::GET, total)))
    }
}
