//! Content that an origin does not take: it stays with its client.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use quinn::SendStream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Semaphore, mpsc};

use crate::quic::client::endpoint;
use crate::quic::limits::{POST, connect, head, hello, pause};
use crate::quic::scene::{Scene, Wants, route_to};
use crate::support::within;

/// What the edge grants on one stream and on all of a connection.
const STREAM: u64 = 256 * 1024;
const CONNECTION: u64 = 1024 * 1024;

/// What the edge has read of a stream and not written yet: one piece.
const PIECE: u64 = 64 * 1024;

/// More than those windows and any buffer of the kernel's take.
const LENGTH: usize = 24 * 1024 * 1024;

/// An origin that reads the head of each request, and its content once it may.
struct Stalled {
    address: SocketAddr,
    may: Arc<Semaphore>,
    /// What came, of each request.
    contents: mpsc::Receiver<Vec<u8>>,
}

impl Stalled {
    fn start() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        // Connections inherit it: little stays in the kernel.
        socket.set_recv_buffer_size(32 * 1024).unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let listener = socket.listen(16).unwrap();
        let address = listener.local_addr().unwrap();
        let may = Arc::new(Semaphore::new(0));
        let (tell, contents) = mpsc::channel(8);
        let allowed = Arc::clone(&may);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (may, tell) = (Arc::clone(&allowed), tell.clone());
                tokio::spawn(async move {
                    // The test may be over.
                    let _ = tell.send(take(stream, &may).await).await;
                });
            }
        });
        Self {
            address,
            may,
            contents,
        }
    }

    /// What the kernel holds of what the edge has sent: not acknowledged by the origin's side, or not
    /// read there.
    fn held(&self) -> u64 {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let port = format!("0100007F:{:04X}", self.address.port());
        let lines = table.lines().map(|line| line.split_whitespace().collect());
        lines
            .filter(|fields: &Vec<&str>| {
                // Connections, from either side: not the listener.
                fields[3] == "01" && (fields[1] == port || fields[2] == port)
            })
            .map(|fields| {
                let (sent, came) = fields[4].split_once(':').unwrap();
                let number = |hex| u64::from_str_radix(hex, 16).unwrap();
                number(sent) + number(came)
            })
            .sum()
    }
}

/// Reads a head at once, and its content of [`LENGTH`] once it may; answers.
async fn take(mut stream: TcpStream, may: &Semaphore) -> Vec<u8> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let _permit = may.acquire().await.unwrap();
    let mut content = vec![0; LENGTH];
    let mut read = 0;
    while read < LENGTH {
        match stream.read(&mut content[read..]).await {
            Ok(more) if more > 0 => read += more,
            _ => break,
        }
    }
    content.truncate(read);
    let _ = stream
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\ntaken")
        .await;
    content
}

async fn before(origin: &Stalled) -> Scene {
    let url = format!("http://{}", origin.address);
    Scene::with(Wants {
        routes: &route_to("/up", &url, ""),
        ..Wants::default()
    })
    .await
}

/// A head with `content-length` (4 in the static table), and that of a DATA frame.
fn upload() -> Vec<u8> {
    let length = LENGTH.to_string();
    let field = [&[0x54, length.len() as u8], length.as_bytes()].concat();
    let frame = [
        vec![0],
        (0x8000_0000 | LENGTH as u32).to_be_bytes().to_vec(),
    ]
    .concat();
    [head(POST, "/up", &field), frame].concat()
}

/// Sends until nothing has been taken for a while; how much was.
async fn until_stalled(send: &mut SendStream, content: &[u8]) -> usize {
    let mut sent = 0;
    while sent < content.len() {
        tokio::select! {
            // It can be dropped: it has taken nothing then.
            more = send.write(&content[sent..]) => sent += more.unwrap(),
            // That it takes nothing is what is tested.
            () = pause(std::time::Duration::from_millis(700)) => break,
        }
    }
    sent
}

fn noise() -> Vec<u8> {
    (0..LENGTH).map(|at| (at * 7 + at / 251) as u8).collect()
}

#[tokio::test]
async fn an_origin_that_stops_reading_stops_its_client_and_nobody_else() {
    let mut origin = Stalled::start();
    let scene = before(&origin).await;
    let endpoint = endpoint(&scene.setup);
    let quic = connect(&endpoint, &scene).await;
    let (mut send, mut recv) = quic.open_bi().await.unwrap();
    send.write_all(&upload()).await.unwrap();
    let content = noise();
    let sent = until_stalled(&mut send, &content).await;
    let held = origin.held();
    assert!(held > 0, "the origin's socket is not found");
    let own = (sent as u64).saturating_sub(held);
    assert!(own <= STREAM + PIECE, "{sent} sent, {held} in the kernel");
    // Another request does not wait for it.
    hello(&quic).await;

    // Nothing of it is lost.
    origin.may.add_permits(1);
    send.write_all(&content[sent..]).await.unwrap();
    send.finish().unwrap();
    let taken = within("the content", origin.contents.recv()).await.unwrap();
    assert!(taken == content, "{} bytes", taken.len());
    let answer = within("an answer", recv.read_to_end(1000)).await.unwrap();
    assert!(answer.ends_with(b"taken"));
    quic.close(0x100u32.into(), b"");
    endpoint.wait_idle().await;
    scene.settle().await;
}

#[tokio::test]
async fn all_uploads_of_a_connection_have_one_window() {
    const COUNT: u64 = 6;
    let origin = Stalled::start();
    let scene = before(&origin).await;
    let endpoint = endpoint(&scene.setup);
    let quic = connect(&endpoint, &scene).await;
    let content = vec![7; LENGTH];
    let mut sent = 0;
    let mut streams = Vec::new();
    for _ in 0..COUNT {
        let (mut send, recv) = quic.open_bi().await.unwrap();
        // Where the window is full already, not even this is taken.
        let head = upload();
        let begun = until_stalled(&mut send, &head).await;
        sent += begun as u64;
        if begun == head.len() {
            sent += until_stalled(&mut send, &content).await as u64;
        }
        streams.push((send, recv));
    }
    let held = origin.held();
    let own = sent.saturating_sub(held);
    let most = CONNECTION + COUNT * PIECE;
    assert!(own <= most, "{sent} sent, {held} in the kernel");
    // Not for want of asking: that of one stream is less.
    assert!(own > 3 * STREAM, "{sent} sent, {held} in the kernel");
    quic.close(0x100u32.into(), b"");
    endpoint.wait_idle().await;
    scene.settle().await;
}
