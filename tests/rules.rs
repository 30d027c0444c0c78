//! The rules of early data (docs/EARLY-DATA.md, R10–R20): what becomes of early and of marked
//! requests, for handlers and for origins; and the library that the tests drive.

mod support;

mod rules {
    mod answers;
    mod builder;
    mod connection;
    mod demo;
    mod handlers;
    mod library;
    mod marks;
    mod matrix;
    mod origins;
    mod refusals;
    mod selector;
    mod stage;
}
