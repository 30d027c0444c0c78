//! The floor: the least that a TLS server made of rustls can cost.
//!
//! One thread, one epoll, a fixed answer, no routes, no deadlines, no metrics, no limits. What a
//! real server costs above it is the price of being one. With `--plain` it is the origin behind
//! proxies. It is a measure, not a server: nothing but a benchmark should ever reach it.

mod connection;
mod requests;
mod tls;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Parser;
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};
use rustls::ServerConfig;

use self::connection::{Connection, Next, Scratch};

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
}

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let config = match (&arguments.chain, &arguments.key) {
        (Some(chain), Some(key)) if !arguments.plain => Some(tls::config(chain, key)?),
        _ => None,
    };
    let listener = TcpListener::bind(arguments.listen)?;
    println!("{}", listener.local_addr()?);
    io::stdout().flush()?;
    serve(listener, config)
}

/// Serves until it is killed.
fn serve(mut listener: TcpListener, config: Option<Arc<ServerConfig>>) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let mut connections: Vec<Option<Connection>> = Vec::new();
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
                    let Ok(mut connection) = Connection::new(socket, config.clone()) else {
                        continue;
                    };
                    let slot = free.pop().unwrap_or_else(|| {
                        connections.push(None);
                        connections.len() - 1
                    });
                    connection.register(poll.registry(), Token(slot))?;
                    connections[slot] = Some(connection);
                }
                continue;
            }
            let slot = event.token().0;
            let Some(connection) = connections.get_mut(slot).and_then(Option::as_mut) else {
                continue;
            };
            if connection.turn(&mut scratch, poll.registry(), event.token()) == Next::Close {
                connections[slot] = None;
                free.push(slot);
            }
        }
    }
}
