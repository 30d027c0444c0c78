//! Certificates while they are in use: their staples; and what `cutwater inspect` tells of them and
//! their servers.

mod support;

mod certificates {
    mod inspect {
        mod stage;

        mod chains;
        mod command;
        mod edge;
        mod faults;
        mod others;
        mod quic;
    }

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
