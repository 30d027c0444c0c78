//! Certificates while they are in use, and what `cutwater inspect` tells of them and their servers.

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
}
