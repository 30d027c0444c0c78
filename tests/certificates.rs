//! Certificates while they are in use: their staples.

mod support;

mod certificates {
    mod ocsp {
        mod authority;
        mod responder;
        mod stage;

        mod clients;
        mod faults;
        mod kept;
        mod required;
        mod stapling;
    }
}
