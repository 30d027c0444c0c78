//! Whether a route admits the client, by its address.

use std::net::IpAddr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};

use crate::admission::{Admission, NotAdmitted};
use crate::connection::plan::Refusal;
use crate::connection::shared::Shared;
use crate::telemetry::labels::DeniedBy;

/// Judges a request of a route that does not admit everybody.
///
/// # Errors
/// 403 or 429; 425 to an early request whose address is not proved, and 421 to one whose address has
/// changed since it was: the client's next connection proves it.
pub(super) fn admit(
    shared: &Shared,
    client: IpAddr,
    admission: &Admission,
    early: bool,
) -> Result<(), Refusal> {
    // EARLY-DATA R15: nothing is decided by an address that may be forged. The client sends the
    // request again after the handshake, which proves it.
    if early && !shared.address_is_proved() {
        return Err(StatusCode::TOO_EARLY.into());
    }
    if shared.has_moved() {
        return Err(Refusal::elsewhere(shared));
    }
    let denied = &shared.metrics().requests.denied;
    admission
        .admit(client, since_start)
        .map_err(|reason| match reason {
            NotAdmitted::Network => {
                denied.inc(DeniedBy::Network);
                StatusCode::FORBIDDEN.into()
            }
            NotAdmitted::TooOften { retry_after } => {
                denied.inc(DeniedBy::Rate);
                // RFC 9110 §10.2.3: whole seconds, and not too few.
                let seconds = retry_after.as_nanos().div_ceil(1_000_000_000).max(1);
                let seconds = u64::try_from(seconds).unwrap_or(u64::MAX);
                Refusal {
                    field: Some((RETRY_AFTER, HeaderValue::from(seconds))),
                    ..StatusCode::TOO_MANY_REQUESTS.into()
                }
            }
        })
}

/// The clock of all rates: of the process, since workers share the buckets.
fn since_start() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}
