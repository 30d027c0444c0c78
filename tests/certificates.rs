//! Certificates while they are in use: compression, staples, and what is told of them.

mod support;

mod certificates {
    mod check;
    mod compression;
    mod ocsp {
        mod authority;
        mod responder;
        mod stage;

        mod clients;
        mod faults;
        mod kept;
        mod quic;
        mod required;
        mod stapling;
    }
}
