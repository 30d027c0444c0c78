use std::path::Path;

use tokio::net::UnixListener;

use super::*;

fn unix(path: &Path, protocol: OriginProtocol) -> Arc<OriginSpec> {
    Arc::new(OriginSpec {
        name: "unix".into(),
        servers: vec![OriginServer {
            weight: 1,
            protocol,
            host: OriginHost::Unix(path.into()),
            port: 0,
        }],
        early_data_aware: false,
        host: HostHeader::Origin,
        forwarded: Default::default(),
        proxy_protocol: None,
        tls: None,
        pool: PoolSpec::default(),
    })
}

#[tokio::test]
async fn a_unix_socket_is_an_origin() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let (seen, mut heads) = mpsc::channel(4);
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        // One connection for both requests.
        drop(listener);
        let mut buffer = Vec::new();
        while stream.read_buf(&mut buffer).await.unwrap_or(0) > 0 {
            if buffer.ends_with(b"\r\n\r\n") {
                let head = std::mem::take(&mut buffer);
                seen.try_send(String::from_utf8(head).unwrap()).unwrap();
                stream.write_all(HELLO.as_bytes()).await.unwrap();
            }
        }
    });
    let worker = Worker::new();
    let spec = unix(&path, OriginProtocol::Http1);
    for _ in 0..2 {
        let forwarded = worker.send(get(&spec)).await.unwrap();
        let address = forwarded.address.clone().unwrap();
        assert_eq!(address, Address::Unix(path.as_path().into()));
        assert_eq!(address.to_string(), format!("unix:{}", path.display()));
        assert_eq!(whole(forwarded).await, (200, "hello".into()));
        let head = heads.recv().await.unwrap();
        assert!(head.contains("\r\nhost: localhost\r\n"), "{head}");
    }
}

#[tokio::test]
async fn http2_is_spoken_over_a_unix_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            let hello = bytes::Bytes::from("hello");
            stream.send_data(hello, true).unwrap();
        }
    });
    let worker = Worker::new();
    let spec = unix(&path, OriginProtocol::Http2);
    for _ in 0..2 {
        assert_eq!(worker.fetch(get(&spec)).await, (200, "hello".into()));
    }
}

#[tokio::test]
async fn a_unix_socket_that_is_not_there_makes_502() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("none.sock");
    let worker = Worker::new();
    let spec = unix(&path, OriginProtocol::Http1);
    let error = worker.send(get(&spec)).await.unwrap_err();
    assert_eq!(
        (error.status().as_u16(), error.label()),
        (502, "unreachable")
    );
    // Somebody bound it, and is gone.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let error = worker.send(get(&spec)).await.unwrap_err();
    assert_eq!((error.status().as_u16(), error.label()), (502, "refused"));
}

#[tokio::test(start_paused = true)]
async fn a_unix_socket_where_http2_never_begins_makes_504_in_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    // The kernel connects; nobody ever writes.
    let _listener = UnixListener::bind(&path).unwrap();
    let worker = Worker::new();
    let spec = unix(&path, OriginProtocol::Http2);
    let begin = tokio::time::Instant::now();
    let waits = tokio::time::timeout(Duration::from_secs(60), worker.send(get(&spec)));
    let error = waits.await.expect("it hangs").unwrap_err();
    assert_eq!(
        (error.status().as_u16(), error.label()),
        (504, "connect_timeout")
    );
    assert_eq!(error.address, Some(Address::Unix(path.as_path().into())));
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
}
