//! The name of one piece of data, for ever.

use crate::packed_id::packed_id;

packed_id! {
    /// Names one record of data, for ever; its home region is the upper 16 bits.
    ///
    /// ```text
    ///  63            48 47                                            0
    /// ┌────────────────┬───────────────────────────────────────────────┐
    /// │ home, 16 bit   │ local id, 48 bit                              │
    /// └────────────────┴───────────────────────────────────────────────┘
    /// ```
    ///
    /// The same split as [`RegionPid`](crate::RegionPid), another type and another text: `7#42`. Each kind refuses the
    /// other's text, so a record id pasted where a pid belongs is an error and not a stranger's actor. (Quote it in a shell.)
    RecordId, what: "record id", form: "'7#42'", separator: "#"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{IdError, RegionPid};

    #[test]
    fn a_record_id_and_a_pid_refuse_each_others_text() {
        assert!(matches!("7.42".parse::<RecordId>(), Err(IdError::Malformed { .. })));
        assert!(matches!("7#42".parse::<RegionPid>(), Err(IdError::Malformed { .. })));
        assert_eq!("7#42".parse::<RecordId>().unwrap().to_string(), "7#42");
    }
}
