//! Ids survive every form they travel in, and each has one text only.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use fedist_registry::{IdError, LocalId, RecordId, RegionId, RegionName, RegionPid};
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

fn any_region() -> impl Strategy<Value = RegionId> {
    prop_oneof![1_u16..=4, 1_u16..=65_534, 65_531_u16..=65_534]
        .prop_map(|id| RegionId::new(id).unwrap())
}

fn any_local() -> impl Strategy<Value = LocalId> {
    let max = LocalId::MAX.get();
    prop_oneof![1..=300_u64, 1..=max, max - 3..=max].prop_map(|id| LocalId::new(id).unwrap())
}

/// Texts that are ids, nearly ids, or anything.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof!["[0-9]{0,16}", "[0-9]{1,5}[.#][0-9]{1,16}", "[0-9.#+ -]{0,8}", "\\PC{0,12}"]
}

fn survives<T>(id: T) -> Result<(), TestCaseError>
where
    T: Copy + Debug + Display + FromStr<Err = IdError> + PartialEq + Serialize + DeserializeOwned,
{
    prop_assert_eq!(id.to_string().parse::<T>(), Ok(id));
    prop_assert_eq!(rmp_serde::from_slice::<T>(&rmp_serde::to_vec(&id).unwrap()).unwrap(), id);
    prop_assert_eq!(serde_json::from_str::<T>(&serde_json::to_string(&id).unwrap()).unwrap(), id);
    Ok(())
}

/// With the above: text and id are one to one.
fn reads_only_what_it_prints<T: Display + FromStr>(text: &str) -> Result<(), TestCaseError> {
    if let Ok(id) = text.parse::<T>() {
        prop_assert_eq!(id.to_string(), text);
    }
    Ok(())
}

proptest! {
    #[test]
    fn ids_survive_text_messagepack_and_json(region in any_region(), local in any_local()) {
        survives(region)?;
        survives(local)?;
        survives(RegionPid::new(region, local))?;
        survives(RecordId::new(region, local))?;
    }

    #[test]
    fn a_pid_keeps_both_parts_in_bits_and_in_sql(region in any_region(), local in any_local()) {
        let pid = RegionPid::new(region, local);
        prop_assert_eq!((pid.region(), pid.local()), (region, local));
        prop_assert_eq!(pid.to_bits(), u64::from(region.get()) * (1 << 48) + local.get());
        prop_assert_eq!(RegionPid::from_bits(pid.to_bits()), Ok(pid));
        prop_assert_eq!(RegionPid::from_i64(pid.to_i64()), Ok(pid));
        prop_assert_eq!(pid.is_service(), local.get() <= 255);
        prop_assert_eq!(serde_json::to_string(&pid).unwrap(), pid.to_bits().to_string());
    }

    #[test]
    fn any_bits_are_a_pid_or_refused_and_serde_agrees(bits in any::<u64>()) {
        let valid = !matches!(bits >> 48, 0 | 0xffff) && bits << 16 != 0;
        prop_assert_eq!(RegionPid::from_bits(bits).is_ok(), valid);
        prop_assert_eq!(serde_json::from_str::<RecordId>(&bits.to_string()).is_ok(), valid);
    }

    #[test]
    fn any_text_is_refused_or_is_the_printed_form(text in any_text()) {
        reads_only_what_it_prints::<RegionId>(&text)?;
        reads_only_what_it_prints::<LocalId>(&text)?;
        reads_only_what_it_prints::<RegionPid>(&text)?;
        reads_only_what_it_prints::<RecordId>(&text)?;
        reads_only_what_it_prints::<RegionName>(&text)?;
        let readings = [
            text.parse::<RegionId>().is_ok() || text.parse::<LocalId>().is_ok(),
            text.parse::<RegionPid>().is_ok(),
            text.parse::<RecordId>().is_ok(),
            text.parse::<RegionName>().is_ok(),
        ];
        prop_assert!(readings.iter().filter(|read| **read).count() <= 1, "a text is one kind of thing: {readings:?}");
    }

    #[test]
    fn pids_sort_by_region_and_then_by_local_id(a in (any_region(), any_local()), b in (any_region(), any_local())) {
        prop_assert_eq!(RegionPid::new(a.0, a.1).cmp(&RegionPid::new(b.0, b.1)), a.cmp(&b));
    }
}
