use crate::config::file::tests::{errors, read_text};
use crate::config::spec::RouteSpec;

/// A route with these lines, which begin at line 5.
fn text(lines: &str) -> String {
    format!("[[site]]\nnames = [\"a.com\"]\n[[site.route]]\npath = \"/api\"\n{lines}\n")
}

#[track_caller]
fn wrong(cases: &[(&str, &str)]) {
    for (lines, expected) in cases {
        assert_eq!(errors(&text(lines)), [*expected], "{lines}");
    }
}

#[track_caller]
fn route(lines: &str) -> RouteSpec {
    let read = read_text(&text(lines));
    assert!(read.errors.is_empty(), "{lines}: {:?}", read.errors);
    read.spec.sites[0].routes[0].clone()
}

#[test]
fn mistakes_in_the_fields_of_a_route_are_told() {
    wrong(&[
        (
            "origin = \"a\"\nrequest_headers = { sett = {} }",
            "6:21 unknown key `sett` in request_headers and response_headers / did you mean `set`?",
        ),
        (
            "origin = \"a\"\nrequest_headers = { set = { host = \"b\" } }",
            "6:29 `host` is set by the edge / see `host` of [origin.NAME]",
        ),
        (
            "origin = \"a\"\nrequest_headers.remove = [\"Early-Data\"]",
            "6:27 `early-data` is set by the edge / take this away",
        ),
        (
            "origin = \"a\"\nresponse_headers = { add = { content-length = \"1\" } }",
            "6:30 `content-length` is set by the edge / take this away",
        ),
        (
            "origin = \"a\"\nresponse_headers = { set = { a = \"1\", A = \"2\" } }",
            "6:39 `A` stands there twice / field names do not mind letter case",
        ),
        (
            "origin = \"a\"\nresponse_headers = { set = { a = 1 } }",
            "6:34 `a` must be a string, not an integer / write, for example, \"value\"",
        ),
        (
            "origin = \"a\"\nresponse_headers = { set = { a = [] } }",
            "6:34 `a` is empty / write, for example, [\"value\"]",
        ),
        (
            "respond = {}\nrequest_headers = { remove = [\"cookie\"] }",
            "6:1 `request_headers` of a route without `origin` / nobody would see them: take this away",
        ),
    ]);
}

#[test]
fn several_values_of_one_field_stay_in_their_order() {
    let route = route("origin = \"a\"\nresponse_headers.add = { B = \"3\", A = [\"2\", \"1\"] }");
    let fields = route.response_headers.add.iter();
    let shown: Vec<String> = fields
        .map(|field| format!("{}={}", field.name, field.value.to_str().unwrap()))
        .collect();
    assert_eq!(shown, ["b=3", "a=2", "a=1"]);
    assert!(route.request_headers.is_empty());
}
