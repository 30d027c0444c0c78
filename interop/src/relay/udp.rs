//! The relay for UDP, as lines of JSON ask for it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use cutwater::load::relay::{DatagramRelay, Datagrams, Direction};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout};

use super::{Held, Plan, REPLAY, Reply};

/// The largest datagram there is, in bytes.
const LARGEST: usize = 65_535;

/// Opens one.
///
/// # Errors
/// It cannot be opened, or is asked for what it does not do.
pub(super) async fn open(plan: &Plan, address: IpAddr) -> Result<DatagramRelay, String> {
    if plan.keep || plan.fin_after.is_some() {
        return Err("a relay for UDP does not do that".into());
    }
    let builder = DatagramRelay::to(plan.target)
        .listen((address, 0).into())
        .delay(Duration::from_millis(plan.delay_ms))
        .record(plan.record);
    let builder = match plan.withhold {
        Held::Nothing => builder,
        Held::Finished => builder.withhold_finished(),
        Held::Connection => builder.hold(Direction::ToServer),
    };
    builder.bind().await.map_err(|error| error.to_string())
}

/// Datagrams to the server, bytes of answers to the client, datagrams withheld.
pub(super) fn passed(all: &Datagrams) -> [u64; 3] {
    [all.to_server, all.one_rtt_to_client, all.held]
}

/// Sends a recorded flight again, each time from a new port.
///
/// # Errors
/// There is none, or it cannot be sent.
pub(super) async fn replay(
    relay: &DatagramRelay,
    flight: usize,
    to: SocketAddr,
    times: u32,
) -> Result<Reply, String> {
    let flights = relay.flights();
    let flight = flights.get(flight).ok_or("no such flight")?;
    let mut reply = Reply {
        flight: flight.iter().map(Vec::len).sum(),
        ..Reply::default()
    };
    for _ in 0..times {
        let answer = send(flight, to).await;
        let answer = answer.map_err(|error| format!("cannot replay to {to}: {error}"))?;
        reply.answers.push(answer);
    }
    Ok(reply)
}

/// Sends it; how many bytes came back, and how the waiting for more ended.
async fn send(flight: &[Vec<u8>], to: SocketAddr) -> std::io::Result<(usize, String)> {
    let any: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(to).await?;
    for datagram in flight {
        socket.send(datagram).await?;
    }
    let limit = Instant::now() + REPLAY.0;
    let (mut buffer, mut bytes) = (vec![0; LARGEST], 0);
    while let Ok(received) = timeout(REPLAY.1, socket.recv(&mut buffer)).await {
        bytes += received?;
        if Instant::now() >= limit {
            return Ok((bytes, "limit".into()));
        }
    }
    Ok((bytes, "quiet".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(target: SocketAddr) -> Plan {
        Plan {
            udp: true,
            ..Plan::to(target)
        }
    }

    #[tokio::test]
    async fn a_flight_is_held_recorded_and_sent_again() {
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let to = server.local_addr().unwrap();
        let plan = Plan {
            record: true,
            withhold: Held::Connection,
            ..plan(to)
        };
        let relay = open(&plan, Ipv4Addr::LOCALHOST.into()).await.unwrap();
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        for part in ["a", "flight"] {
            let sent = client.send_to(part.as_bytes(), relay.address()).await;
            sent.unwrap();
        }
        let held = relay.until(|all| passed(all) == [0, 0, 2]);
        timeout(Duration::from_secs(10), held).await.unwrap();

        relay.release(Direction::ToServer);
        let mut got = Vec::new();
        let mut buffer = [0; 16];
        for _ in 0..2 {
            let length = server.recv(&mut buffer).await.unwrap();
            got.push(buffer[..length].to_vec());
        }
        let answering = async {
            for wanted in &got {
                let (length, from) = server.recv_from(&mut buffer).await.unwrap();
                assert_eq!(buffer[..length], wanted[..]);
                server.send_to(b"answer", from).await.unwrap();
            }
        };
        let (reply, ()) = tokio::join!(replay(&relay, 0, to, 1), answering);
        let reply = reply.unwrap();
        assert_eq!(reply.flight, 7);
        assert_eq!(reply.answers, [(12, "quiet".to_owned())]);
        assert!(replay(&relay, 1, to, 1).await.is_err());
    }

    #[tokio::test]
    async fn what_it_cannot_do_is_an_error() {
        let plan = Plan {
            fin_after: Some(1),
            ..plan((Ipv4Addr::LOCALHOST, 1).into())
        };
        let opened = open(&plan, Ipv4Addr::LOCALHOST.into()).await;
        assert!(opened.unwrap_err().contains("does not do that"));
    }
}
