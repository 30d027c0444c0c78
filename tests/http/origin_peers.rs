//! nginx, HAProxy and nghttpd as origins over HTTP/2, TLS and a Unix socket; gRPC as a client sees
//! it.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::TcpListener;

use crate::http::stand::{NAME, Stand, get, pattern, post, route};
use crate::support::daemon::{Daemon, free_address};
use crate::support::h2::request;
use crate::support::origin::{Origin, Reply};
use crate::support::pki::{Kind, Pki};
use crate::support::within;

#[tokio::test]
async fn nginx_is_an_origin_in_every_way() {
    let pki = Pki::new();
    let server = pki.files(&["backend.example"]);
    let client = Kind {
        client: true,
        ..Kind::default()
    };
    let client = pki.files_of(&["edge.example"], client).toml();
    let (tls, http2) = (free_address(), free_address());
    let says = "location / { return 200 \"$server_protocol $ssl_server_name $ssl_client_s_dn $host\"; }\n\
                location /file { alias DIRECTORY/file; }";
    let blocks = format!(
        "http {{ access_log off; client_body_temp_path DIRECTORY/body;\n\
         server {{ listen {tls} ssl http2; server_name _; {says}\n\
         ssl_certificate {}; ssl_certificate_key {}; ssl_session_cache shared:s:1m;\n\
         ssl_client_certificate {}; ssl_verify_client on; }}\n\
         server {{ listen unix:DIRECTORY/nginx.sock; {says} }}\n\
         server {{ listen {http2} http2; {says} }} }}",
        server.chain.display(),
        server.key.display(),
        pki.ca_file().display(),
    );
    let Some(nginx) = Daemon::nginx(&blocks, http2).await else {
        return;
    };
    let large = pattern(3_000_000);
    std::fs::write(nginx.directory().join("file"), &large).unwrap();
    let ca = pki.ca_file();
    let table = format!("ca = {ca:?}, server_name = \"backend.example\", certificate = {client}");
    let secure = |path: &str, more: &str| {
        let url = format!("https://{tls}");
        let origin = format!("{{ servers = [{url:?}], tls = {{ {table}{more} }} }}");
        route(path, &format!("origin = {origin}\nstrip_prefix = true"))
    };
    let plain =
        |path: &str, url: String| route(path, &format!("origin = [{url:?}]\nstrip_prefix = true"));
    let socket = nginx.directory().join("nginx.sock");
    let routes = secure("/tls2", "")
        + &secure("/tls1", ", alpn = [\"http/1.1\"]")
        + &plain("/h2c", format!("h2c://{http2}"))
        + &plain("/unix", format!("unix:{}", socket.display()));
    let stand = Stand::start(&routes).await;
    for (path, expected) in [
        (
            "/tls2",
            "HTTP/2.0 backend.example CN=edge.example example.com",
        ),
        (
            "/tls1",
            "HTTP/1.1 backend.example CN=edge.example example.com",
        ),
        ("/h2c", "HTTP/2.0   example.com"),
        ("/unix", "HTTP/1.1   example.com"),
    ] {
        for _ in 0..3 {
            let answer = stand.ask(&get(path)).await;
            assert_eq!((answer.status, answer.text()), (200, expected), "{path}");
        }
        let file = stand.ask(&get(&format!("{path}/file"))).await;
        assert!(file.body == large, "{path}");
        let head = stand
            .ask(&get(&format!("{path}/file")).replace("GET", "HEAD"))
            .await;
        assert_eq!(head.header("content-length"), Some("3000000"), "{path}");
        // nginx takes no body as large as this, and says so before it has read it.
        let mut client = stand.http1().await;
        client.send(&post(&format!("{path}/file"), &large)).await;
        assert_eq!(client.response().await.status, 413, "{path}");
    }
}

#[tokio::test]
async fn haproxy_is_an_origin_in_every_way() {
    let pki = Pki::new();
    let server = pki.files(&["backend.example"]);
    let kind = Kind {
        client: true,
        ..Kind::default()
    };
    let client = pki.files_of(&["edge.example"], kind).toml();
    // HAProxy wants both in one file.
    let both = pki.directory().join("both.pem");
    let parts = [&server.chain, &server.key].map(|file| std::fs::read(file).unwrap());
    std::fs::write(&both, parts.concat()).unwrap();
    let large = pattern(3_000_000);
    let file = large.clone();
    let behind = Origin::start(move |asked| match asked.method() {
        "HEAD" => Reply::raw("HTTP/1.1 200 OK\r\ncontent-length: 3000000\r\n\r\n"),
        "GET" => Reply::ok(&file),
        _ => Reply::ok(&asked.body),
    })
    .await;
    let (http1, http2, tls) = (free_address(), free_address(), free_address());
    let sections = format!(
        "frontend in\n  mode http\n  bind {http1}\n  bind {http2} proto h2\n  \
         bind unix@DIRECTORY/haproxy.sock\n  \
         bind {tls} ssl crt {} alpn h2,http/1.1 ca-file {} verify required\n  \
         http-request return status 200 content-type text/plain lf-string \
         \"%[req.ver] %[ssl_fc_sni] %[ssl_c_s_dn(cn)] %[req.hdr(host)]\" if {{ path /says }}\n  \
         default_backend behind\n\
         backend behind\n  mode http\n  server behind {}\n",
        both.display(),
        pki.ca_file().display(),
        behind.address(),
    );
    let Some(haproxy) = Daemon::haproxy(&sections, http1).await else {
        return;
    };
    let ca = pki.ca_file();
    let table = format!("ca = {ca:?}, server_name = \"backend.example\", certificate = {client}");
    let forward = |path: &str, url: &str, more: &str| {
        let keys = format!("origin = {{ servers = [{url:?}]{more} }}\nstrip_prefix = true");
        route(path, &keys)
    };
    let secure = format!("https://{tls}");
    let socket = haproxy.directory().join("haproxy.sock");
    let routes = forward("/tls2", &secure, &format!(", tls = {{ {table} }}"))
        + &forward(
            "/tls1",
            &secure,
            &format!(", tls = {{ {table}, alpn = [\"http/1.1\"] }}"),
        )
        + &forward("/http", &format!("http://{http1}"), "")
        + &forward("/h2c", &format!("h2c://{http2}"), "")
        + &forward("/unix", &format!("unix:{}", socket.display()), "");
    let stand = Stand::start(&routes).await;
    for (path, expected) in [
        ("/tls2", "2.0 backend.example edge.example example.com"),
        ("/tls1", "1.1 backend.example edge.example example.com"),
        ("/http", "1.1   example.com"),
        ("/h2c", "2.0   example.com"),
        ("/unix", "1.1   example.com"),
    ] {
        for _ in 0..3 {
            let answer = stand.ask(&get(&format!("{path}/says"))).await;
            assert_eq!((answer.status, answer.text()), (200, expected), "{path}");
        }
        carries(&stand, path, &large).await;
    }
}

/// A large file comes, a large body goes and comes back, and HEAD says the file's length.
async fn carries(stand: &Stand, path: &str, large: &[u8]) {
    let path = format!("{path}/file");
    let file = stand.ask(&get(&path)).await;
    assert!(file.body == large, "{path}");
    let head = stand.ask(&get(&path).replace("GET", "HEAD")).await;
    assert_eq!(head.header("content-length"), Some("3000000"), "{path}");
    for _ in 0..2 {
        let mut client = stand.http1().await;
        client.send(&post(&path, large)).await;
        let answer = client.response().await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.body == large, "{path}");
    }
    let mut http2 = stand.http2().await;
    let ask = request("POST", &format!("https://{NAME}{path}"), large.to_vec());
    assert!(http2.fetch(ask).await.unwrap().body == large, "{path}");
}

#[tokio::test]
async fn nghttpd_is_an_origin_over_http2() {
    let pki = Pki::new();
    let server = pki.files(&["127.0.0.1"]);
    let (plain, tls) = (free_address(), free_address());
    let port = |address: SocketAddr| address.port().to_string();
    let arguments = ["--no-tls", &port(plain)];
    let Some(in_the_clear) = Daemon::nghttpd(&arguments, plain).await else {
        return;
    };
    let files = [&server.key, &server.chain].map(|file| file.display().to_string());
    let arguments = [port(tls).as_str(), &files[0], &files[1]].map(str::to_owned);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let Some(secure) = Daemon::nghttpd(&arguments, tls).await else {
        return;
    };
    let large = pattern(3_000_000);
    for nghttpd in [&in_the_clear, &secure] {
        std::fs::write(nghttpd.directory().join("file"), &large).unwrap();
    }
    let forward = |path: &str, keys: String| {
        route(path, &format!("origin = {{ {keys} }}\nstrip_prefix = true"))
    };
    let ca = pki.ca_file();
    let routes = forward("/h2c", format!("servers = [\"h2c://{plain}\"]"))
        + &forward(
            "/tls",
            format!("servers = [\"https://{tls}\"], tls = {{ ca = {ca:?} }}"),
        );
    let stand = Stand::start(&routes).await;
    for path in ["/h2c", "/tls"] {
        carries(&stand, path, &large).await;
    }
}

/// Echoes the messages of a bidirectional call, each as it comes.
async fn echo(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    assert_eq!(request.headers().get("te").unwrap(), "trailers");
    assert_eq!(
        request.headers().get("content-type").unwrap(),
        "application/grpc"
    );
    let head = Response::builder().header("content-type", "application/grpc");
    let mut stream: SendStream<Bytes> = respond
        .send_response(head.body(()).unwrap(), false)
        .unwrap();
    let mut body = request.into_body();
    while let Some(Ok(data)) = body.data().await {
        let _ = body.flow_control().release_capacity(data.len());
        stream.send_data(data, false).unwrap();
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    stream.send_trailers(trailers).unwrap();
}

#[tokio::test]
async fn grpc_streams_go_through_in_both_directions() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("h2c://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(socket).await.unwrap();
                while let Some(Ok((request, respond))) = connection.accept().await {
                    tokio::spawn(echo(request, respond));
                }
            });
        }
    });
    let stand = Stand::start(&route("/", &format!("origin = [{url:?}]"))).await;
    let mut client = stand.http2().await;
    let mut call = request("POST", &format!("https://{NAME}/echo.Echo/Talk"), "").map(|_| ());
    let fields = call.headers_mut();
    fields.insert("te", HeaderValue::from_static("trailers"));
    fields.insert("content-type", HeaderValue::from_static("application/grpc"));
    let (answer, mut sends) = client.send.send_request(call, false).unwrap();
    let message = |text: &str| {
        let mut message = vec![0, 0, 0, 0, u8::try_from(text.len()).unwrap()];
        message.extend_from_slice(text.as_bytes());
        Bytes::from(message)
    };
    // The answer begins while the call is open, and each message comes before the next is sent.
    let answer = within("the answer's head", answer).await.unwrap();
    assert_eq!(answer.status(), 200);
    let mut body = answer.into_body();
    for text in ["one", "two", "three"] {
        sends.send_data(message(text), false).unwrap();
        let data = within("a message", body.data()).await.unwrap().unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        assert_eq!(data, message(text));
    }
    sends.send_data(Bytes::new(), true).unwrap();
    assert!(within("the end", body.data()).await.is_none());
    let trailers = within("trailers", body.trailers()).await.unwrap().unwrap();
    assert_eq!(trailers.get("grpc-status").unwrap(), "0");
}
