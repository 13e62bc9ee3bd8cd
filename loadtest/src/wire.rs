//! The wire is HTTP/1.1 by hand on one socket, because a fault has to act on the socket.
//!
//! Just what callers of providers send: a head, a body by length or in chunks, one request after
//! another on the same connection. Every buffer has a bound.

use std::future::pending;
use std::io;

use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::io::Interest;
use tokio::io::Ready;
use tokio::net::TcpStream;

/// A request, read whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Without the query.
    pub(crate) path: String,
    pub(crate) query: String,
    /// Names in small letters.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Whether the caller closes after this answer.
    pub(crate) fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// An answer, not yet framed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
}

/// How a head announces its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// `Content-Length`.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// Why no request could be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("the connection broke")]
    Broken(#[from] io::Error),
    #[error("not a request: {0}")]
    Malformed(&'static str),
    #[error("the body is over {limit_bytes} bytes")]
    TooLarge { limit_bytes: usize },
}

const MAX_HEAD_BYTES: usize = 32 << 10;
const MAX_CHUNK_LINE_BYTES: usize = 8 << 10;
const READ_BYTES: usize = 64 << 10;

/// One connection from a caller.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    unread: Vec<u8>,
    max_body_bytes: usize,
    sent_bytes: u64,
    /// A request was begun and is not read whole: its beginning is lost if reading is given up.
    is_inside_request: bool,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream, max_body_bytes: usize) -> Self {
        // The events of a stream must not wait for one another; without it only the pace suffers.
        let _set = stream.set_nodelay(true);
        Self { stream, unread: Vec::new(), max_body_bytes, sent_bytes: 0, is_inside_request: false }
    }

    /// Reads the next request; `None` when the caller closed instead.
    pub(crate) async fn read_request(&mut self) -> Result<Option<Request>, ReadError> {
        let Some(head) = self.read_head().await? else { return Ok(None) };
        self.is_inside_request = true;
        let mut request = parse_head(&head)?;
        if request.header("expect").is_some_and(|e| e.eq_ignore_ascii_case("100-continue")) {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        request.body = match body_form(&request)? {
            Some(Framing::Length(length_bytes)) => {
                let length_bytes = usize::try_from(length_bytes).unwrap_or(usize::MAX);
                self.read_bytes(length_bytes, self.max_body_bytes).await?
            }
            Some(Framing::Chunked) => self.read_chunks().await?,
            None => Vec::new(),
        };
        self.is_inside_request = false;
        Ok(Some(request))
    }

    /// Whether reading was given up inside of a request.
    pub(crate) const fn is_inside_request(&self) -> bool {
        self.is_inside_request
    }

    /// Waits for a request without reading it and says its method and path, as far as they have come;
    /// `None` when the caller left instead.
    pub(crate) async fn peek_request(&self) -> Option<(String, String)> {
        if !self.unread.is_empty() {
            return Some(first_words(&self.unread));
        }
        let mut beginning = [0; 1024];
        let count = self.stream.peek(&mut beginning).await.ok().filter(|count| *count != 0)?;
        Some(first_words(beginning.get(..count)?))
    }

    /// Whether the caller has closed, as far as can be known without reading.
    pub(crate) async fn is_left(&self) -> bool {
        // There is something to read, so this is ready at once.
        let ready = self.stream.ready(Interest::READABLE).await;
        ready.is_ok_and(Ready::is_read_closed)
    }

    /// Ends when the caller has closed or reset the connection; until then waits for ever.
    ///
    /// Closing the sending half alone counts too: HTTP clients do not do it, people with `nc` do.
    pub(crate) async fn client_left(&mut self) {
        while self.unread.len() < MAX_HEAD_BYTES {
            // What arrives early is the head of a next request and is kept for it.
            if self.fill().await.is_err() {
                return;
            }
        }
        pending::<()>().await;
    }

    /// Reads and forgets until the caller has left.
    pub(crate) async fn discard(&mut self) {
        while self.fill().await.is_ok() {
            self.unread.clear();
        }
    }

    /// Sends status line and headers.
    pub(crate) async fn send_head(
        &mut self,
        response: &Response,
        framing: Framing,
        closes: bool,
    ) -> io::Result<()> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", response.status, phrase(response.status));
        for (name, value) in &response.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        match framing {
            Framing::Length(bytes) => head.push_str(&format!("content-length: {bytes}\r\n")),
            Framing::Chunked => head.push_str("transfer-encoding: chunked\r\n"),
        }
        head.push_str(if closes { "connection: close\r\n\r\n" } else { "\r\n" });
        self.send(head.as_bytes()).await
    }

    /// Sends bytes as they are.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.sent_bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    /// Sends one chunk of a chunked body; nothing when there is nothing to send, for an empty chunk is
    /// the end.
    pub(crate) async fn send_chunk(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend_from_slice(bytes);
        chunk.extend_from_slice(b"\r\n");
        self.send(&chunk).await
    }

    /// Ends a chunked body.
    pub(crate) async fn send_last_chunk(&mut self) -> io::Result<()> {
        self.send(b"0\r\n\r\n").await
    }

    /// Closes the sending half in good order.
    pub(crate) async fn finish(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }

    /// Makes the coming close a reset.
    pub(crate) fn reset_on_close(&self) -> io::Result<()> {
        self.stream.set_zero_linger()
    }

    /// All bytes sent on this connection.
    pub(crate) const fn sent_bytes(&self) -> u64 {
        self.sent_bytes
    }

    async fn read_head(&mut self) -> Result<Option<Vec<u8>>, ReadError> {
        loop {
            if let Some(end) = find(&self.unread, b"\r\n\r\n") {
                return Ok(Some(self.take(end + 4)));
            }
            if MAX_HEAD_BYTES <= self.unread.len() {
                return Err(ReadError::Malformed("the head is over 32 KiB"));
            }
            match self.fill().await {
                Ok(()) => {}
                Err(_) if self.unread.is_empty() => return Ok(None),
                Err(broken) => return Err(broken.into()),
            }
        }
    }

    async fn read_bytes(
        &mut self,
        wanted: usize,
        limit_bytes: usize,
    ) -> Result<Vec<u8>, ReadError> {
        if limit_bytes < wanted {
            return Err(ReadError::TooLarge { limit_bytes: self.max_body_bytes });
        }
        self.unread.reserve(wanted.saturating_sub(self.unread.len()));
        while self.unread.len() < wanted {
            self.fill().await?;
        }
        Ok(self.take(wanted))
    }

    async fn read_chunks(&mut self) -> Result<Vec<u8>, ReadError> {
        let mut body = Vec::new();
        loop {
            let line = self.read_line().await?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let length_bytes = usize::from_str_radix(digits, 16)
                .map_err(|_| ReadError::Malformed("a chunk without a length"))?;
            if length_bytes == 0 {
                while !self.read_line().await?.is_empty() {} // trailers
                return Ok(body);
            }
            let left_bytes = self.max_body_bytes - body.len();
            body.extend(self.read_bytes(length_bytes, left_bytes).await?);
            if !self.read_line().await?.is_empty() {
                return Err(ReadError::Malformed("a chunk longer than its length"));
            }
        }
    }

    async fn read_line(&mut self) -> Result<String, ReadError> {
        loop {
            if let Some(end) = find(&self.unread, b"\r\n") {
                let mut line = self.take(end + 2);
                line.truncate(end);
                return String::from_utf8(line)
                    .map_err(|_| ReadError::Malformed("a chunk line that is not text"));
            }
            if MAX_CHUNK_LINE_BYTES <= self.unread.len() {
                return Err(ReadError::Malformed("a chunk line over 8 KiB"));
            }
            self.fill().await?;
        }
    }

    /// Reads what is there; a closed connection is an error. Safe to cancel: nothing read is lost.
    async fn fill(&mut self) -> io::Result<()> {
        self.unread.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.unread).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// The first `count` unread bytes, which the caller has seen to be there.
    fn take(&mut self, count: usize) -> Vec<u8> {
        let rest = self.unread.split_off(count.min(self.unread.len()));
        std::mem::replace(&mut self.unread, rest)
    }
}

/// The method and the path that a request begins with.
fn first_words(beginning: &[u8]) -> (String, String) {
    let text = String::from_utf8_lossy(beginning);
    let mut words = text.split([' ', '?', '\r']);
    let mut word = || words.next().unwrap_or_default().to_owned();
    (word(), word())
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn parse_head(head: &[u8]) -> Result<Request, ReadError> {
    let text =
        std::str::from_utf8(head).map_err(|_| ReadError::Malformed("the head is no text"))?;
    let mut lines = text.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some("HTTP/1.1" | "HTTP/1.0"), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(ReadError::Malformed("the first line is not a method, a path and HTTP/1.1"));
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut headers = Vec::new();
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) =
            line.split_once(':').ok_or(ReadError::Malformed("a header without a colon"))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let (method, path, query) = (method.to_owned(), path.to_owned(), query.to_owned());
    Ok(Request { method, path, query, headers, body: Vec::new() })
}

fn body_form(request: &Request) -> Result<Option<Framing>, ReadError> {
    if let Some(coding) = request.header("transfer-encoding") {
        if coding.eq_ignore_ascii_case("chunked") {
            return Ok(Some(Framing::Chunked));
        }
        return Err(ReadError::Malformed("a transfer encoding other than chunked"));
    }
    let Some(length) = request.header("content-length") else { return Ok(None) };
    let length = length.parse().map_err(|_| ReadError::Malformed("a length that is no number"))?;
    Ok(Some(Framing::Length(length)))
}

/// The reason phrase; clients ignore it, people reading a capture do not.
const fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Payload Too Large",
        422 => "Unprocessable Entity",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        529 => "Overloaded",
        _ => "Simulated",
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// What is read from these bytes, sent in two pieces and then closed.
    async fn read(bytes: &[u8]) -> (Result<Option<Request>, ReadError>, Wire) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let mut wire = Wire::new(stream, 64);
        let (first, second) = bytes.split_at(bytes.len() / 2);
        client.write_all(first).await.unwrap();
        client.write_all(second).await.unwrap();
        client.shutdown().await.unwrap();
        (wire.read_request().await, wire)
    }

    #[tokio::test]
    async fn a_body_by_length_ends_where_it_says_and_the_next_request_follows() {
        let bytes = b"POST /v1/messages?a=b HTTP/1.1\r\nX-API-Key: k\r\nContent-Length: 2\r\n\r\n{}GET / HTTP/1.1\r\n\r\n";
        let (request, mut wire) = read(bytes).await;
        let request = request.unwrap().unwrap();
        assert_eq!((request.path.as_str(), request.query.as_str()), ("/v1/messages", "a=b"));
        assert_eq!(request.header("x-api-key"), Some("k"));
        assert_eq!(request.body, b"{}");
        assert_eq!(wire.read_request().await.unwrap().unwrap().method, "GET");
        assert_eq!(wire.read_request().await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_chunked_body_is_put_together() {
        let bytes = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\n{\"a\r\n4\r\n\":1}\r\n0\r\nt: 1\r\n\r\n";
        let (request, _) = read(bytes).await;
        assert_eq!(request.unwrap().unwrap().body, b"{\"a\":1}");
    }

    #[tokio::test]
    async fn what_is_not_a_request_is_refused() {
        for bytes in [
            "HELO there\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-length: many\r\n\r\n",
            "POST / HTTP/1.1\r\nno colon\r\n\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        ] {
            let (request, _) = read(bytes.as_bytes()).await;
            assert!(matches!(request, Err(ReadError::Malformed(_))), "{bytes}: {request:?}");
        }
        let (request, _) = read(b"POST / HTTP/1.1\r\ncontent-length: 65\r\n\r\n").await;
        assert!(matches!(request, Err(ReadError::TooLarge { limit_bytes: 64 })), "{request:?}");
        let (request, _) = read(b"POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\n{").await;
        assert!(matches!(request, Err(ReadError::Broken(_))), "{request:?}");
    }
}
