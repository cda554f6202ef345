//! One source of addresses, and what its answers mean.

use std::collections::{BTreeMap, BTreeSet};

use super::{SourceStatus, check_address};

/// What one source has said so far.
#[derive(Clone, Debug)]
pub(super) struct Source {
    name: String,
    /// Answers in a row that must lack an address before it goes.
    gone_after: u32,
    /// Addresses that are held because of it, and how many answers in a row have lacked each.
    held: BTreeMap<String, u32>,
    /// Answers without any address in a row.
    empties: u32,
    answers: u64,
    failures: u64,
    refused: usize,
    over_limit: usize,
    error: Option<String>,
}

impl Source {
    pub(super) fn new(name: String, gone_after: u32) -> Self {
        Source {
            name,
            gone_after: gone_after.max(1),
            held: BTreeMap::new(),
            empties: 0,
            answers: 0,
            failures: 0,
            refused: 0,
            over_limit: 0,
            error: None,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn has(&self, address: &str) -> bool {
        self.held.contains_key(address)
    }

    /// It could not say anything: what it said last holds.
    pub(super) fn handle_failure(&mut self, error: String) {
        self.failures += 1;
        self.error = Some(error);
    }

    /// It has answered. `room` says whether there is room for one more address, and takes it.
    pub(super) fn handle_answer(
        &mut self,
        addresses: &[String],
        mut room: impl FnMut(&str) -> bool,
    ) {
        let mut bad = None;
        (self.refused, self.over_limit) = (0, 0);
        let mut said: BTreeSet<&str> = BTreeSet::new();
        let mut in_order: Vec<&str> = Vec::new();
        for address in addresses.iter().map(|address| address.trim()) {
            match check_address(address) {
                Ok(()) if said.insert(address) => in_order.push(address),
                Ok(()) => {}
                Err(error) => {
                    self.refused += 1;
                    bad.get_or_insert(error);
                }
            }
        }
        if let Some(error) = bad
            && in_order.is_empty()
        {
            // Nothing in it makes sense: that is no answer.
            return self.handle_failure(error.to_string());
        }
        self.answers += 1;
        self.error = bad.map(|error| error.to_string());
        if in_order.is_empty() && !self.held.is_empty() {
            self.empties += 1;
            if self.empties < EMPTY_AFTER.max(self.gone_after) {
                self.error = Some(format!(
                    "it has no address any more, for the {} time in a row; what it had before is kept until the {}",
                    ordinal(self.empties),
                    ordinal(EMPTY_AFTER.max(self.gone_after))
                ));
                return;
            }
            self.held.clear();
            return;
        }
        self.empties = 0;
        let gone_after = self.gone_after;
        self.held.retain(|address, lacked| {
            *lacked = if said.contains(address.as_str()) { 0 } else { lacked.saturating_add(1) };
            *lacked < gone_after
        });
        for address in in_order {
            if self.held.contains_key(address) {
                continue;
            }
            if room(address) {
                self.held.insert(address.to_owned(), 0);
            } else {
                self.over_limit += 1;
            }
        }
    }

    pub(super) fn status(&self) -> SourceStatus {
        SourceStatus {
            name: self.name.clone(),
            addresses: self.held.len(),
            answers: self.answers,
            failures: self.failures,
            refused: self.refused,
            over_limit: self.over_limit,
            error: self.error.clone(),
        }
    }
}

fn ordinal(number: u32) -> String {
    let ending = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

/// Answers in a row without any address before that is believed.
const EMPTY_AFTER: u32 = 3;
