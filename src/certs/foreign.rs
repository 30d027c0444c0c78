//! Text that somebody else wrote, fit to be shown.

use std::fmt::Write as _;

/// `text` with every character that a terminal or a reader's eye would obey escaped as `\u{…}`:
/// controls (C0, DEL, C1), line and paragraph separators, whatever turns the direction of writing,
/// and what is not seen at all. What is left is on one line and reads as it stands.
///
/// Names in certificates, and fields of answers, are what a stranger chose: printed as they are,
/// they could write lines of their own.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match obeyed(c) {
            // Writing to a String does not fail.
            true => drop(write!(shown, "{}", c.escape_unicode())),
            false => shown.push(c),
        }
    }
    shown
}

fn obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c,
            // Soft hyphen, Arabic letter mark, Mongolian vowel separator.
            '\u{ad}' | '\u{61c}' | '\u{180e}'
            // Zero width, left-to-right and right-to-left marks.
            | '\u{200b}'..='\u{200f}'
            // Separators of lines and paragraphs, embeddings and overrides.
            | '\u{2028}'..='\u{202e}'
            // Word joiner, invisible operators, isolates.
            | '\u{2060}'..='\u{206f}'
            // Byte order mark, interlinear annotation.
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            // Tags.
            | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_obeyed() {
        for c in ('\0'..=char::MAX).filter(|c| c.is_control()) {
            let shown = printable(&format!("a{c}b"));
            assert_eq!(shown, format!("a\\u{{{:x}}}b", u32::from(c)));
        }
        let turned = printable("a\u{202e}tset.\u{2066}\u{200f}\u{61c}\u{2028}");
        assert_eq!(turned, "a\\u{202e}tset.\\u{2066}\\u{200f}\\u{61c}\\u{2028}");
        assert_eq!(printable("x\n  trusted   yes"), "x\\u{a}  trusted   yes");
    }

    #[test]
    fn the_rest_reads_as_it_stands() {
        for text in [
            "",
            "CN=a\\, b",
            "Žluťoučký kůň",
            "дом",
            "שלום",
            "例え",
            "a b",
        ] {
            assert_eq!(printable(text), text);
        }
    }
}
