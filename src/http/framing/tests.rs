//! What passes, what does not, and that hyper agrees about all that passes.

mod agreement;
mod shapes;
