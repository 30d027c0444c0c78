use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::telemetry::Metrics;

struct Running {
    address: AdminAddress,
    readiness: Arc<Readiness>,
    metrics: Metrics,
    shutdown: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

async fn start(address: &str) -> Running {
    let admin = Admin::bind(address).await.unwrap();
    let address = admin.address().clone();
    let registry = Registry::new();
    let metrics = Metrics::new(&registry).unwrap();
    let readiness = Arc::new(Readiness::new());
    let (shutdown, ended) = oneshot::channel();
    let run = admin.run(registry, Arc::clone(&readiness), async {
        let _ = ended.await;
    });
    Running {
        address,
        readiness,
        metrics,
        shutdown,
        task: tokio::spawn(run),
    }
}

impl Running {
    async fn ask(&self, request: &str) -> String {
        match &self.address {
            AdminAddress::Tcp(address) => {
                exchange(TcpStream::connect(address).await.unwrap(), request).await
            }
            AdminAddress::Unix(path) => {
                exchange(UnixStream::connect(path).await.unwrap(), request).await
            }
        }
    }

    async fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n"))
            .await
    }

    async fn stop(self) {
        self.shutdown.send(()).unwrap();
        self.task.await.unwrap();
    }
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

#[tokio::test]
async fn metrics_are_served_as_text() {
    let admin = start("127.0.0.1:0").await;
    admin.metrics.connections.accepted.inc_by(7);
    let answer = admin.get("/metrics").await;
    assert_eq!(status(&answer), "200");
    assert!(answer.contains("content-type: text/plain; version=0.0.4"));
    assert!(answer.contains("\ncutwater_connections_accepted_total 7\n"));
    assert!(answer.ends_with('\n'));
    admin.stop().await;
}

#[tokio::test]
async fn readyz_follows_readiness_and_healthz_does_not() {
    let admin = start("127.0.0.1:0").await;
    assert_eq!(status(&admin.get("/readyz").await), "503");
    assert_eq!(status(&admin.get("/healthz").await), "200");
    admin.readiness.set_ready();
    assert!(admin.readiness.is_ready());
    assert_eq!(status(&admin.get("/readyz").await), "200");
    admin.readiness.set_draining();
    admin.readiness.set_ready();
    let answer = admin.get("/readyz").await;
    assert_eq!(status(&answer), "503");
    assert!(answer.ends_with("draining\n"), "{answer}");
    assert_eq!(status(&admin.get("/healthz").await), "200");
    admin.stop().await;
}

#[tokio::test]
async fn other_paths_are_404_and_other_methods_405() {
    let admin = start("127.0.0.1:0").await;
    assert_eq!(status(&admin.get("/").await), "404");
    assert_eq!(status(&admin.get("/metrics/").await), "404");
    let post = "POST /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";
    let answer = admin.ask(post).await;
    assert_eq!(status(&answer), "405");
    assert!(answer.contains("allow: GET, HEAD\r\n"), "{answer}");
    admin.stop().await;
}

#[tokio::test]
async fn head_has_the_length_and_no_content() {
    let admin = start("127.0.0.1:0").await;
    let answer = admin.ask("HEAD /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(status(&answer), "200");
    assert!(answer.contains("content-length: 3\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    admin.stop().await;
}

#[tokio::test]
async fn garbage_is_answered_and_ends_nothing() {
    let admin = start("127.0.0.1:0").await;
    assert_eq!(
        status(&admin.ask("\x16\x03\x01 garbage\r\n\r\n").await),
        "400"
    );
    assert_eq!(status(&admin.get("/healthz").await), "200");
    admin.stop().await;
}

#[tokio::test]
async fn a_full_house_makes_the_next_connection_wait_not_fail() {
    let admin = start("127.0.0.1:0").await;
    let AdminAddress::Tcp(address) = admin.address else {
        panic!("not TCP");
    };
    let mut silent = Vec::new();
    for _ in 0..CONNECTIONS {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    {
        let mut ask = std::pin::pin!(admin.get("/healthz"));
        let early = tokio::time::timeout(Duration::from_millis(50), &mut ask).await;
        assert!(early.is_err(), "served past the bound: {early:?}");
        silent.clear();
        assert_eq!(status(&ask.await), "200");
    }
    admin.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_no_head_is_closed() {
    let (mut client, server) = tokio::io::duplex(1_024);
    let served = tokio::spawn(serve(server, Registry::new(), Arc::default()));
    client
        .write_all(b"GET /healthz HTTP/1.1\r\n")
        .await
        .unwrap();
    let before = tokio::time::Instant::now();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    served.await.unwrap();
    assert!(before.elapsed() < HEAD_WITHIN + Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_closed() {
    // The answer does not fit into 64 bytes.
    let (mut client, server) = tokio::io::duplex(64);
    let served = tokio::spawn(serve(server, Registry::new(), Arc::default()));
    client
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let before = tokio::time::Instant::now();
    served.await.unwrap();
    assert!(before.elapsed() <= EXCHANGE_WITHIN + Duration::from_secs(1));
}

fn unix(path: &Path) -> String {
    format!("unix:{}", path.display())
}

#[tokio::test]
async fn a_unix_socket_is_private_and_goes_with_its_server() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin");
    let admin = start(&unix(&path)).await;
    assert_eq!(admin.address.to_string(), unix(&path));
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(status(&admin.get("/healthz").await), "200");
    admin.stop().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn a_stale_socket_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let admin = start(&unix(&path)).await;
    assert_eq!(status(&admin.get("/healthz").await), "200");
    admin.stop().await;
}

#[tokio::test]
async fn a_socket_in_use_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin");
    let admin = start(&unix(&path)).await;
    let error = Admin::bind(&unix(&path)).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert_eq!(status(&admin.get("/healthz").await), "200");
    admin.stop().await;
}

#[tokio::test]
async fn a_path_that_is_no_socket_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("precious");
    std::fs::write(&path, "data").unwrap();
    let error = Admin::bind(&unix(&path)).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "data");

    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let error = Admin::bind(&unix(&link)).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
}

#[tokio::test]
async fn a_path_bound_anew_by_another_is_not_removed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin");
    let admin = start(&unix(&path)).await;
    let taken_over = directory.path().join("other");
    let _other = UnixListener::bind(&taken_over).unwrap();
    std::fs::rename(&taken_over, &path).unwrap();
    admin.stop().await;
    assert!(path.exists());
}

#[tokio::test]
async fn an_address_that_is_neither_is_an_error() {
    for address in ["", "localhost", "127.0.0.1", "unix"] {
        let error = Admin::bind(address).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{address}");
    }
}
