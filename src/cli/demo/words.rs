//! Counting words, whole or in pieces: the same totals either way.
//!
//! A word is a maximal run of Unicode letters (general category L), in lower case. Bytes that are
//! not UTF-8 are skipped as if they were not there, and counted.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

/// Whether a character is a letter: `char::is_alphabetic` also takes marks and letter-like numbers.
pub(crate) fn is_letter(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphabetic();
    }
    c.general_category_group() == GeneralCategoryGroup::Letter
}

/// How often each word occurs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WordCounts {
    words: HashMap<String, u64>,
}

impl WordCounts {
    /// The counts of one text.
    pub(crate) fn of(text: &str) -> Self {
        let mut counts = Self::default();
        counts.add_text(text);
        counts
    }

    /// Adds the words of a text that does not begin or end inside a word.
    pub(crate) fn add_text(&mut self, text: &str) {
        for word in text.split(|c: char| !is_letter(c)) {
            if !word.is_empty() {
                self.add_word(word);
            }
        }
    }

    /// Adds the counts of another text.
    pub(crate) fn merge(&mut self, other: WordCounts) {
        for (word, count) in other.words {
            *self.words.entry(word).or_default() += count;
        }
    }

    /// The number of words.
    pub(crate) fn total(&self) -> u64 {
        self.words.values().sum()
    }

    /// The number of different words.
    pub(crate) fn distinct(&self) -> u64 {
        self.words.len() as u64
    }

    /// The most frequent words; of two with the same count the one earlier in Unicode order.
    pub(crate) fn top(&self, n: usize) -> Vec<(String, u64)> {
        let mut all: Vec<(&String, u64)> = self.words.iter().map(|(w, c)| (w, *c)).collect();
        all.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        all.into_iter().take(n).map(|(word, count)| (word.clone(), count)).collect()
    }

    fn add_word(&mut self, word: &str) {
        // Lower case is of the whole word: what becomes of a sigma depends on its place.
        let lower_ascii = word.bytes().all(|byte| byte.is_ascii_lowercase());
        if lower_ascii && let Some(count) = self.words.get_mut(word) {
            *count += 1;
            return;
        }
        *self.words.entry(word.to_lowercase()).or_default() += 1;
    }
}

/// Counts a stream of bytes in one go, letter by letter: the count that the one in pieces is held against.
#[derive(Default)]
pub(crate) struct WholeCount {
    utf8: Utf8Stream,
    word: String,
    counts: WordCounts,
}

impl WholeCount {
    /// Takes the next bytes of the file.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.utf8.push(bytes, |text| {
            for c in text.chars() {
                if is_letter(c) {
                    self.word.push(c);
                } else if !self.word.is_empty() {
                    self.counts.add_word(&self.word);
                    self.word.clear();
                }
            }
        });
    }

    /// Ends a file, and with it the word that may be open.
    pub(crate) fn end_file(&mut self) {
        self.utf8.end();
        if !self.word.is_empty() {
            self.counts.add_word(&self.word);
            self.word.clear();
        }
    }

    /// The counts of all files that have ended.
    pub(crate) fn counts(&self) -> &WordCounts {
        &self.counts
    }
}

/// Cuts a stream of bytes into texts of about one size, never inside a word.
///
/// Holds one piece at a time; a word that is longer than a piece makes that piece longer.
pub(crate) struct Splitter {
    piece_len: usize,
    buffer: String,
    /// This much of the buffer ends at the edge of a word.
    safe: usize,
    utf8: Utf8Stream,
}

/// Finds the UTF-8 in bytes that come in blocks; what is none is left out and counted.
#[derive(Default)]
struct Utf8Stream {
    /// The beginning of a character whose rest has not come yet, three bytes at most.
    partial: Vec<u8>,
    skipped: u64,
}

impl Utf8Stream {
    fn push(&mut self, bytes: &[u8], mut take: impl FnMut(&str)) {
        let mut joined = std::mem::take(&mut self.partial);
        joined.extend_from_slice(bytes);
        let mut chunks = joined.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            take(chunk.valid());
            let invalid = chunk.invalid();
            let unfinished = chunks.peek().is_none()
                && std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none());
            if unfinished {
                self.partial = invalid.to_vec();
            } else {
                self.skipped += invalid.len() as u64;
            }
        }
    }

    fn end(&mut self) {
        self.skipped += self.partial.len() as u64;
        self.partial.clear();
    }
}

impl Splitter {
    /// Pieces of about `piece_len` bytes, at least 1.
    pub(crate) fn new(piece_len: usize) -> Self {
        Self {
            piece_len: piece_len.max(1),
            buffer: String::new(),
            safe: 0,
            utf8: Utf8Stream::default(),
        }
    }

    /// Takes the next bytes of the file and gives the pieces that are complete.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut pieces = Vec::new();
        let mut utf8 = std::mem::take(&mut self.utf8);
        utf8.push(bytes, |text| self.take(text, &mut pieces));
        self.utf8 = utf8;
        pieces
    }

    /// Ends a file, and with it the word that may be open; the next file goes into the same piece.
    pub(crate) fn end_file(&mut self) {
        self.utf8.end();
        if !self.buffer.is_empty() {
            self.buffer.push('\n');
            self.safe = self.buffer.len();
        }
    }

    /// Ends the text: the last piece, if there is something in it.
    pub(crate) fn finish(&mut self) -> Option<String> {
        self.end_file();
        self.safe = 0;
        Some(std::mem::take(&mut self.buffer)).filter(|piece| !piece.is_empty())
    }

    /// How many bytes were not UTF-8 so far.
    pub(crate) fn skipped(&self) -> u64 {
        self.utf8.skipped
    }

    fn take(&mut self, mut text: &str, pieces: &mut Vec<String>) {
        while !text.is_empty() {
            let room = self.piece_len.saturating_sub(self.buffer.len());
            if room > 0 {
                let (now, later) = text.split_at(boundary_at_or_after(text, room));
                let edge = now.char_indices().rfind(|(_, c)| !is_letter(*c));
                if let Some((at, c)) = edge {
                    self.safe = self.buffer.len() + at + c.len_utf8();
                }
                self.buffer.push_str(now);
                text = later;
            } else if self.safe > 0 {
                let open_word = self.buffer.split_off(self.safe);
                pieces.push(std::mem::replace(&mut self.buffer, open_word));
                self.safe = 0;
            } else {
                // One word fills the piece: it goes on to the end of that word.
                let end = text.find(|c: char| !is_letter(c));
                let (now, later) = text.split_at(end.unwrap_or(text.len()));
                self.buffer.push_str(now);
                if end.is_some() {
                    self.safe = self.buffer.len();
                }
                text = later;
            }
        }
    }
}

fn boundary_at_or_after(text: &str, at: usize) -> usize {
    (at..text.len()).find(|i| text.is_char_boundary(*i)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, word for word, over the whole text at once.
    fn reference(files: &[Vec<u8>]) -> (HashMap<String, u64>, u64) {
        let (mut words, mut skipped) = (HashMap::new(), 0);
        for file in files {
            let mut text = String::new();
            for chunk in file.utf8_chunks() {
                text.push_str(chunk.valid());
                skipped += chunk.invalid().len() as u64;
            }
            let mut word = String::new();
            for c in text.chars().chain(['.']) {
                if is_letter(c) {
                    word.push(c);
                } else if !word.is_empty() {
                    *words.entry(word.to_lowercase()).or_default() += 1;
                    word.clear();
                }
            }
        }
        (words, skipped)
    }

    fn check(files: &[Vec<u8>], piece_len: usize, read_len: usize) {
        let mut splitter = Splitter::new(piece_len);
        let (mut pieces, mut whole) = (WordCounts::default(), WholeCount::default());
        for file in files {
            for block in file.chunks(read_len.max(1)) {
                whole.push(block);
                for piece in splitter.push(block) {
                    pieces.merge(WordCounts::of(&piece));
                }
            }
            whole.end_file();
            splitter.end_file();
        }
        if let Some(piece) = splitter.finish() {
            pieces.merge(WordCounts::of(&piece));
        }
        let (words, skipped) = reference(files);
        assert_eq!(whole.counts().words, words, "counted as a whole");
        assert_eq!(pieces.words, words, "counted in pieces");
        assert_eq!(splitter.skipped(), skipped, "skipped bytes");
        assert_eq!(pieces.total(), words.values().sum::<u64>());
    }

    #[test]
    fn odd_texts_have_equal_counts_at_every_piece_and_read_length() {
        let texts: &[&[u8]] = &[
            b"",
            b"\n\n \n",
            b"\xff\xfe\x80\xc3",
            b"caf\xc3\xa9 caf\xe9s \xe2\x82 end\xf0\x9f\x98",
            "ΟΔΥΣΣΕΥΣ ΟΔΟΣ. ΣΟΦΟΣ' Σ σ ς ΑΣ".as_bytes(),
            "Iıİi DİYARBAKIR ILGAZ ılgaz".as_bytes(),
            "e\u{301}tude \u{1d400}\u{1d401} straße STRASSE ẞ ﬁn Ǆ".as_bytes(),
            "数える 言葉を数える हिन्दी עברית".as_bytes(),
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa b".as_bytes(),
            "x".as_bytes(),
            "don't stop-the_world 3rd a1b2".as_bytes(),
        ];
        let files: Vec<Vec<u8>> = texts.iter().map(|text| text.to_vec()).collect();
        for piece_len in 0..40 {
            for read_len in 1..9 {
                for file in &files {
                    check(std::slice::from_ref(file), piece_len, read_len);
                }
                check(&files, piece_len, read_len);
            }
        }
    }

    #[test]
    fn final_sigma_and_dotted_i_follow_unicode() {
        let counts = WordCounts::of("ΟΔΟΣ οδος Iİ");
        assert_eq!(counts.top(1), [("οδος".to_owned(), 2)]);
        assert!(counts.words.contains_key("ii\u{307}"));
    }

    #[test]
    fn marks_digits_and_letter_numbers_are_no_letters() {
        // The vowel sign in the second is a mark (Mc), the third a letter number (Nl).
        let counts = WordCounts::of("naïve नि Ⅷ x1y_z ªʰ漢字");
        let mut words: Vec<&str> = counts.words.keys().map(String::as_str).collect();
        words.sort_unstable();
        assert_eq!(words, ["naïve", "x", "y", "z", "ªʰ漢字", "न"]);
    }

    #[test]
    fn the_most_frequent_come_first_and_ties_go_by_word() {
        let counts = WordCounts::of("b a c a B d");
        let top = [("a", 2), ("b", 2), ("c", 1)].map(|(word, count)| (word.to_owned(), count));
        assert_eq!(counts.top(3), top);
        assert_eq!((counts.total(), counts.distinct()), (6, 4));
    }

    #[test]
    fn pieces_keep_to_their_length_where_words_allow() {
        let text = "lorem ipsum dolor ".repeat(1000);
        let mut splitter = Splitter::new(256);
        let mut pieces = splitter.push(text.as_bytes());
        pieces.extend(splitter.finish());
        assert!(pieces.len() >= text.len() / 256);
        assert!(pieces.iter().all(|piece| piece.len() <= 257));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn any_bytes_have_equal_counts(
            files in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..4),
            piece_len in 0_usize..64,
            read_len in 1_usize..64,
        ) {
            check(&files, piece_len, read_len);
        }

        #[test]
        fn any_letters_have_equal_counts(
            text in "[aAΣσςİıIßẞ\u{301}' .\u{1d400}नि]{0,120}",
            broken_at in 0_usize..300,
            piece_len in 0_usize..32,
            read_len in 1_usize..16,
        ) {
            let mut bytes = text.into_bytes();
            if broken_at < bytes.len() {
                bytes.insert(broken_at, 0xff);
            }
            check(&[bytes], piece_len, read_len);
        }
    }
}
