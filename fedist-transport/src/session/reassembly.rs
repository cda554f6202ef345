use bytes::Bytes;

use crate::wire::{Fragment, RecordHeader, WireError};

/// Puts the pieces of large records together. Pieces come in order, one record after another.
#[derive(Debug, Default)]
pub(super) struct Reassembly {
    partial: Option<Partial>,
}

#[derive(Debug)]
struct Partial {
    header: RecordHeader,
    body_len: usize,
    /// What has come of the body, as it came: what is claimed costs nothing, and each byte is copied once.
    pieces: Vec<Bytes>,
    len: usize,
}

impl Reassembly {
    /// Takes the next piece; gives the record that it completes.
    ///
    /// # Errors
    /// [`WireError`] if the pieces do not add up to a record of at most `max` bytes. The record is
    /// given up, and its further pieces fail as well.
    pub(super) fn take(
        &mut self,
        fragment: Fragment,
        max: usize,
    ) -> Result<Option<(RecordHeader, Bytes)>, WireError> {
        let mut piece = fragment.piece;
        // Whatever goes wrong below, the record in the making is gone.
        let unfinished = self.partial.take();
        let mut partial = match unfinished {
            Some(_) if fragment.first => {
                return Err(WireError::Inconsistent("a large record begins inside another"));
            }
            Some(partial) => partial,
            None if fragment.first => {
                let (header, len, body_len) = RecordHeader::decode_prefix(&piece)?;
                let body_len = body_len as usize;
                if body_len > max {
                    return Err(WireError::TooLong {
                        what: "record body",
                        len: body_len as u64,
                        max: max as u64,
                    });
                }
                piece = piece.slice(len..);
                Partial { header, body_len, pieces: Vec::new(), len: 0 }
            }
            None => {
                return Err(WireError::Inconsistent("a large record without its first piece"));
            }
        };
        partial.len += piece.len();
        if partial.len > partial.body_len || (fragment.last && partial.len != partial.body_len) {
            return Err(WireError::Inconsistent("the pieces of a large record do not add up"));
        }
        partial.pieces.push(piece);
        if fragment.last {
            return Ok(Some((partial.header, partial.pieces.concat().into())));
        }
        self.partial = Some(partial);
        Ok(None)
    }
}
