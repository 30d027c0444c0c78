//! Policy tags: what a session ticket is bound to (EARLY-DATA R6).

use aws_lc_rs::digest::{Context, SHA256};

/// A SHA-256 over the parts of a compiled policy: equal on equal configuration, on every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tag(pub [u8; 32]);

impl Tag {
    /// Hashes `parts`, each with its length before it, so that no two lists collide.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut context = Context::new(&SHA256);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut tag = [0; 32];
        tag.copy_from_slice(context.finish().as_ref());
        Self(tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_eq!(Tag::of(&[b"a", b"b"]), Tag::of(&[b"a", b"b"]));
        assert_ne!(Tag::of(&[b"ab", b""]), Tag::of(&[b"a", b"b"]));
    }
}
