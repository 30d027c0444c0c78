//! Tests of the tools that the other tests stand on: the relay and `support`.

mod support;

mod harness {
    mod client;
    mod h2;
    mod origin;
    mod relay;
    mod server;
    mod tools;
}
