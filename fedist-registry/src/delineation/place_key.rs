//! A key as the rules in the box see it.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, SeqAccess, Visitor, value::MapAccessDeserializer},
};

use crate::{Coordinates, LocalId, RecordId, RegionId, RegionPid};

/// What the rules in the box may want to know of a thing: its name or its number, how much work it is, where its data lies,
/// whom it should be near to.
///
/// Texts, bytes, numbers and ids turn into it (`"user-1".into()`), also when they were encoded as what they are: whoever
/// asks for the home of a `String` need not know of this type. Anything else counts as a name made of its encoded bytes.
///
/// ```
/// use fedist_registry::{PlaceKey, RegionId};
///
/// let file = PlaceKey::named("src/lib.rs").work(12_000).data_at(RegionId::new(3)?, 12_000);
/// assert_eq!(file.name(), b"src/lib.rs");
/// # Ok::<(), fedist_registry::IdError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct PlaceKey {
    name: Vec<u8>,
    number: Option<u64>,
    work: u64,
    carries: u64,
    data: Vec<DataAt>,
    near: Option<Near>,
}

/// Bytes of a thing's data that lie in a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataAt {
    /// Where.
    pub region: RegionId,
    /// How much.
    pub bytes: u64,
}

/// What something should be near to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Near {
    /// A region.
    Region(RegionId),
    /// The region that serves an actor.
    Pid(RegionPid),
    /// A place on the globe.
    Place(Coordinates),
}

impl Default for PlaceKey {
    fn default() -> Self {
        Self { name: Vec::new(), number: None, work: 1, carries: 0, data: Vec::new(), near: None }
    }
}

impl PlaceKey {
    /// A thing with a name: text or bytes.
    pub fn named(name: impl AsRef<[u8]>) -> Self {
        Self { name: name.as_ref().to_vec(), ..Self::default() }
    }

    /// A thing with a number: a pid's or a record id's 64 bits, or its turn in a row.
    pub fn numbered(number: u64) -> Self {
        Self { number: Some(number), ..Self::default() }
    }

    /// With a number beside its name.
    pub fn number(mut self, number: u64) -> Self {
        self.number = Some(number);
        self
    }

    /// How much work it is, in whatever unit the application counts in (bytes, rows, frames); 1 unless said otherwise.
    pub fn work(mut self, units: u64) -> Self {
        self.work = units;
        self
    }

    /// How many bytes have to travel from the asking region with it.
    pub fn carries(mut self, bytes: u64) -> Self {
        self.carries = bytes;
        self
    }

    /// Says that `bytes` of its data lie in `region`; may be said of several regions.
    pub fn data_at(mut self, region: RegionId, bytes: u64) -> Self {
        self.data.push(DataAt { region, bytes });
        self
    }

    /// What it should be near to.
    pub fn near(mut self, near: Near) -> Self {
        self.near = Some(near);
        self
    }

    /// The name; empty for a thing that has only a number.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// What stands for the thing where bytes are wanted: its name, else its number in eight bytes, big-endian.
    pub fn bytes(&self) -> Cow<'_, [u8]> {
        match self.number {
            Some(number) if self.name.is_empty() => Cow::Owned(number.to_be_bytes().to_vec()),
            _ => Cow::Borrowed(&self.name),
        }
    }

    /// The number.
    pub fn get_number(&self) -> Option<u64> {
        self.number
    }

    /// The number as an id: its region and what it is inside of it.
    pub fn id(&self) -> Option<(RegionId, LocalId)> {
        let pid = RegionPid::from_bits(self.number?).ok()?;
        Some((pid.region(), pid.local()))
    }

    /// How much work it is.
    pub fn get_work(&self) -> u64 {
        self.work
    }

    /// How many bytes have to travel from the asking region with it.
    pub fn get_carries(&self) -> u64 {
        self.carries
    }

    /// Where its data lies.
    pub fn data(&self) -> &[DataAt] {
        &self.data
    }

    /// What it should be near to.
    pub fn get_near(&self) -> Option<Near> {
        self.near
    }

    /// The key behind encoded bytes (MessagePack): what text, bytes, numbers, ids and `PlaceKey`s are encoded to is
    /// understood, anything else is a name of just these bytes.
    pub fn from_encoded(bytes: &[u8]) -> Self {
        rmp_serde::from_slice(bytes).unwrap_or_else(|_| PlaceKey::named(bytes))
    }

    /// Whether its name or its number is all there is to say.
    fn is_plain(&self) -> bool {
        self.work == 1 && self.carries == 0 && self.data.is_empty() && self.near.is_none()
    }
}

/// As an error shows it: its name, else its number.
impl fmt::Display for PlaceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            Some(number) if self.name.is_empty() => write!(f, "{number}"),
            _ => {
                let shown = &self.name[..self.name.len().min(SHOWN)];
                write!(f, "{}", String::from_utf8_lossy(shown).escape_debug())?;
                if shown.len() < self.name.len() {
                    f.write_str("…")?;
                }
                Ok(())
            }
        }
    }
}

const SHOWN: usize = 80;

macro_rules! from_name {
    ($($name:ty),*) => {
        $(impl From<$name> for PlaceKey {
            fn from(name: $name) -> Self {
                PlaceKey::named(name)
            }
        })*
    };
}
from_name!(&str, String, &String, &[u8], Vec<u8>);

impl From<u64> for PlaceKey {
    fn from(number: u64) -> Self {
        PlaceKey::numbered(number)
    }
}

impl From<RegionPid> for PlaceKey {
    fn from(pid: RegionPid) -> Self {
        PlaceKey::numbered(pid.to_bits())
    }
}

impl From<RecordId> for PlaceKey {
    fn from(id: RecordId) -> Self {
        PlaceKey::numbered(id.to_bits())
    }
}

/// The long form.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    /// Tells it from maps that applications encode.
    place: u8,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    name: Vec<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    number: Option<u64>,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    work: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    carries: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    data: Vec<DataAt>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    near: Option<Near>,
}

fn one() -> u64 {
    1
}

fn is_one(value: &u64) -> bool {
    *value == 1
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

impl Serialize for PlaceKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.is_plain(), self.number) {
            (true, Some(number)) if self.name.is_empty() => serializer.serialize_u64(number),
            (true, None) => match std::str::from_utf8(&self.name) {
                Ok(text) => serializer.serialize_str(text),
                Err(_) => serializer.serialize_bytes(&self.name),
            },
            _ => Fields {
                place: FORM,
                name: self.name.clone(),
                number: self.number,
                work: self.work,
                carries: self.carries,
                data: self.data.clone(),
                near: self.near,
            }
            .serialize(serializer),
        }
    }
}

const FORM: u8 = 1;

impl<'de> Deserialize<'de> for PlaceKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyKey)
    }
}

struct AnyKey;

impl<'de> Visitor<'de> for AnyKey {
    type Value = PlaceKey;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, bytes, a number, or a place key")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<PlaceKey, E> {
        Ok(PlaceKey::named(text))
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<PlaceKey, E> {
        Ok(PlaceKey::named(bytes))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<PlaceKey, E> {
        Ok(PlaceKey::numbered(number))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<PlaceKey, E> {
        // The same bits: ids of regions from 32768 up are negative in SQL.
        Ok(PlaceKey::numbered(number as u64))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<PlaceKey, D::Error> {
        inner.deserialize_any(AnyKey)
    }

    /// What a `Vec<u8>` is encoded to.
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<PlaceKey, A::Error> {
        let mut name = Vec::new();
        while let Some(byte) = seq.next_element::<u8>()? {
            name.push(byte);
        }
        Ok(PlaceKey { name, ..PlaceKey::default() })
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<PlaceKey, A::Error> {
        let fields = Fields::deserialize(MapAccessDeserializer::new(map))?;
        if fields.place != FORM {
            return Err(de::Error::custom("unknown form of a place key"));
        }
        let Fields { name, number, work, carries, data, near, .. } = fields;
        Ok(PlaceKey { name, number, work, carries, data, near })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coded<T: Serialize + ?Sized>(value: &T) -> PlaceKey {
        PlaceKey::from_encoded(&rmp_serde::to_vec_named(value).unwrap())
    }

    #[test]
    fn what_applications_use_as_keys_is_understood_as_it_is_encoded() {
        #[derive(Serialize)]
        struct UserId(u64);
        #[derive(Serialize)]
        struct Room<'a> {
            town: &'a str,
            number: u8,
        }
        let pid: RegionPid = "7.42".parse().unwrap();
        assert_eq!(coded("user-1"), PlaceKey::named("user-1"));
        assert_eq!(coded(&"user-1".to_owned()), PlaceKey::from("user-1"));
        assert_eq!(coded(&vec![0xff_u8, 1]), PlaceKey::named([0xff, 1]));
        assert_eq!(coded(&9_u64), PlaceKey::numbered(9));
        assert_eq!(coded(&UserId(9)), PlaceKey::numbered(9));
        assert_eq!(coded(&pid), PlaceKey::from(pid));
        assert_eq!(coded(&pid).id(), Some((pid.region(), pid.local())));
        let room = Room { town: "Rome", number: 3 };
        let bytes = rmp_serde::to_vec_named(&room).unwrap();
        assert_eq!(coded(&room), PlaceKey::named(bytes), "a key of another form is its bytes");
    }

    #[test]
    fn a_place_key_comes_back_as_it_was() {
        let seven = RegionId::new(7).unwrap();
        let keys = [
            PlaceKey::default(),
            PlaceKey::named("a"),
            PlaceKey::named([0xfe, 0xff]),
            PlaceKey::numbered(u64::MAX),
            PlaceKey::named("a").number(3),
            PlaceKey::named("").work(0),
            PlaceKey::named("a").work(9).carries(8).data_at(seven, 7).data_at(RegionId::MIN, 1),
            PlaceKey::numbered(1).near(Near::Region(seven)),
            PlaceKey::numbered(1).near(Near::Place(Coordinates { lat: 1.5, lon: -2.0 })),
            PlaceKey::numbered(1).near(Near::Pid("7.42".parse().unwrap())),
        ];
        for key in keys {
            assert_eq!(coded(&key), key);
            let text = serde_json::to_string(&key).unwrap();
            assert_eq!(serde_json::from_str::<PlaceKey>(&text).unwrap(), key, "{text}");
        }
    }

    #[test]
    fn long_and_binary_names_are_shown_short_and_readable() {
        assert_eq!(PlaceKey::named("a\r\nb").to_string(), "a\\r\\nb");
        assert_eq!(PlaceKey::numbered(12).to_string(), "12");
        let shown = PlaceKey::named([0xff; 1_000]).to_string();
        assert!(shown.ends_with('…') && shown.chars().count() <= 81, "{shown}");
    }
}
