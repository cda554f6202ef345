//! The commands of a client: lines of words, read without regard to how much white space there is.

use bytes::Bytes;

/// What a client may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Create { bucket: Bytes },
    Put { bucket: Bytes, key: Bytes, value: Bytes },
    Get { bucket: Bytes, key: Bytes },
    Delete { bucket: Bytes, key: Bytes },
    Subscribe { bucket: Bytes },
    CountSubscriptions { bucket: Bytes },
    Crash { bucket: Bytes },
}

impl Command {
    /// The command on a line; `None` for an unknown one, and for a known one with the wrong number of words.
    ///
    /// Words are bytes. They need not be text.
    pub(crate) fn parse(line: &[u8]) -> Option<Command> {
        let mut words = line.split(|byte| is_space(*byte)).filter(|word| !word.is_empty());
        let mut list = [&b""[..]; MOST_WORDS];
        let mut count = 0;
        for word in &mut words {
            *list.get_mut(count)? = word;
            count += 1;
        }
        let own = Bytes::copy_from_slice;
        Some(match &list[..count] {
            [b"CREATE", bucket] => Command::Create { bucket: own(bucket) },
            [b"PUT", bucket, key, value] => {
                Command::Put { bucket: own(bucket), key: own(key), value: own(value) }
            }
            [b"GET", bucket, key] => Command::Get { bucket: own(bucket), key: own(key) },
            [b"DELETE", bucket, key] => Command::Delete { bucket: own(bucket), key: own(key) },
            [b"SUBSCRIBE", bucket] => Command::Subscribe { bucket: own(bucket) },
            [b"COUNT", b"SUBSCRIPTIONS", bucket] => {
                Command::CountSubscriptions { bucket: own(bucket) }
            }
            [b"CRASH", bucket] => Command::Crash { bucket: own(bucket) },
            _ => return None,
        })
    }
}

fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == b'\x0b'
}

const MOST_WORDS: usize = 4;
