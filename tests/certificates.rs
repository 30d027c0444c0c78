//! Certificates while they are in use: staples.

mod support;

mod certificates {
    mod faults;
    mod responder;
    mod stage;
    mod stapling;
}
