//! Whatever a client sends: alerts and closed connections, never a panic, never a leak.

use cutwater::load::relay::Records;

use crate::early::scene::{GET, NAME, POST, Scene};
use crate::support::client::Client;

/// A small generator, so that every run sends the same.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }

    /// Breaks the bytes in one of the ways that bytes break.
    fn spoil(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut spoiled = bytes.to_vec();
        if bytes.is_empty() {
            return spoiled;
        }
        let records: Vec<_> = Records::of(bytes).collect();
        let record = records.get(self.below(records.len()));
        let (at, end) = record.map_or((0, bytes.len()), |r| (r.at, r.at + 5 + r.body.len()));
        match self.below(8) {
            0 => spoiled.truncate(self.below(bytes.len())),
            1 => spoiled[self.below(bytes.len())] ^= 1 << self.below(8),
            2 => drop(spoiled.drain(at..end)),
            3 => drop(spoiled.splice(at..at, bytes[at..end].iter().copied())),
            4 => spoiled[at] = [0, 20, 21, 22, 23, 24, 255][self.below(7)],
            // Its length, right or not.
            5 => spoiled[at + 3 + self.below(2)] = self.below(256) as u8,
            6 => drop(spoiled.splice(end..end, [23, 3, 3, 0, self.below(3) as u8])),
            _ => {
                let garbage: Vec<_> = (0..self.below(300))
                    .map(|_| self.below(256) as u8)
                    .collect();
                drop(spoiled.splice(end..end, garbage));
            }
        }
        spoiled
    }
}

#[tokio::test]
async fn spoiled_flights_and_finisheds_end_in_no_panic() {
    let scene = Scene::start().await;
    let mut dice = Dice(0x5eed_cafe_f00d_1234);
    for round in 0..150 {
        let early = [
            GET,
            POST,
            b"POST /wait HTTP/1.1\r\nhost: example.com\r\ncontent-length: 99\r\n\r\n",
        ];
        let data = early[round % early.len()];
        scene.ticket().await;
        let split = dice.below(2) == 0;
        let setup = if split {
            scene.setup.clone().fragment(27)
        } else {
            scene.setup.clone()
        };
        let mut client = Client::connect(scene.edge.address(), NAME, &setup).await;
        for part in data.chunks(if split { 27 } else { 16_384 }) {
            client.early(part);
        }
        client.hold_finished();
        let mut flight = client.take_pending();
        let spoil_flight = dice.below(2) == 0;
        if spoil_flight {
            flight = dice.spoil(&flight);
        }
        client.send_raw(&flight).await;
        if !spoil_flight && client.server_flight().await.is_ok() {
            client.queue(GET);
            let rest = client.take_pending();
            let rest = dice.spoil(&rest);
            client.send_raw(&rest).await;
        }
        client.shutdown_write().await;
        let address = client.local_address().to_string();
        if dice.below(2) == 0 {
            client.reset();
        } else {
            drop(client);
        }
        // One that sent nothing before RST was never accepted.
        if !flight.is_empty() {
            let line = scene
                .edge
                .until_connection(|line| line["client"] == address.as_str());
            line.await;
        }
        scene.no_panic();
    }
    let mut client = Client::open(scene.edge.address(), NAME, &scene.setup.clone().fresh()).await;
    client.send(GET).await;
    assert_eq!(client.response().await.text(), "hello");
}
