//! Reading HTTP/1.1 answers out of raw bytes, strictly: a malformed one is a failed test.

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// Names in lower case, in order.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
}

impl Response {
    /// The first field of this name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.headers.iter();
        fields.find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// Takes a whole answer from the front of `bytes`; `None` while it is incomplete. An interim
    /// (1xx) answer is an answer of its own.
    ///
    /// `to_head`: it answers HEAD and has no body. `closed`: no more bytes will come, which ends
    /// a body of no stated length.
    pub fn take(bytes: &mut Vec<u8>, to_head: bool, closed: bool) -> Option<Self> {
        let mut reader = Reader { bytes, at: 0 };
        let line = reader.line()?;
        let status = line
            .strip_prefix("HTTP/1.1 ")
            .or_else(|| line.strip_prefix("HTTP/1.0 "))
            .and_then(|rest| rest.get(..3)?.parse().ok())
            .unwrap_or_else(|| panic!("not a status line: {line:?}"));
        let mut response = Self {
            status,
            headers: reader.fields()?,
            body: Vec::new(),
            trailers: Vec::new(),
        };
        let bodiless = to_head || status < 200 || status == 204 || status == 304;
        if !bodiless {
            if response.header("transfer-encoding").is_some() {
                assert_eq!(response.header("transfer-encoding"), Some("chunked"));
                assert_eq!(response.header("content-length"), None);
                loop {
                    let line = reader.line()?;
                    let size = line.split(';').next().unwrap_or_default();
                    let size = usize::from_str_radix(size.trim(), 16)
                        .unwrap_or_else(|_| panic!("not a chunk size: {line:?}"));
                    if size == 0 {
                        break;
                    }
                    response.body.extend_from_slice(reader.some(size)?);
                    assert_eq!(reader.some(2)?, b"\r\n", "after a chunk");
                }
                response.trailers = reader.fields()?;
            } else if let Some(length) = response.header("content-length") {
                let length = length.parse().expect("a content-length");
                response.body.extend_from_slice(reader.some(length)?);
            } else if closed {
                let rest = reader.bytes.len() - reader.at;
                response.body.extend_from_slice(reader.some(rest)?);
            } else {
                return None;
            }
        }
        let used = reader.at;
        bytes.drain(..used);
        Some(response)
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn some(&mut self, count: usize) -> Option<&'a [u8]> {
        let some = self.bytes.get(self.at..self.at + count)?;
        self.at += count;
        Some(some)
    }

    fn line(&mut self) -> Option<String> {
        let rest = &self.bytes[self.at..];
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        self.at += end + 2;
        Some(String::from_utf8(rest[..end].to_vec()).expect("a line of text"))
    }

    fn fields(&mut self) -> Option<Vec<(String, String)>> {
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Some(fields);
            }
            let (name, value) = line
                .split_once(':')
                .unwrap_or_else(|| panic!("not a field: {line:?}"));
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
}
