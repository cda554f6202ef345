use bytes::{Bytes, BytesMut};

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
    body: BytesMut,
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
                // Grows with what really arrives, not with what was claimed.
                Partial { header, body_len, body: BytesMut::new() }
            }
            None => {
                return Err(WireError::Inconsistent("a large record without its first piece"));
            }
        };
        let len = partial.body.len() + piece.len();
        if len > partial.body_len || (fragment.last && len != partial.body_len) {
            return Err(WireError::Inconsistent("the pieces of a large record do not add up"));
        }
        partial.body.extend_from_slice(&piece);
        if fragment.last {
            return Ok(Some((partial.header, partial.body.freeze())));
        }
        self.partial = Some(partial);
        Ok(None)
    }
}
