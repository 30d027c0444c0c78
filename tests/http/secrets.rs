//! Secrets that stand in the environment or in files of their own.

use crate::http::stand::{NAME, Stand, forward, get};
use crate::support::edge::run;
use crate::support::origin::{Origin, Reply};

const SET: &str = r#"
request_headers = { set = { authorization = "Bearer ${CUTWATER_TOKEN}", x-key = "file:key.txt", x-literal = "$${x}" } }
"#;

#[tokio::test]
async fn an_origin_gets_secrets_that_the_configuration_only_names() {
    let origin = Origin::start(|_| Reply::ok("ok")).await;
    let stand = Stand::start_with(&(forward("/", &origin) + SET), |start| {
        start
            .environment("CUTWATER_TOKEN", "s3cret-token")
            .file("key.txt", "s3cret-key\n")
    })
    .await;
    assert_eq!(stand.ask(&get("/")).await.status, 200);
    let asked = &origin.requests()[0];
    assert_eq!(asked.field("host"), Some(NAME));
    assert_eq!(asked.field("authorization"), Some("Bearer s3cret-token"));
    assert_eq!(asked.field("x-key"), Some("s3cret-key"));
    assert_eq!(asked.field("x-literal"), Some("${x}"));
}

#[tokio::test]
async fn a_secret_that_is_missing_is_told_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cutwater.toml");
    let text = "[[listen]]\naddress = \"127.0.0.1:0\"\n[log]\nlevel = \"${CUTWATER_NOT_THERE}\"\n";
    std::fs::write(&path, text).unwrap();
    let (status, _, said) = run(&["check", "--config", path.to_str().unwrap()]).await;
    assert!(!status.success());
    let message = "the environment has no variable `CUTWATER_NOT_THERE`";
    assert!(said.contains(message), "{said}");
    assert!(said.contains(":4:9"), "{said}");
    assert!(said.contains("1 error\n"), "{said}");
}
