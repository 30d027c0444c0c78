//! The line between client and server, in place of a network simulator: `interop line`.
//!
//! It is the library's relay of datagrams, and writes down what passes on either side. It says `ready`
//! once it listens, and ends when it is told to or when its input ends.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cutwater::load::relay::{DatagramRelay, Direction};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};

use super::pcap::Writer;

/// Where the two sides are written to, in the directory of captures.
pub const SIDES: [&str; 2] = ["client.pcap", "server.pcap"];

/// What a line does.
#[derive(clap::Args, Debug, Clone)]
pub struct Line {
    /// Where clients send to.
    #[arg(long)]
    pub listen: SocketAddr,
    /// The server.
    #[arg(long)]
    pub to: SocketAddr,
    /// Where clients come from in the server's eyes; after each rebinding the next one.
    #[arg(long, value_delimiter = ',')]
    pub from: Vec<IpAddr>,
    /// The directory of captures.
    #[arg(long)]
    pub capture: PathBuf,
    /// The time of a datagram each way, in milliseconds.
    #[arg(long, default_value_t = 0)]
    pub delay: u64,
    /// The share of datagrams that is lost, each way.
    #[arg(long, default_value_t = 0.0)]
    pub loss: f64,
    /// The most that are lost in a row.
    #[arg(long, default_value_t = 3)]
    pub in_a_row: u32,
    /// Datagrams to the server that are lost for certain, the first being 1.
    #[arg(long, value_delimiter = ',')]
    pub lose: Vec<u64>,
    /// Clients get another port, or the next address, when so many datagrams went to them.
    #[arg(long, value_delimiter = ',')]
    pub rebind: Vec<u64>,
    /// Where chance begins.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Serves until it is told to end.
///
/// # Errors
/// The system's.
pub async fn serve(line: Line) -> io::Result<()> {
    let [client, server] = SIDES.map(|side| Writer::create(&line.capture.join(side)));
    let writers = Arc::new(Mutex::new([client?, server?]));
    let watching = Arc::clone(&writers);
    let mut from = line.from.iter().cycle();
    let mut relay = DatagramRelay::to(line.to)
        .listen(line.listen)
        .delay(Duration::from_millis(line.delay))
        .seed(line.seed)
        .lose(Direction::ToServer, &line.lose)
        .watch(move |seen| {
            let mut writers = watching.lock().unwrap_or_else(PoisonError::into_inner);
            let writer = &mut writers[usize::from(seen.at_server)];
            // A capture that lacks a packet fails its cell.
            let _ = writer.add(seen.from, seen.to, seen.ecn, seen.bytes);
        });
    if let Some(address) = from.next() {
        relay = relay.far(*address);
    }
    for direction in [Direction::ToServer, Direction::ToClient] {
        relay = relay
            .loss(direction, line.loss)
            .in_a_row(direction, line.in_a_row);
    }
    let relay = relay.bind().await?;
    println!("ready");
    let rebinding = async {
        for count in &line.rebind {
            relay.until(|passed| passed.to_client >= *count).await;
            match from.next() {
                Some(address) => relay.rebind_at(*address).await?,
                None => relay.rebind().await?,
            }
        }
        std::future::pending::<io::Result<()>>().await
    };
    let mut told = BufReader::new(stdin()).lines();
    tokio::select! {
        failed = rebinding => failed?,
        told = told.next_line() => drop(told?),
    }
    drop(relay);
    let mut writers = writers.lock().unwrap_or_else(PoisonError::into_inner);
    writers.iter_mut().try_for_each(Writer::flush)
}
