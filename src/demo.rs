//! `cutwater demo`: an edge with three sites, an origin and a client, with nothing to set up.
//!
//! It drives a full, a resumed and a 0-RTT request through a line with 50 ms each way, over TCP and
//! over QUIC, sends the recorded 0-RTT flight again, and holds an early POST until Finished. Every
//! step is checked.
//! It uses the library as a program of somebody else would.

/// Prints a line. A reader that went away wants no more, and the demo still ends properly.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

mod authority;
mod http3;
mod origin;
mod steps;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use self::authority::{Authority, Scratch};
use self::origin::Origin;
use self::steps::Steps;
use crate::config::spec::ListenSpec;
use crate::early::EarlyDataPolicy;
use crate::edge::{self, Edge, Site};
use crate::forwarded::Fields;

/// Early data, and a route that lets safe requests through at once.
const SHOP: &str = "shop.demo.test";
/// Early data, and a route that holds every request.
const PAY: &str = "pay.demo.test";
/// No early data.
const STATIC: &str = "static.demo.test";

/// Runs the demo. With `once` it ends after its steps; otherwise it stays up until SIGINT or
/// SIGTERM. The exit code is 1 if anything was not as it should be.
pub fn demo(once: bool) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(run(once)),
        Err(error) => Err(error),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The whole demo; whether everything was as it should be.
async fn run(once: bool) -> io::Result<bool> {
    // Before anything is shown, so that whoever waits for the text can end us.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let authority = Authority::new()?;
    let scratch = Scratch::new()?;
    let ca = scratch.write("ca.pem", &authority.pem())?;
    let origin = Origin::start().await?;
    let edge = build(&authority, &origin).map_err(io::Error::other)?;
    let address = *edge
        .addresses()
        .first()
        .ok_or_else(|| io::Error::other("the edge has no address"))?;
    introduce(address, origin.address);

    let steps = Steps::new(address, &origin, &authority, edge.handle())?;
    let right = tokio::select! {
        right = steps.drive() => right?,
        _ = interrupt.recv() => false,
        _ = terminate.recv() => false,
    };
    if !once && right {
        invite(address, &ca, &scratch)?;
    }
    let stay = async {
        if !once && right {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
    };
    edge.run(stay).await?;
    Ok(right)
}

/// The edge: what a user of the library would write.
fn build(authority: &Authority, origin: &Origin) -> Result<Edge, edge::EdgeError> {
    let site = |name: &str| -> Result<Site, edge::EdgeError> {
        let identity = authority.identity(name)?;
        Ok(Site::new(name).certificate(identity.chain.as_bytes(), identity.key.as_bytes()))
    };
    let mut listener = ListenSpec::new((Ipv4Addr::LOCALHOST, 0).into());
    // HTTP/3 on the UDP port with the same number.
    listener.quic = true.into();
    // Told no address, it may have early requests over QUIC too, where none is proved yet.
    let to_origin = edge::Origin::new(origin.address)
        .early_data_aware(true)
        .forwarded(Fields::Off);
    Edge::builder()
        .listener(listener)
        .site(
            site(SHOP)?
                .early_data(true)
                .early_data_policy(EarlyDataPolicy::Safe)
                .origin("/", to_origin.clone()),
        )
        .site(site(PAY)?.early_data(true).origin("/", to_origin.clone()))
        .site(site(STATIC)?.origin("/", to_origin))
        .build()
}

fn introduce(edge: SocketAddr, origin: SocketAddr) {
    say!(
        "\
Cutwater demo: an edge, three sites, an origin and a client, all on this machine.

  edge     https://{edge}     HTTP/1.1 and 2 over TCP, HTTP/3 over QUIC
  origin   http://{origin}     understands Early-Data and 425 Too Early (RFC 8470)
  line     50 ms each way between client and edge: a round trip takes 100 ms

  site               early data   policy   a request that comes before the handshake's end
  {SHOP:<18} on           safe     goes on at once if it is a GET, HEAD or OPTIONS
  {PAY:<18} on           wait     is held until the client's Finished
  {STATIC:<18} off          -        cannot come: tickets take no early data
"
    );
}

/// Says what can be tried by hand.
fn invite(edge: SocketAddr, ca: &Path, scratch: &Scratch) -> io::Result<()> {
    let request = format!("GET / HTTP/1.1\r\nHost: {SHOP}\r\nConnection: close\r\n\r\n");
    let request = scratch.write("request", &request)?;
    let session = scratch.path("session");
    let (ca, request, session) = (ca.display(), request.display(), session.display());
    let port = edge.port();
    let openssl =
        format!("openssl s_client -connect {edge} -servername {SHOP} -CAfile {ca} -ign_eof -quiet");
    say!(
        "
Try it; the authority's certificate is in
  {ca}

  curl --cacert {ca} --resolve '*:{port}:{ip}' https://{SHOP}:{port}/

A request that leaves a ticket; one in early data with that ticket; the same ticket once more,
whose early data is refused, so that only the copy sent after the handshake is answered:

  {openssl} -sess_out {session} < {request}
  {openssl} -sess_in {session} -early_data {request} < /dev/null
  {openssl} -sess_in {session} -early_data {request} < {request}

Ctrl-C ends.",
        ip = edge.ip(),
    );
    Ok(())
}
