//! Priorities (RFC 9218).

/// What a client wants of a request's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priority {
    /// 0 is the most urgent, 7 the least.
    pub urgency: u8,
    /// Whether pieces of it are of use, so that it may share the way with its equals.
    pub incremental: bool,
}

impl Default for Priority {
    fn default() -> Self {
        Self {
            urgency: 3,
            incremental: false,
        }
    }
}

impl Priority {
    /// Reads the value of a Priority field. It is a dictionary (RFC 9651); what is not understood
    /// counts for nothing (RFC 9218 §4).
    pub fn parse(value: &[u8]) -> Self {
        Self::of_lines([value])
    }

    /// Reads a Priority field of any number of lines.
    pub fn of_lines<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut priority = Self::default();
        let lines = lines.into_iter();
        for member in lines.flat_map(|line| line.split(|byte| *byte == b',')) {
            let member = member
                .split(|byte| *byte == b';')
                .next()
                .unwrap_or_default();
            match member.trim_ascii() {
                [b'u', b'=', digit @ b'0'..=b'7'] => priority.urgency = digit - b'0',
                b"i" | b"i=?1" => priority.incremental = true,
                b"i=?0" => priority.incremental = false,
                _ => {}
            }
        }
        priority
    }
}
