//! What proxies say that speak HTTP to the edge.

use std::net::IpAddr;

use super::{ANY, behind, header, stand, telling};
use crate::http::stand::{NAME, Stand, forward, get, route};
use crate::support::h2::{H2, request};
use crate::support::origin::Asked;
use cutwater::proxy_protocol::Version;

const TRUSTED: &str = "trusted_proxies = [\"127.0.0.0/8\", \"10.0.0.0/8\"]";

/// A GET with these fields.
fn asking(path: &str, fields: &str) -> String {
    get(path).replace("\r\n\r\n", &format!("\r\n{fields}\r\n\r\n"))
}

/// What the origin is told when the edge is told this.
async fn told(stand: &Stand, origin: &crate::support::origin::Origin, fields: &str) -> Asked {
    let before = origin.requests().len();
    assert_eq!(stand.ask(&asking("/", fields)).await.status, 200);
    origin.until_requests(before + 1).await.pop().unwrap()
}

#[tokio::test]
async fn nobody_is_believed_unless_he_is_trusted() {
    let origin = telling().await;
    for listener in ["", "trusted_proxies = [\"192.0.2.0/24\"]"] {
        let stand = stand(listener, &forward("/", &origin)).await;
        let fields = "x-forwarded-for: 203.0.113.9\r\nx-forwarded-proto: http\r\n\
                      x-forwarded-host: other.example\r\nforwarded: for=203.0.113.9\r\n\
                      x-request-id: forged";
        let asked = told(&stand, &origin, fields).await;
        assert_eq!(asked.field("x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(asked.field("x-forwarded-proto"), Some("https"));
        assert_eq!(asked.field("x-forwarded-host"), Some(NAME));
        assert_eq!(asked.field("forwarded"), None);
        let id = asked.field("x-request-id").unwrap().to_owned();
        assert_eq!(id.len(), 32);
        let line = stand.edge.until_access(|_| true).await;
        assert_eq!(line["request_id"], id.as_str());
        let client = line["client"].as_str().unwrap();
        assert!(client.starts_with("127.0.0.1:"), "{client}");
    }
}

#[tokio::test]
async fn a_trusted_proxy_names_the_client_and_the_way_to_it() {
    let origin = telling().await;
    let stand = stand(TRUSTED, &forward("/", &origin)).await;
    for (said, way) in [
        ("203.0.113.9", "203.0.113.9, 127.0.0.1"),
        ("203.0.113.9, 10.0.0.1", "203.0.113.9, 10.0.0.1, 127.0.0.1"),
        // What the client says of itself ends at the client.
        (
            "10.1.1.1, 203.0.113.9, 10.0.0.1",
            "203.0.113.9, 10.0.0.1, 127.0.0.1",
        ),
        ("2001:db8::1", "2001:db8::1, 127.0.0.1"),
        ("garbage", "127.0.0.1"),
    ] {
        let asked = told(&stand, &origin, &format!("x-forwarded-for: {said}")).await;
        assert_eq!(asked.field("x-forwarded-for"), Some(way));
    }
    let fields = "x-forwarded-for: 203.0.113.77\r\nx-forwarded-proto: http\r\n\
                  x-forwarded-host: other.example\r\nx-request-id: cdn-0001";
    let asked = told(&stand, &origin, fields).await;
    assert_eq!(asked.field("x-forwarded-proto"), Some("http"));
    assert_eq!(asked.field("x-forwarded-host"), Some(NAME));
    assert_eq!(asked.field("x-request-id"), Some("cdn-0001"));
    let line = stand
        .edge
        .until_access(|line| line["request_id"] == "cdn-0001")
        .await;
    assert_eq!(line["client"], "203.0.113.77");
    assert!(line["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    // Requests of one HTTP/2 connection have clients of their own.
    let mut h2 = stand.http2().await;
    for host in 1..=3 {
        let mut request = request("GET", &format!("https://{NAME}/{host}"), "");
        let said = format!("203.0.113.{host}:99").try_into().unwrap();
        request.headers_mut().insert("x-forwarded-for", said);
        h2.begin_request(request).await;
        assert_eq!(h2.next().await.unwrap().status, 200);
        let path = format!("/{host}");
        let line = stand
            .edge
            .until_access(|line| line["path"] == path.as_str())
            .await;
        assert_eq!(line["client"], format!("203.0.113.{host}:99"));
    }
}

#[tokio::test]
async fn one_field_is_trusted_and_not_the_other() {
    let origin = telling().await;
    let listener = format!("{TRUSTED}\ntrusted_header = \"forwarded\"");
    let stand = stand(&listener, &forward("/", &origin)).await;
    let fields = "x-forwarded-for: 198.51.100.1\r\nx-forwarded-proto: https\r\n\
                  forwarded: for=\"_x, for=203.0.113.9;proto=http, for=10.0.0.1";
    let asked = told(&stand, &origin, fields).await;
    assert_eq!(
        asked.field("x-forwarded-for"),
        Some("203.0.113.9, 10.0.0.1, 127.0.0.1")
    );
    assert_eq!(asked.field("x-forwarded-proto"), Some("http"));
    assert_eq!(asked.field("forwarded"), None);
}

#[tokio::test]
async fn clients_are_admitted_by_the_address_that_a_trusted_proxy_names() {
    let tables = "[[site.route]]\npath = \"/\"\nrespond = {}\ndeny = [\"203.0.113.0/24\"]\n\
                  rate_limit = { requests = 1, per = \"1h\" }\n";
    let stand = stand(TRUSTED, tables).await;
    for (said, status) in [
        ("203.0.113.9", 403),
        ("198.51.100.1", 200),
        ("198.51.100.2", 200),
        ("203.0.113.9, 198.51.100.1", 429),
        ("198.51.100.3, 203.0.113.9", 403),
    ] {
        let answer = stand
            .ask(&asking("/", &format!("x-forwarded-for: {said}")))
            .await;
        assert_eq!(answer.status, status, "{said}");
    }
}

#[tokio::test]
async fn behind_a_balancer_it_is_its_client_that_has_to_be_trusted() {
    let origin = telling().await;
    let listener = format!("{ANY}\ntrusted_proxies = [\"198.51.100.0/24\"]");
    let stand = stand(&listener, &forward("/", &origin)).await;
    for (source, way) in [
        ("198.51.100.7:1", "203.0.113.9, 198.51.100.7"),
        ("192.0.2.7:1", "192.0.2.7"),
    ] {
        let mut client = behind(&stand, &header(Version::V2, source)).await;
        client.handshake().await.unwrap();
        client
            .send(asking("/", "x-forwarded-for: 203.0.113.9").as_bytes())
            .await;
        assert_eq!(client.response().await.status, 200);
        let asked = origin.requests().pop().unwrap();
        assert_eq!(asked.field("x-forwarded-for"), Some(way));
    }
}

#[tokio::test]
async fn trust_that_a_reload_takes_away_is_gone_for_the_next_request() {
    let origin = telling().await;
    let stand = stand(TRUSTED, &forward("/", &origin)).await;
    let mut client = stand.http1().await;
    let asking = asking("/", "x-forwarded-for: 203.0.113.9");
    client.send(asking.as_bytes()).await;
    client.response().await;
    let config = std::fs::read_to_string(stand.edge.directory().join("cutwater.toml")).unwrap();
    stand.edge.write_config(&config.replace(TRUSTED, ""));
    stand.edge.signal("HUP").await;
    stand.edge.until_text("generation=2").await;
    client.send(asking.as_bytes()).await;
    client.response().await;
    let ways = origin.until_requests(2).await;
    let ways = ways
        .iter()
        .map(|asked| asked.field("x-forwarded-for").unwrap().to_owned());
    assert_eq!(
        ways.collect::<Vec<_>>(),
        ["203.0.113.9, 127.0.0.1", "127.0.0.1"]
    );
}

#[tokio::test]
async fn an_origin_is_told_in_the_fields_that_it_asks_for() {
    let origin = telling().await;
    let url = origin.url();
    let routes: String = ["x", "rfc7239", "both", "off"]
        .map(|fields| {
            format!(
                "[[site.route]]\npath = \"/{fields}\"\n\
                 origin = {{ servers = [{url:?}], forwarded = {fields:?} }}\n"
            )
        })
        .concat();
    let stand = stand(TRUSTED, &routes).await;
    let ask = async |path: &str, fields: &str| {
        let before = origin.requests().len();
        assert_eq!(stand.ask(&asking(path, fields)).await.status, 200);
        origin.until_requests(before + 1).await.pop().unwrap()
    };
    let x = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"];
    let alone = "for=127.0.0.1;host=example.com;proto=https";
    for (path, has_x, forwarded) in [
        ("/x", true, None),
        ("/rfc7239", false, Some(alone)),
        ("/both", true, Some(alone)),
        ("/off", false, None),
    ] {
        let asked = ask(path, "a: b").await;
        for name in x {
            assert_eq!(asked.field(name).is_some(), has_x, "{path} {name}");
        }
        assert_eq!(asked.field("forwarded"), forwarded, "{path}");
        assert!(asked.field("x-request-id").is_some());
        // What is not written is dropped all the same.
        let said = "forwarded: for=203.0.113.9\r\nx-forwarded-port: 1\r\nx_forwarded_for: ::1";
        let asked = ask(path, said).await;
        assert_eq!(asked.field("forwarded"), forwarded, "{path}");
        assert_eq!(asked.field("x_forwarded_for"), None);
        assert_eq!(asked.field("x-forwarded-port"), None);
    }
    let asked = ask(
        "/both",
        "x-forwarded-for: 2001:db8::1\r\nx-forwarded-proto: http",
    )
    .await;
    assert_eq!(
        asked.field("forwarded"),
        Some("for=\"[2001:db8::1]\";proto=http, for=127.0.0.1;host=example.com;proto=https")
    );
}

#[tokio::test]
async fn fields_have_variables_in_their_values() {
    let origin = telling().await;
    let keys = "request_headers = { set = { x-seen = \"$client_address $request_id $host\" }, \
                add = { x-price = [\"$5\", \"$$host\"] } }\n\
                response_headers = { set = { x-request-id = \"$request_id\", \
                x-tls = \"$protocol $tls_version $tls_suite $server_name\" } }\n";
    let route = forward("/", &origin) + keys;
    let stand = stand(TRUSTED, &route).await;
    let answer = stand
        .ask(&asking("/", "x-forwarded-for: 203.0.113.9"))
        .await;
    let asked = origin.requests().pop().unwrap();
    let id = asked.field("x-request-id").unwrap();
    let seen = format!("203.0.113.9 {id} example.com");
    assert_eq!(asked.field("x-seen"), Some(seen.as_str()));
    assert_eq!(asked.fields("x-price"), ["$5", "$host"]);
    assert_eq!(answer.header("x-request-id"), Some(id));
    let tls = answer.header("x-tls").unwrap();
    assert_eq!(tls, "h1 1.3 TLS13_AES_128_GCM_SHA256 example.com");
    let line = stand.edge.until_access(|_| true).await;
    assert_eq!(line["request_id"], id);
    assert!("203.0.113.9".parse::<IpAddr>().is_ok());
    let mut h2: H2 = stand.http2().await;
    let ask = request("GET", &format!("https://{NAME}/"), "");
    let answer = h2.fetch(ask).await.unwrap();
    assert!(
        answer.headers["x-tls"]
            .to_str()
            .unwrap()
            .starts_with("h2 1.3 ")
    );
}

#[tokio::test]
async fn an_answer_of_the_edge_itself_may_say_the_host() {
    let keys = "respond = { status = 200, body = \"ok\" }\n\
                response_headers = { set = { x-host = \"$host\" } }\n";
    let stand = stand(TRUSTED, &route("/", keys)).await;
    let answer = stand.ask(&asking("/", "x-other: 1")).await;
    assert_eq!(answer.header("x-host"), Some("example.com"));
    let mut h2: H2 = stand.http2().await;
    let ask = request("GET", &format!("https://{NAME}:443/"), "");
    let answer = h2.fetch(ask).await.unwrap();
    assert_eq!(answer.headers["x-host"], format!("{NAME}:443"));
}
