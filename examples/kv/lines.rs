//! Lines out of a stream of bytes, with a bound.

use bytes::{Buf as _, BytesMut};

/// The bytes of a connection that were read and not handled.
///
/// A line ends with LF; a CR before it is white space to whoever reads the line. What is kept is never more than one line
/// and what was read behind it: the rest of a line that is too long is thrown away as it comes.
#[derive(Default)]
pub(crate) struct Lines {
    buffer: BytesMut,
    /// No LF before this place.
    searched: usize,
    /// Inside of a line that was too long.
    skipping: bool,
}

/// What [`Lines::next`] finds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A line without its LF.
    Whole(BytesMut),
    /// A line that is longer than [`MAX_LINE`]; told once, as soon as it is known.
    TooLong,
}

impl Lines {
    /// Where to read to.
    pub(crate) fn space(&mut self) -> &mut BytesMut {
        self.buffer.reserve(READ);
        &mut self.buffer
    }

    /// The next line, if there is a whole one.
    pub(crate) fn next(&mut self) -> Option<Line> {
        loop {
            let end = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n');
            let Some(end) = end.map(|at| at + self.searched) else { break };
            self.searched = 0;
            let line = self.buffer.split_to(end);
            self.buffer.advance(1);
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            return Some(if line.len() > MAX_LINE { Line::TooLong } else { Line::Whole(line) });
        }
        self.searched = self.buffer.len();
        if self.skipping || self.buffer.len() > MAX_LINE {
            self.forget();
            if !std::mem::replace(&mut self.skipping, true) {
                return Some(Line::TooLong);
            }
        }
        if self.buffer.is_empty() && self.buffer.capacity() > READ {
            self.forget();
        }
        None
    }

    /// Whether a line has begun and not ended.
    pub(crate) fn has_begun(&self) -> bool {
        self.skipping || !self.buffer.is_empty()
    }

    /// Throws away what was read, and its memory.
    pub(crate) fn forget(&mut self) {
        self.buffer = BytesMut::new();
        self.searched = 0;
    }
}

/// The longest line in bytes: a value of 64 KiB, and 4 KiB for the command, the names and the CR.
pub(crate) const MAX_LINE: usize = (64 + 4) * 1024;
/// How much is read at once.
const READ: usize = 4 * 1024;
