//! The production image: what its Dockerfile says, and whether its health check tells the truth.

use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use super::house::{HELLO, House};
use crate::support::daemon::free_address;
use crate::support::edge::{Edge, PROGRAM, Start};
use crate::support::{polled, within};

/// An instruction of the Dockerfile and what stands behind it.
type Instruction = (String, String);

/// The instructions of a stage, in order; those before the first stage are that of "".
fn stage(name: &str) -> Vec<Instruction> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/cutwater/Dockerfile");
    let text = std::fs::read_to_string(file).unwrap();
    let mut current = "";
    let mut found = Vec::new();
    let lines = text.lines().map(str::trim);
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        assert!(!line.ends_with('\\'), "one instruction a line: {line}");
        let (instruction, rest) = line.split_once(' ').unwrap();
        if instruction == "FROM" {
            current = rest.split_once(" AS ").expect("a name").1;
        }
        if current == name {
            found.push((instruction.to_owned(), rest.to_owned()));
        }
    }
    found
}

/// What the only one of these instructions says.
fn only(stage: &[Instruction], name: &str) -> String {
    let mut all = stage.iter().filter(|(instruction, _)| instruction == name);
    let (Some((_, rest)), None) = (all.next(), all.next()) else {
        panic!("{name} once in {stage:?}");
    };
    rest.clone()
}

/// The words of an instruction in its form without a shell: there is none.
fn words(text: &str) -> Vec<String> {
    serde_json::from_str(text).expect("a list of words")
}

/// What the image runs, given these arguments.
fn program(arguments: &[String]) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

#[test]
fn it_is_the_program_alone_on_nothing_for_a_user_without_rights() {
    assert_eq!(only(&stage(""), "ARG"), "BASE=scratch");
    let product = stage("product");
    let instructions: Vec<&str> = product.iter().map(|one| one.0.as_str()).collect();
    // On an empty base nothing could be run while it is built.
    let all = [
        "FROM",
        "COPY",
        "USER",
        "WORKDIR",
        "ENTRYPOINT",
        "CMD",
        "HEALTHCHECK",
    ];
    assert_eq!(instructions, all);
    assert_eq!(only(&product, "FROM"), "${BASE} AS product");
    assert_eq!(only(&product, "COPY"), "cutwater /cutwater");
    assert_eq!(words(&only(&product, "ENTRYPOINT")), ["/cutwater"]);
    // By number: there is no file of names, and Kubernetes has to see that it is not root.
    let user = only(&product, "USER");
    let (user, group) = user.split_once(':').expect("a group");
    for id in [user, group] {
        assert_ne!(id.parse::<u32>().expect("a number"), 0);
    }
    // What is made of it for quic-interop-runner has the same rights.
    let runner = stage("quic");
    assert_eq!(only(&runner, "FROM"), "product AS quic");
    assert!(runner.iter().all(|(instruction, _)| instruction != "USER"));
}

#[tokio::test]
async fn what_it_runs_by_itself_the_program_knows() {
    let product = stage("product");
    let mut command = words(&only(&product, "CMD"));
    assert_eq!(command, ["serve"]);
    command.push("--help".into());
    let known = program(&command).stdout(Stdio::null()).status();
    assert!(within("its end", known).await.unwrap().success());
}

/// Runs the image's health check where the image would: beside the configuration.
async fn health(edge: &Edge) -> (Option<i32>, String) {
    let check = only(&stage("product"), "HEALTHCHECK");
    let (_, check) = check.split_once("CMD ").expect("a command");
    let check = words(check);
    assert_eq!(check[0], "/cutwater", "there is no other program");
    let checked = program(&check[1..]).current_dir(edge.directory()).output();
    let output = within("the check's end", checked).await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), said)
}

#[tokio::test]
async fn its_health_check_tells_whether_the_edge_is_ready() {
    let house = House::new();
    let admin = free_address().to_string();
    let config = house.config("", HELLO).replacen("127.0.0.1:0", &admin, 1);
    let config = format!("[server]\ndrain = {{ delay = \"5s\" }}\n{config}");
    let mut edge = Start::with(&config).run().await;
    assert_eq!(health(&edge).await, (Some(0), String::new()));
    edge.signal("TERM").await;
    polled("503", async || {
        (edge.admin_get("/readyz").await.status == 503).then_some(())
    })
    .await;
    let (code, said) = health(&edge).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("{admin}: not ready: ")), "{said}");
    edge.crash().await;
    let (code, said) = health(&edge).await;
    assert_eq!(code, Some(1), "{said}");
    // Nor is one healthy that nobody can ask.
    edge.write_config(&house.config("", HELLO).replace("[admin]\naddress", "#"));
    let (code, said) = health(&edge).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("has no admin endpoint"), "{said}");
}
