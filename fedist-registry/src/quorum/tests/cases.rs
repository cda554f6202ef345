//! Cases at a table: one engine, one message, and what must come of it.

use super::entry::{Entry, region, regions};
use crate::{
    Micros,
    quorum::{
        Appended, LogPoint, Proposed, Quorum, QuorumConfig, QuorumEntry, QuorumMessage, Saved,
    },
};

/// Region 1 with a log of three entries of term 1, the first of which sets the candidates, and nothing else on disk.
fn engine(set: &[u16], undecided: usize) -> Quorum<Entry> {
    let log = log(set);
    let (decided, tail) = log.split_at(log.len() - undecided);
    let saved = Saved { term: 1, vote: None, tail: tail.to_vec() };
    let committed = decided.last().unwrap().point();
    let voters = regions(set);
    let config = QuorumConfig::default();
    Quorum::new(region(1), config, Micros::ZERO, committed, &voters, saved, &mut || 0)
}

fn log(set: &[u16]) -> Vec<Entry> {
    let mut log = vec![Entry::setting(LogPoint::EMPTY, 1, set)];
    for payload in [1, 2] {
        log.push(Entry::after(log.last().unwrap().point(), 1, payload));
    }
    log
}

fn secs(secs: u64) -> Micros {
    Micros::from_secs(secs)
}

/// Makes the engine stand and gives it the votes of region 2.
fn elect(engine: &mut Quorum<Entry>, now: Micros) {
    engine.tick(now, &mut || 0);
    let term = engine.term();
    let yes = QuorumMessage::PreVoteReply { term, about: term + 1, granted: true };
    engine.handle_message(now, region(2), yes);
    let yes = QuorumMessage::VoteReply { term: term + 1, granted: true };
    engine.handle_message(now, region(2), yes);
    assert!(engine.is_leader());
    assert!(engine.poll().elected);
    let first = Entry::after(engine.last(), engine.term(), 9);
    engine.propose(now, first).unwrap();
}

fn answer(engine: &mut Quorum<Entry>) -> QuorumMessage<Entry> {
    let mut messages = engine.poll().messages;
    assert_eq!(messages.len(), 1, "{messages:?}");
    messages.remove(0).1
}

#[test]
fn a_single_candidate_leads_at_once_and_decides_alone() {
    let mut engine = engine(&[1], 0);
    engine.tick(Micros::ZERO, &mut || 0);
    assert!(engine.is_leader());
    let ready = engine.poll();
    assert!(ready.elected);
    assert_eq!(ready.save.unwrap().vote, Some(region(1)));
    assert_eq!(engine.lease_until(), Some(Micros::MAX));
    let first = Entry::after(engine.last(), 2, 1);
    engine.propose(Micros::ZERO, first.clone()).unwrap();
    let ready = engine.poll();
    assert_eq!(ready.committed, [first]);
    assert!(ready.save.unwrap().tail.is_empty(), "what is decided is the registry's");
}

#[test]
fn nobody_stands_before_the_pre_vote_is_won() {
    let mut engine = engine(&[1, 2, 3], 0);
    engine.tick(secs(3), &mut || 0);
    assert_eq!(engine.term(), 1);
    let ready = engine.poll();
    assert!(ready.save.is_none(), "a pre-vote binds nobody");
    assert_eq!(ready.messages.len(), 2);
    let no = QuorumMessage::PreVoteReply { term: 1, about: 2, granted: false };
    engine.handle_message(secs(3), region(2), no);
    let other = QuorumMessage::PreVoteReply { term: 1, about: 7, granted: true };
    engine.handle_message(secs(3), region(2), other);
    assert_eq!(engine.term(), 1);
    let yes = QuorumMessage::PreVoteReply { term: 1, about: 2, granted: true };
    engine.handle_message(secs(3), region(3), yes);
    assert_eq!(engine.term(), 2);
    assert_eq!(engine.poll().save.unwrap().vote, Some(region(1)));
}

#[test]
fn a_vote_goes_to_one_up_to_date_region_per_term_and_is_saved() {
    let good = log(&[1, 2, 3])[2].point();
    let short = log(&[1, 2, 3])[1].point();
    let longer_of_old_term = LogPoint { term: 0, ..good };
    for (last, granted) in [(good, true), (short, false), (longer_of_old_term, false)] {
        let mut engine = engine(&[1, 2, 3], 0);
        engine.handle_message(secs(3), region(2), QuorumMessage::Vote { term: 2, last });
        let ready = engine.poll();
        assert_eq!(ready.save.map(|saved| (saved.term, saved.vote.is_some())), Some((2, granted)));
        let reply = QuorumMessage::VoteReply { term: 2, granted };
        assert_eq!(ready.messages, [(region(2), reply)]);
        engine.handle_message(secs(3), region(3), QuorumMessage::Vote { term: 2, last: good });
        let reply = QuorumMessage::VoteReply { term: 2, granted: !granted };
        assert_eq!(answer(&mut engine), reply, "one vote");
    }
}

#[test]
fn who_hears_a_leader_votes_for_nobody_else() {
    let mut engine = engine(&[1, 2, 3], 0);
    let last = engine.last();
    let sign =
        |sent| QuorumMessage::Append { term: 1, prev: last, entries: vec![], committed: 3, sent };
    engine.handle_message(secs(10), region(2), sign(secs(5)));
    let reply =
        QuorumMessage::AppendReply { term: 1, outcome: Appended::Matched(3), sent: secs(5) };
    assert_eq!(answer(&mut engine), reply);
    assert_eq!(engine.leader(), Some(region(2)));
    engine.handle_message(secs(11), region(3), QuorumMessage::Vote { term: 5, last });
    assert!(engine.poll().messages.is_empty());
    assert_eq!(engine.term(), 1, "a region that was cut off disturbs nobody");
    engine.handle_message(secs(11), region(3), QuorumMessage::PreVote { term: 5, last });
    assert!(matches!(answer(&mut engine), QuorumMessage::PreVoteReply { granted: false, .. }));
    engine.handle_message(secs(13), region(3), QuorumMessage::Vote { term: 5, last });
    assert!(matches!(answer(&mut engine), QuorumMessage::VoteReply { granted: true, .. }));
}

#[test]
fn strangers_are_not_listened_to_but_what_they_know_is_fetched() {
    let mut engine = engine(&[1, 2, 3], 0);
    let last = engine.last();
    engine.handle_message(secs(9), region(7), QuorumMessage::Vote { term: 9, last });
    let ready = engine.poll();
    assert!(ready.messages.is_empty() && ready.save.is_none());
    assert_eq!(ready.fetch, Some(region(7)));
}

#[test]
fn a_conflicting_tail_is_replaced_and_decided_entries_are_not() {
    let held = log(&[1, 2, 3]);
    for undecided in 0..3 {
        let mut engine = engine(&[1, 2, 3], undecided);
        let decided = engine.committed().version.index;
        let other = Entry::after(held[0].point(), 2, 77);
        let append = QuorumMessage::Append {
            term: 2,
            prev: held[0].point(),
            entries: vec![other.clone()],
            committed: 1,
            sent: Micros::ZERO,
        };
        engine.handle_message(secs(3), region(2), append);
        let QuorumMessage::AppendReply { outcome, .. } = answer(&mut engine) else {
            panic!("an append is answered");
        };
        if undecided == 2 {
            assert_eq!(outcome, Appended::Matched(2));
            assert_eq!(engine.last(), other.point());
        } else {
            // Without undecided entries the place is older than what is kept, and nothing is compared.
            assert!(undecided == 0 || outcome == Appended::Matched(1), "{outcome:?}");
            assert_eq!(engine.committed().version.index, decided);
            assert_eq!(engine.last(), held[2].point(), "nothing is taken back");
        }
    }
}

#[test]
fn a_leader_decides_old_entries_with_the_first_of_its_own() {
    let mut engine = engine(&[1, 2, 3], 2);
    elect(&mut engine, secs(3));
    let matched = |index| QuorumMessage::AppendReply {
        term: 2,
        outcome: Appended::Matched(index),
        sent: secs(3),
    };
    engine.handle_message(secs(3), region(2), matched(3));
    assert!(engine.poll().committed.is_empty(), "a majority holds entry 3, but it is of term 1");
    engine.handle_message(secs(3), region(2), matched(99));
    assert_eq!(engine.refused(), 1, "more than there is");
    engine.handle_message(secs(3), region(2), matched(4));
    let decided: Vec<u64> = engine.poll().committed.iter().map(|entry| entry.index).collect();
    assert_eq!(decided, [2, 3, 4]);
}

#[test]
fn a_leader_without_its_majority_steps_down_after_its_lease() {
    let mut engine = engine(&[1, 2, 3], 0);
    elect(&mut engine, secs(3));
    assert_eq!(engine.lease_until(), Some(Micros::from_millis(4_800)));
    let heard =
        QuorumMessage::AppendReply { term: 2, outcome: Appended::Matched(3), sent: secs(4) };
    engine.handle_message(secs(5), region(3), heard);
    assert_eq!(engine.lease_until(), Some(Micros::from_millis(5_800)), "from when it was sent");
    engine.tick(Micros::from_millis(5_799), &mut || 0);
    assert!(engine.is_leader());
    engine.tick(Micros::from_millis(5_800), &mut || 0);
    assert!(!engine.is_leader());
    let entry = Entry::after(engine.last(), 2, 1);
    assert_eq!(engine.propose(secs(6), entry), Err(Proposed::NotLeader { leader: None }));
}

#[test]
fn candidates_change_by_majorities_of_both_sets_one_change_at_a_time() {
    let mut engine = engine(&[1, 2, 3], 0);
    elect(&mut engine, secs(3));
    let matched = |index| QuorumMessage::AppendReply {
        term: 2,
        outcome: Appended::Matched(index),
        sent: secs(3),
    };
    engine.handle_message(secs(3), region(2), matched(4));
    let change = Entry::setting(engine.last(), 2, &[3, 4, 5]);
    engine.propose(secs(3), change).unwrap();
    assert_eq!(engine.pending(), Some(&regions(&[3, 4, 5])[..]));
    let second = Entry::setting(engine.last(), 2, &[1]);
    assert_eq!(engine.propose(secs(3), second), Err(Proposed::ChangePending));
    engine.poll();
    engine.handle_message(secs(3), region(4), matched(5));
    engine.handle_message(secs(3), region(5), matched(5));
    assert!(engine.poll().committed.is_empty(), "the old set has not agreed");
    engine.handle_message(secs(3), region(2), matched(5));
    let ready = engine.poll();
    assert_eq!(ready.committed.len(), 1);
    assert_eq!(engine.voters(), regions(&[3, 4, 5]));
    assert!(!engine.is_leader(), "it is no candidate any more");
    let told: Vec<u16> = ready.messages.iter().map(|(to, _)| to.get()).collect();
    for id in [2, 3, 4, 5] {
        assert!(told.contains(&id), "region {id} hears that it is decided: {told:?}");
    }
}

#[test]
fn decided_entries_from_elsewhere_replace_the_tail_and_end_a_stale_leadership() {
    let mut engine = engine(&[1, 2, 3], 1);
    elect(&mut engine, secs(3));
    let held = log(&[1, 2, 3]);
    let other = Entry::after(held[1].point(), 3, 5);
    let gap = Entry::after(other.point(), 3, 6);
    engine.handle_committed(secs(4), std::slice::from_ref(&gap));
    assert!(engine.is_leader(), "what does not follow is for later");
    engine.handle_committed(secs(4), &[held[1].clone(), other.clone(), gap.clone()]);
    assert_eq!(engine.committed(), gap.point());
    assert_eq!(engine.last(), gap.point());
    assert_eq!((engine.is_leader(), engine.term()), (false, 3));
    let ready = engine.poll();
    assert!(ready.committed.is_empty(), "the registry has them already");
    assert!(ready.save.unwrap().tail.is_empty());
}

#[test]
fn a_leader_takes_a_bounded_number_of_undecided_entries() {
    let mut engine = engine(&[1, 2, 3], 0);
    elect(&mut engine, secs(3));
    for payload in 1..256 {
        let entry = Entry::after(engine.last(), 2, payload);
        engine.propose(secs(3), entry).unwrap();
    }
    let entry = Entry::after(engine.last(), 2, 0);
    assert_eq!(engine.propose(secs(3), entry), Err(Proposed::Full { undecided: 256 }));
    let misplaced = Entry::after(engine.committed(), 2, 0);
    assert!(engine.propose(secs(3), misplaced).is_err());
    assert!(engine.poll().messages.iter().all(|(_, message)| match message {
        QuorumMessage::Append { entries, .. } => entries.len() <= 16,
        _ => true,
    }));
}

#[test]
fn a_restart_goes_on_with_what_was_saved_and_without_what_was_replaced() {
    let held = log(&[1, 2, 3]);
    let next = Entry::after(held[2].point(), 1, 3);
    let stray = Entry::after(held[1].point(), 1, 99);
    for (tail, last) in [
        (vec![held[2].clone(), next.clone()], &next),
        (vec![stray.clone(), Entry::after(stray.point(), 1, 4)], &held[2]),
    ] {
        let saved = Saved { term: 4, vote: Some(region(3)), tail };
        let config = QuorumConfig::default();
        let (decided, voters) = (held[2].point(), regions(&[1, 2, 3]));
        let mut engine =
            Quorum::new(region(1), config, Micros::ZERO, decided, &voters, saved, &mut || 0);
        assert_eq!(engine.last(), last.point());
        let last = engine.last();
        engine.handle_message(secs(1), region(2), QuorumMessage::Vote { term: 4, last });
        let refusal = QuorumMessage::VoteReply { term: 4, granted: false };
        assert_eq!(answer(&mut engine), refusal, "the vote of before counts");
        engine.handle_message(secs(1), region(2), QuorumMessage::Vote { term: 5, last });
        assert!(engine.poll().messages.is_empty(), "a leader may have been heard before");
    }
}

#[test]
fn an_order_to_take_over_decides_alone_until_new_candidates_are_set() {
    let mut engine = engine(&[1, 2, 3], 1);
    engine.take_over(secs(1));
    let ready = engine.poll();
    assert!(ready.elected && ready.save.is_some_and(|saved| saved.term == 2));
    let first = Entry::after(engine.last(), 2, 5);
    engine.propose(secs(1), first).unwrap();
    assert_eq!(engine.poll().committed.len(), 2, "what was undecided is decided with it");
    let set = Entry::setting(engine.last(), 2, &[1]);
    engine.propose(secs(1), set).unwrap();
    assert_eq!(engine.poll().committed.len(), 1);
    assert_eq!(engine.voters(), regions(&[1]));
    assert!(engine.is_leader());
    let last = engine.last();
    let back = QuorumMessage::Append {
        term: 1,
        prev: last,
        entries: vec![],
        committed: 0,
        sent: Micros::ZERO,
    };
    engine.handle_message(secs(2), region(2), back);
    assert!(engine.is_leader(), "who led before is no candidate any more");
}
