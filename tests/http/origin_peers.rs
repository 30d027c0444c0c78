//! nginx as an origin over HTTP/2, TLS and a Unix socket; gRPC as a client sees it.

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::TcpListener;

use crate::http::stand::{NAME, Stand, get, post, route};
use crate::support::h2::request;
use crate::support::nginx::{Nginx, free_port};
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
    let (tls, http2) = (free_port(), free_port());
    let says = "location / { return 200 \"$server_protocol $ssl_server_name $ssl_client_s_dn $host\"; }\n\
                location /file { alias {dir}/file; }";
    let servers = format!(
        "server {{ listen 127.0.0.1:{tls} ssl http2; server_name _; {says}\n\
         ssl_certificate {}; ssl_certificate_key {}; ssl_session_cache shared:s:1m;\n\
         ssl_client_certificate {}; ssl_verify_client on; }}\n\
         server {{ listen 127.0.0.1:{http2} http2; {says} }}\n\
         server {{ listen unix:{{dir}}/nginx.sock; {says} }}",
        server.chain.display(),
        server.key.display(),
        pki.ca_file().display(),
    );
    let Some(nginx) = Nginx::start(&servers, "nginx.sock").await else {
        return;
    };
    let large = crate::http::stand::pattern(3_000_000);
    std::fs::write(nginx.directory().join("file"), &large).unwrap();
    let ca = pki.ca_file();
    let table = format!("ca = {ca:?}, server_name = \"backend.example\", certificate = {client}");
    let secure = |path: &str, more: &str| {
        let url = format!("https://127.0.0.1:{tls}");
        let origin = format!("{{ servers = [{url:?}], tls = {{ {table}{more} }} }}");
        route(path, &format!("origin = {origin}\nstrip_prefix = true"))
    };
    let plain =
        |path: &str, url: String| route(path, &format!("origin = [{url:?}]\nstrip_prefix = true"));
    let socket = nginx.directory().join("nginx.sock");
    let routes = secure("/tls2", "")
        + &secure("/tls1", ", alpn = [\"http/1.1\"]")
        + &plain("/h2c", format!("h2c://127.0.0.1:{http2}"))
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
