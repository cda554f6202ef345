//! What needs no process: commands and lines.

use bytes::Bytes;
use fedist_testkit::TestResult;

use super::kv::{
    command::Command,
    lines::{Line, Lines, MAX_LINE},
};

pub(crate) fn commands() -> TestResult {
    let own = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let check = |line: &str, command: Option<Command>| {
        assert_eq!(Command::parse(line.as_bytes()), command, "{line:?}");
    };
    let bucket = own("shopping");
    let create = Some(Command::Create { bucket: bucket.clone() });
    for line in [
        "CREATE shopping\r",
        "CREATE shopping",
        "CREATE  shopping  \r",
        "\t CREATE\x0bshopping \x0c",
    ] {
        check(line, create.clone());
    }
    let (key, value) = (own("milk"), own("1"));
    check(
        "PUT shopping milk 1\r",
        Some(Command::Put { bucket: bucket.clone(), key: key.clone(), value }),
    );
    check("GET shopping milk\r", Some(Command::Get { bucket: bucket.clone(), key }));
    check(
        "DELETE shopping eggs\r",
        Some(Command::Delete { bucket: bucket.clone(), key: own("eggs") }),
    );
    check("SUBSCRIBE shopping\r", Some(Command::Subscribe { bucket: bucket.clone() }));
    check("COUNT SUBSCRIPTIONS shopping", Some(Command::CountSubscriptions { bucket }));
    for line in [
        "",
        "\r",
        "   ",
        "UNKNOWN shopping eggs\r",
        "create shopping",
        "CREATE",
        "CREATE two words",
        "GET shopping\r",
        "GET shopping milk now",
        "PUT shopping milk",
        "PUT shopping milk 1 2",
        "PUT a b c d e f g h",
        "DELETE shopping",
        "SUBSCRIBE",
        "COUNT shopping",
        "CREATE\0 shopping",
    ] {
        check(line, None);
    }
    let bytes = b"GET \xff\xfe \x00\x80";
    let (bucket, key) = (Bytes::from_static(b"\xff\xfe"), Bytes::from_static(b"\x00\x80"));
    assert_eq!(Command::parse(bytes), Some(Command::Get { bucket, key }));
    Ok(())
}

/// All lines that come out when `text` comes in pieces of `piece` bytes; a long one as `None`.
fn lines_of(text: &[u8], piece: usize) -> Vec<Option<Vec<u8>>> {
    let mut lines = Lines::default();
    let mut found = Vec::new();
    for piece in text.chunks(piece) {
        lines.space().extend_from_slice(piece);
        while let Some(line) = lines.next() {
            found.push(match line {
                Line::Whole(line) => Some(line.to_vec()),
                Line::TooLong => None,
            });
        }
        assert!(lines.space().len() <= MAX_LINE, "no more is kept than a line");
    }
    found
}

pub(crate) fn lines() -> TestResult {
    let whole = |text: &[u8]| Some(text.to_vec());
    let longest = vec![b'x'; MAX_LINE];
    let long = vec![b'y'; 3 * MAX_LINE];
    let cases = [
        (b"a\r\nb\n\nc".to_vec(), vec![whole(b"a\r"), whole(b"b"), whole(b"")]),
        (b"".to_vec(), vec![]),
        (b"no end".to_vec(), vec![]),
        ([&longest[..], b"\nz\n"].concat(), vec![Some(longest.clone()), whole(b"z")]),
        ([&longest[..], b"x\nz\n"].concat(), vec![None, whole(b"z")]),
        (
            [b"a\n", &long[..], b"\nb\n", &long[..], b"\nc\n"].concat(),
            vec![whole(b"a"), None, whole(b"b"), None, whole(b"c")],
        ),
    ];
    for (text, expected) in &cases {
        for piece in [1, 2, 7, 4_096, 65_536] {
            let found = lines_of(text, piece);
            assert!(found == *expected, "{} bytes in pieces of {piece}", text.len());
        }
    }
    Ok(())
}
