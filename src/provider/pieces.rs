//! Pieces are a body that is sent as it is held: text of its own around pictures that many share.
//!
//! A picture in base64 has some 300 KB, and up to three attempts send the same one. Written into
//! each body it would be copied for every attempt and held until the last of them has ended; as a
//! piece it is a reference. No dialect knows: it serialises the picture like any text, and the
//! [`Splicer`] beneath sees that the bytes it is given are the picture's own.

use std::convert::Infallible;
use std::io;
use std::mem;
use std::pin::Pin;
use std::ptr;
use std::task::{Context, Poll};
use std::vec::IntoIter;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::imaging::View;

/// A body, in order. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Pieces(Vec<Bytes>);

impl Pieces {
    /// The whole in one buffer.
    #[must_use]
    pub fn joined(&self) -> Bytes {
        Bytes::from(self.0.concat())
    }

    /// Whether `picture` is in it by reference: not a copy of it.
    #[must_use]
    pub fn shares(&self, picture: &[u8]) -> bool {
        self.0.iter().any(|piece| ptr::eq(piece.as_ref(), picture))
    }

    /// What the client sends: of a length that is known, so that it is announced.
    pub(crate) fn into_sent(self) -> reqwest::Body {
        let left_bytes = self.0.iter().map(|piece| piece.len() as u64).sum();
        reqwest::Body::wrap(Sent { pieces: self.0.into_iter(), left_bytes })
    }
}

impl From<Bytes> for Pieces {
    fn from(whole: Bytes) -> Self {
        Self(vec![whole])
    }
}

/// What is still to be sent.
struct Sent {
    pieces: IntoIter<Bytes>,
    left_bytes: u64,
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.pieces.next();
        let sent_bytes = piece.as_ref().map_or(0, Bytes::len) as u64;
        self.left_bytes = self.left_bytes.saturating_sub(sent_bytes);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.as_slice().is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left_bytes)
    }
}

/// Takes what a serialiser writes, and a reference instead of a copy where that is a whole picture.
pub(crate) struct Splicer<'a> {
    views: &'a [View],
    pieces: Vec<Bytes>,
    text: Vec<u8>,
}

impl<'a> Splicer<'a> {
    /// A body that may hold the pictures of `views`.
    pub(crate) fn new(views: &'a [View]) -> Self {
        Self { views, pieces: Vec::new(), text: Vec::new() }
    }

    /// What was written.
    pub(crate) fn finish(mut self) -> Pieces {
        self.end_text();
        Pieces(self.pieces)
    }

    fn end_text(&mut self) {
        if !self.text.is_empty() {
            self.pieces.push(Bytes::from(mem::take(&mut self.text)));
        }
    }
}

impl io::Write for Splicer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // the same place in memory, not the same letters: that costs nothing, and where a serialiser
        // should give us a copy of the picture the body is as right, only larger
        let own = self.views.iter().find(|view| ptr::eq(view.jpeg.as_ref(), bytes));
        match own {
            Some(view) if !bytes.is_empty() => {
                self.end_text();
                self.pieces.push(view.jpeg.shared());
            }
            Some(_) | None => self.text.extend_from_slice(bytes),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use serde::Serialize;

    use super::*;
    use crate::imaging::Base64;

    fn view(picture: &[u8]) -> View {
        View { id: "whole".to_owned(), width_px: 1, height_px: 1, jpeg: Base64::of(picture) }
    }

    fn written(views: &[View], body: &impl Serialize) -> Pieces {
        let mut splicer = Splicer::new(views);
        serde_json::to_writer(&mut splicer, body).unwrap();
        splicer.finish()
    }

    #[test]
    fn a_picture_is_a_reference_and_all_else_is_text() {
        let views = [view(&[7; 300]), view(&[9; 300])];
        let [one, other] = [&views[0].jpeg, &views[1].jpeg].map(Base64::as_str);
        let body = [("a \"quoted\" text", one), ("and", other), ("again", one)];
        let pieces = written(&views, &body);
        assert_eq!(pieces.joined(), serde_json::to_vec(&body).unwrap());
        assert!(pieces.shares(one.as_bytes()) && pieces.shares(other.as_bytes()));
        assert_eq!(pieces.0.len(), 7);
    }

    #[test]
    fn a_copy_of_a_picture_is_text() {
        let views = [view(&[7; 300])];
        let copy = views[0].jpeg.as_str().to_owned();
        let pieces = written(&views, &copy);
        assert_eq!(pieces.joined(), serde_json::to_vec(&copy).unwrap());
        assert!(!pieces.shares(views[0].jpeg.as_ref()));
    }

    #[test]
    fn a_picture_of_no_letters_takes_no_piece() {
        assert_eq!(written(&[view(b"")], &"").0.len(), 1);
    }

    #[tokio::test]
    async fn what_is_sent_is_as_long_as_it_says() {
        let views = [view(&[7; 300])];
        let pieces = written(&views, &views[0].jpeg.as_str());
        let whole = pieces.joined();
        let sent = pieces.into_sent();
        assert_eq!(sent.size_hint().exact(), Some(whole.len() as u64));
        assert_eq!(sent.collect().await.unwrap().to_bytes(), whole);
        let nothing = Pieces::default().into_sent();
        assert!(nothing.is_end_stream() && nothing.size_hint().exact() == Some(0));
    }
}
