//! Base64 is how a picture goes over the wire, and so how it is held: one copy for every attempt, its
//! record and whoever still reads a late answer.
//!
//! While an image is judged this is all that is left of it. Its own bytes and its view's, which
//! nobody needs meanwhile, would be as much again twice over, for every image in the gate.

use std::{fmt, str};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

/// A picture in standard base64 with padding. Cloning shares it.
#[derive(Clone, PartialEq, Eq)]
pub struct Base64(Bytes);

impl Base64 {
    /// Encodes `picture`.
    #[must_use]
    pub fn of(picture: &[u8]) -> Self {
        Self(Bytes::from(STANDARD.encode(picture)))
    }

    /// Its letters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // only `of` makes one, of letters
        str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Its letters as bytes to be sent, without a copy.
    #[must_use]
    pub fn shared(&self) -> Bytes {
        self.0.clone()
    }

    /// The picture itself, made anew.
    #[must_use]
    pub fn decoded(&self) -> Bytes {
        Bytes::from(STANDARD.decode(&self.0).unwrap_or_default())
    }
}

impl AsRef<[u8]> for Base64 {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Base64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Base64({} letters)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_comes_back_as_it_was_and_is_shared_without_a_copy() {
        let picture: Vec<u8> = (0..=255).collect();
        let base64 = Base64::of(&picture);
        assert_eq!(base64.decoded(), picture);
        assert!(base64.as_str().starts_with("AAECAwQF"));
        let shared = base64.shared();
        assert_eq!(shared.as_ptr(), base64.as_str().as_ptr());
        assert_eq!(shared, base64.as_str());
    }

    #[test]
    fn a_picture_is_not_printed() {
        assert_eq!(format!("{:?}", Base64::of(b"one")), "Base64(4 letters)");
    }
}
