//! ClientHellos that offer exactly this, and what a server answers to them: enough to see what it
//! would choose, without a key exchange. Pure.

mod answer;
mod hello;

pub(super) use answer::{Answer, Flight, Reader, Wrong};
pub(super) use hello::Hello;
