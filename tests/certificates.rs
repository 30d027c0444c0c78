//! Certificates while they are in use: compression, and what is told of them.

mod support;

mod certificates {
    mod check;
    mod compression;
}
