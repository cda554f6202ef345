//! A client that says what it expects.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// A connection to a front. What goes wrong is a panic, which fails the test.
pub(crate) struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn new(front: SocketAddr) -> Self {
        let stream = TcpStream::connect(front).expect("a front");
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Self { reader: BufReader::new(stream) }
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        self.reader.get_ref()
    }

    pub(crate) fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.reader.get_mut().write_all(bytes.as_ref()).expect("the front takes it");
    }

    /// The next bytes are these.
    #[track_caller]
    pub(crate) fn hear(&mut self, expected: impl AsRef<[u8]>) {
        let expected = expected.as_ref();
        let mut got = vec![0; expected.len()];
        if let Err(error) = self.reader.read_exact(&mut got) {
            panic!("{error}; expected {}, got {}", shown(expected), shown(&got));
        }
        assert!(got == expected, "expected {}, got {}", shown(expected), shown(&got));
    }

    #[track_caller]
    pub(crate) fn ask(&mut self, question: impl AsRef<[u8]>, answer: impl AsRef<[u8]>) {
        self.say(question);
        self.hear(answer);
    }

    /// A whole line with its end; empty when the front has closed.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line).expect("a line");
        String::from_utf8(line).expect("text")
    }

    /// The answer to a question, which is a line that begins with `ERROR` and says all of `words`.
    #[track_caller]
    pub(crate) fn error(&mut self, question: &str, words: &[&str]) {
        self.say(question);
        let line = self.line();
        assert!(line.starts_with("ERROR ") && line.ends_with("\r\n"), "{question:?}: {line:?}");
        for word in words {
            assert!(line.contains(word), "{question:?}: no {word:?} in {line:?}");
        }
    }

    #[track_caller]
    pub(crate) fn subscribers(&mut self, bucket: &str) -> u64 {
        self.say(format!("COUNT SUBSCRIPTIONS {bucket}\r\n"));
        let count = self.line();
        self.hear("OK\r\n");
        count.trim_end().parse().unwrap_or_else(|_| panic!("a count: {count:?}"))
    }
}

fn shown(bytes: &[u8]) -> String {
    let begin = &bytes[..bytes.len().min(200)];
    format!("{:?} ({} bytes)", String::from_utf8_lossy(begin), bytes.len())
}
