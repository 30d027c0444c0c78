//! Certificates while they are in use: compression, staples, what is told of them; and what
//! `cutwater inspect` tells of other people's.

mod support;

mod certificates {
    mod check;
    mod compression;
    mod transparency;
    mod inspect {
        mod stage;

        mod chains;
        mod command;
        mod edge;
        mod faults;
        mod others;
        mod quic;
        mod staple;
    }

    mod ocsp {
        pub(super) mod authority;
        mod openssl;
        mod responder;
        mod stage;

        mod clients;
        mod faults;
        mod kept;
        mod methods;
        mod quic;
        mod required;
        mod stapling;
        mod told;
    }
}
