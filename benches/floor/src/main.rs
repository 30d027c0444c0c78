//! The floor: the least that a TLS server made of rustls can cost.
//!
//! One thread, one epoll, a fixed answer, no routes, no deadlines, no metrics, no limits. What a
//! real server costs above it is the price of being one. With `--plain` it is the origin behind
//! proxies, with `--origin` the least that a proxy can cost, with `--quic` the least that a server of
//! HTTP/3 made of quinn can. It is a measure, not a server: nothing but a benchmark should ever reach
//! it.

mod connection;
mod messages;
mod proxied;
mod quic;
mod requests;
mod tls;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Parser;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};
use rustls::ServerConfig;

use self::connection::{Connection, Next, Scratch};
use self::proxied::Proxied;

const LISTENER: Token = Token(usize::MAX);

/// A bare one-thread server with a fixed answer.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Where to listen; port 0 is any free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The certificate chain, PEM.
    #[arg(long, required_unless_present = "plain")]
    chain: Option<PathBuf>,
    /// Its private key, PEM.
    #[arg(long, required_unless_present = "plain")]
    key: Option<PathBuf>,
    /// Without TLS: an origin.
    #[arg(long)]
    plain: bool,
    /// Passes requests on to this origin instead of answering them.
    #[arg(long, conflicts_with = "plain")]
    origin: Option<SocketAddr>,
    /// HTTP/3 instead of HTTP/1.1.
    #[arg(long, conflicts_with_all = ["plain", "origin"])]
    quic: bool,
}

/// What is served on a connection.
enum Served {
    Here(Connection),
    Proxied(Proxied),
}

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let config = match (&arguments.chain, &arguments.key) {
        (Some(chain), Some(key)) if !arguments.plain => Some(tls::config(chain, key)?),
        _ => None,
    };
    if let (true, Some(config)) = (arguments.quic, &config) {
        return quic::serve(arguments.listen, config, tell);
    }
    let listener = TcpListener::bind(arguments.listen)?;
    tell(listener.local_addr()?)?;
    serve(listener, config, arguments.origin)
}

/// Says where it listens.
fn tell(address: SocketAddr) -> io::Result<()> {
    println!("{address}");
    io::stdout().flush()
}

/// Serves until it is killed.
fn serve(
    mut listener: TcpListener,
    config: Option<Arc<ServerConfig>>,
    origin: Option<SocketAddr>,
) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let mut connections: Vec<Option<Served>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut scratch = Scratch::default();
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    loop {
        if let Err(error) = poll.poll(&mut events, None) {
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            return Err(error);
        }
        for event in &events {
            if event.token() == LISTENER {
                // Edge triggered: until there is none, or none can be had.
                while let Ok((socket, _)) = listener.accept() {
                    let slot = free.pop().unwrap_or_else(|| {
                        connections.push(None);
                        connections.len() - 1
                    });
                    let tokens = (Token(2 * slot), Token(2 * slot + 1));
                    connections[slot] = begin(socket, &config, origin, poll.registry(), tokens);
                    if connections[slot].is_none() {
                        free.push(slot);
                    }
                }
                continue;
            }
            let slot = event.token().0 / 2;
            let of_origin = event.token().0 % 2 == 1;
            let next = match connections.get_mut(slot) {
                Some(Some(Served::Here(connection))) => {
                    connection.turn(&mut scratch, poll.registry(), event.token())
                }
                Some(Some(Served::Proxied(proxied))) => {
                    proxied.turn(&mut scratch, event, of_origin)
                }
                _ => continue,
            };
            if next == Next::Close {
                connections[slot] = None;
                free.push(slot);
            }
        }
    }
}

/// Begins with a connection; `None` if that fails. Its tokens are one for it and one for the origin's.
fn begin(
    socket: TcpStream,
    config: &Option<Arc<ServerConfig>>,
    origin: Option<SocketAddr>,
    registry: &Registry,
    tokens: (Token, Token),
) -> Option<Served> {
    if let (Some(origin), Some(config)) = (origin, config) {
        let mut proxied = Proxied::new(socket, Arc::clone(config), origin).ok()?;
        proxied.register(registry, tokens.0, tokens.1).ok()?;
        return Some(Served::Proxied(proxied));
    }
    let mut connection = Connection::new(socket, config.clone()).ok()?;
    connection.register(registry, tokens.0).ok()?;
    Some(Served::Here(connection))
}
