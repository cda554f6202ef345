//! Messages that cross regions: their stable names and their encoding.

use std::cell::{Cell, RefCell};

use bytes::{BufMut, Bytes, BytesMut};
use fedist_transport::wire::type_hash;
use serde::{
    Deserialize, Serialize,
    de::{DeserializeOwned, IgnoredAny},
};

/// A message that other regions may send, known by a stable name and a version.
///
/// Derive it with `#[derive(Message)]` and `#[wire(name = "..", version = ..)]`. On the wire
/// a message is MessagePack with named fields, so that an added `Option` field (or one with
/// `#[serde(default)]`) is compatible in both directions.
pub trait WireMessage:
    actix::Message<Result: Serialize + DeserializeOwned + Send + 'static>
    + Serialize
    + DeserializeOwned
    + Send
    + 'static
{
    /// The stable name, e.g. `chat.post`; never a type path.
    const NAME: &'static str;
    /// The version of the type's shape; told to the receiver with every message.
    const VERSION: u16;
}

/// The hash of a message type's name: what a record on the wire carries.
pub(crate) const fn wire_type<M: WireMessage>() -> u32 {
    type_hash(M::NAME)
}

/// A value could not be turned into bytes: its `Serialize` reported an error.
#[derive(Debug, thiserror::Error)]
#[error("cannot encode {name}: {detail}; its Serialize must succeed for every value; fix the type")]
pub struct EncodeError {
    /// The stable name of the type.
    pub name: &'static str,
    detail: String,
}

/// Bytes do not decode as the type they claim to be.
#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
pub struct DecodeError {
    detail: String,
}

/// Encodes a value of the type called `name`.
///
/// Small values share one allocation: each thread writes into a chunk and hands out
/// slices of it, so that a message costs a reference count instead of a `malloc`.
pub(crate) fn encode<T: Serialize + ?Sized>(
    name: &'static str,
    value: &T,
) -> Result<Bytes, EncodeError> {
    CHUNK.with_borrow_mut(|chunk| {
        if chunk.capacity() < CHUNK_LOW {
            *chunk = BytesMut::with_capacity(CHUNK_LEN);
        }
        let mut writer = chunk.writer();
        match rmp_serde::encode::write_named(&mut writer, value) {
            Ok(()) => Ok(chunk.split().freeze()),
            Err(error) => {
                chunk.clear();
                Err(EncodeError { name, detail: error.to_string() })
            }
        }
    })
}

/// An encoded value, in a buffer that its thread uses again.
pub(crate) struct Encoded(Vec<u8>);

/// Encodes a value that is about to be sent.
pub(crate) fn encode_once<T: Serialize + ?Sized>(
    name: &'static str,
    value: &T,
) -> Result<Encoded, EncodeError> {
    // Taken out, not borrowed: the value's own code may send something else meanwhile.
    let mut encoded = Encoded(SCRATCH.take());
    // Large values come in runs, too, and their buffers are given away.
    encoded.0.reserve(EXPECTED.get());
    rmp_serde::encode::write_named(&mut encoded.0, value)
        .map_err(|error| EncodeError { name, detail: error.to_string() })?;
    EXPECTED.set(encoded.len());
    Ok(encoded)
}

impl Encoded {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Drop for Encoded {
    fn drop(&mut self) {
        if (1..=SCRATCH_MAX).contains(&self.0.capacity()) {
            let mut buffer = std::mem::take(&mut self.0);
            buffer.clear();
            // A thread that ends has no use for it any more.
            let _ = SCRATCH.try_with(|scratch| scratch.set(buffer));
        }
    }
}

/// The body of a record on its way out.
pub(crate) enum Body {
    Encoded(Encoded),
    Shared(Bytes),
}

impl Body {
    pub(crate) fn into_bytes(self) -> Bytes {
        match self {
            Body::Encoded(mut encoded) => Bytes::from(std::mem::take(&mut encoded.0)),
            Body::Shared(bytes) => bytes,
        }
    }
}

impl std::ops::Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Body::Encoded(encoded) => &encoded.0,
            Body::Shared(bytes) => bytes,
        }
    }
}

impl From<Encoded> for Body {
    fn from(encoded: Encoded) -> Self {
        Body::Encoded(encoded)
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Body::Shared(bytes)
    }
}

/// Decodes one value from the whole of `body`: trailing bytes are an error, nesting is limited.
pub(crate) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, DecodeError> {
    // Reading from the slice itself spares strings and byte fields a copy on the way.
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(body);
    deserializer.set_max_depth(MAX_DEPTH);
    let value = T::deserialize(&mut deserializer)
        .map_err(|error| DecodeError { detail: error.to_string() })?;
    // This reader does not tell where it stands; that nothing can be read any more does.
    match IgnoredAny::deserialize(&mut deserializer) {
        Err(rmp_serde::decode::Error::InvalidMarkerRead(end))
            if end.kind() == std::io::ErrorKind::UnexpectedEof =>
        {
            Ok(value)
        }
        _ => Err(DecodeError { detail: "bytes are left behind the value".to_owned() }),
    }
}

thread_local! {
    static CHUNK: RefCell<BytesMut> = RefCell::new(BytesMut::new());
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    /// How long the last value was.
    static EXPECTED: Cell<usize> = const { Cell::new(0) };
}

/// A buffer that has grown beyond this is given back to the system.
const SCRATCH_MAX: usize = 64 * 1024;
const CHUNK_LEN: usize = 64 * 1024;
/// Below this much room a new chunk is cheaper than a growth that copies.
const CHUNK_LOW: usize = 512;
const MAX_DEPTH: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Old {
        a: u32,
    }

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct New {
        a: u32,
        b: Option<String>,
    }

    #[test]
    fn an_added_optional_field_is_compatible_both_ways() {
        let old = encode("t", &Old { a: 7 }).unwrap();
        assert_eq!(decode::<New>(&old).unwrap(), New { a: 7, b: None });
        let new = encode("t", &New { a: 7, b: Some("x".into()) }).unwrap();
        assert_eq!(decode::<Old>(&new).unwrap(), Old { a: 7 });
    }

    #[test]
    fn trailing_bytes_are_refused() {
        let mut bytes = encode("t", &Old { a: 7 }).unwrap().to_vec();
        bytes.push(0xc0);
        assert!(decode::<Old>(&bytes).is_err());
    }

    #[test]
    fn a_failed_encoding_leaves_nothing_behind() {
        struct Bad;
        impl Serialize for Bad {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                use serde::ser::{Error as _, SerializeSeq as _};
                let mut seq = s.serialize_seq(Some(2))?;
                seq.serialize_element("half")?;
                Err(S::Error::custom("no more"))
            }
        }
        assert!(encode("t", &Bad).is_err());
        let good = encode("t", &Old { a: 1 }).unwrap();
        assert_eq!(decode::<Old>(&good).unwrap(), Old { a: 1 });
    }

    #[test]
    fn deep_nesting_is_an_error_and_not_a_stack_overflow() {
        #[derive(Debug, serde::Deserialize)]
        struct Nest(#[allow(dead_code, reason = "only the depth matters")] Vec<Nest>);
        let bytes = vec![0x91_u8; 100_000];
        assert!(decode::<Nest>(&bytes).is_err());
    }
}
