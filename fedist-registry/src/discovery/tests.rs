//! What answers mean, as tables of text; and whom the book has dialed.

use proptest::prelude::*;

use super::*;
use crate::Micros;

fn region(id: u16) -> RegionId {
    RegionId::new(id).unwrap()
}

fn addresses(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn free(_: RegionId) -> Standing {
    Standing::Free
}

fn ms(ms: u64) -> Micros {
    Micros::from_millis(ms)
}

/// One answer a line, `SOURCE ADDRESSES = NEWS`, or `SOURCE !` for one that failed. The sources are `a`, `b` (whose answers
/// are complete: what one lacks is gone) and `c`, which may lack an address twice. News are `+` what came and `-` what went.
fn check(script: &str) -> AddressBook {
    let mut book = AddressBook::new();
    let sources = [("a", 1), ("b", 1), ("c", 3)].map(|(name, gone)| book.add_source(name, gone));
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (said, expected) = line.split_once('=').unwrap();
        let (name, said) = said.trim().split_at(1);
        let source = sources[(name.as_bytes()[0] - b'a') as usize];
        let news = match said.trim() {
            "!" => {
                book.handle_failure(source, "is down");
                News::default()
            }
            said => book.handle_answer(source, &addresses(said)),
        };
        let came = news.came.iter().map(|address| format!("+{address}"));
        let went = news.went.iter().map(|address| format!("-{address}"));
        let found: Vec<String> = came.chain(went).collect();
        assert_eq!(found, addresses(expected), "{line}");
    }
    book
}

#[test]
fn what_a_complete_answer_lacks_goes_and_what_is_new_comes() {
    check(
        "a x:1 y:1     = +x:1 +y:1
         a x:1 y:1     =
         a y:1 z:1     = +z:1 -x:1
         a z:1 y:1 z:1 =
         a z:1         = -y:1",
    );
}

#[test]
fn an_address_of_two_sources_goes_when_both_have_dropped_it() {
    check(
        "a x:1 y:1 = +x:1 +y:1
         b x:1     =
         a y:1     =
         b z:1     = +z:1 -x:1
         c y:1     =
         a w:1     = +w:1",
    );
}

#[test]
fn a_source_that_fails_changes_nothing() {
    let book = check(
        "a x:1 y:1 = +x:1 +y:1
         a !       =
         a !       =
         a !       =
         a !       =",
    );
    let source = &book.sources()[0];
    assert_eq!((source.addresses, source.answers, source.failures), (2, 1, 4));
    assert_eq!(source.error.as_deref(), Some("is down"));
    check("a x:1 = +x:1\n a ! =\n a y:1 = +y:1 -x:1");
}

#[test]
fn an_empty_answer_is_believed_when_it_has_come_three_times_in_a_row() {
    let book = check("a x:1 = +x:1\n a =\n a =");
    let error = book.sources()[0].error.clone().unwrap();
    assert!(error.contains("2nd time in a row") && error.contains("until the 3rd"), "{error}");
    check(
        "a x:1 y:1 = +x:1 +y:1
         a         =
         a         =
         a x:1     = -y:1
         a         =
         a !       =
         a         =
         a         = -x:1
         a         =",
    );
}

#[test]
fn a_source_that_tells_a_part_each_time_keeps_what_it_told_lately() {
    check(
        "c x:1 y:1 = +x:1 +y:1
         c y:1 z:1 = +z:1
         c z:1     =
         c x:1     =
         c z:1     = -y:1",
    );
}

#[test]
fn malformed_addresses_are_refused_one_by_one_and_nonsense_is_no_answer() {
    let book = check("a x:1 what y:0 z:99999 y:2 = +x:1 +y:2");
    let source = &book.sources()[0];
    assert_eq!(source.refused, 3);
    assert!(source.error.as_deref().unwrap().contains("malformed address (what)"), "{source:?}");
    let book = check("a x:1 = +x:1\n a <html> 404 =\n a <html> 404 =\n a <html> 404 =");
    assert_eq!((book.sources()[0].addresses, book.sources()[0].failures), (1, 3));
}

#[test]
fn addresses_look_like_host_and_port() {
    for good in ["127.0.0.1:4433", "root.example:1", "[::1]:65535", "memory:7", "a:007"] {
        assert!(check_address(good).is_ok(), "{good}");
    }
    let long = format!("{}:1", "x".repeat(254));
    let bad = ["", ":1", "host", "host:", "host:0", "h:70000", "h:+1", "::1:1", "[]:1", "a b:1"];
    for bad in bad.into_iter().chain(["a\n:1", "a,b:1", "h:-1", "[::1:1", &long]) {
        assert!(check_address(bad).is_err(), "{bad:?}");
    }
    let text = check_address("nowhere").unwrap_err().to_string();
    assert!(text.contains("(nowhere)") && text.contains("192.0.2.7:4433"), "{text}");
}

#[test]
fn ten_thousand_addresses_are_counted_and_those_held_stay() {
    let mut book = AddressBook::new();
    let (a, b) = (book.add_source("a", 1), book.add_source("b", 1));
    book.handle_answer(b, &addresses("kept:1"));
    let many: Vec<String> = (1..=10_000).map(|number| format!("host{number}:1")).collect();
    let news = book.handle_answer(a, &many);
    assert_eq!(news.came.len(), AddressBook::MAX_ADDRESSES - 1);
    let source = &book.sources()[0];
    assert_eq!(source.addresses + source.over_limit, 10_000);
    // In another order it is the same: nobody is exchanged for somebody else.
    let turned: Vec<String> = many.iter().rev().cloned().collect();
    assert_eq!(book.handle_answer(a, &turned), News::default());
    assert_eq!(book.peers(&free).len(), AddressBook::MAX_ADDRESSES);
    // Where one goes, another gets its place.
    let fewer: Vec<String> = many[1..].to_vec();
    let news = book.handle_answer(a, &fewer);
    assert_eq!(news.went, ["host1:1"]);
    assert!(news.came.is_empty(), "the place was free only after this answer");
    assert_eq!(book.handle_answer(a, &fewer).came.len(), 1);
}

/// A book with one source, and a clock.
struct Bench {
    book: AddressBook,
    source: SourceId,
    now: Micros,
}

impl Bench {
    fn new(text: &str) -> Bench {
        let mut book = AddressBook::new();
        let source = book.add_source("list", 1);
        book.handle_answer(source, &addresses(text));
        Bench { book, source, now: ms(1_000) }
    }

    fn due(&mut self, standing: impl Fn(u16) -> Standing) -> Vec<String> {
        self.book.due(self.now, &|region| standing(region.get()))
    }

    /// How long it takes until somebody is due.
    fn wait(&mut self) -> u64 {
        let begun = self.now;
        while self.due(|_| Standing::Free).is_empty() {
            self.now += ms(10);
            assert!(self.now < begun + Micros::from_secs(60), "nobody is due");
        }
        (self.now - begun).as_millis()
    }

    fn state(&self, standing: Standing) -> (PeerState, Option<String>) {
        let peer = self.book.peers(&|_| standing).remove(0);
        (peer.state, peer.error)
    }
}

#[test]
fn every_address_is_dialed_once_and_not_more_than_eight_at_a_time() {
    let many: Vec<String> = (10..30).map(|number| format!("h{number}:1")).collect();
    let mut bench = Bench::new(&many.join(" "));
    let first = bench.due(|_| Standing::Free);
    assert_eq!(first, many[..8]);
    assert!(bench.due(|_| Standing::Free).is_empty());
    bench.book.handle_answered("h10:1", region(10), bench.now, 0);
    bench.book.handle_unreachable("h11:1", "no answer", bench.now, 0);
    assert_eq!(bench.due(|_| Standing::Linked), many[8..10]);
}

#[test]
fn one_that_does_not_answer_is_tried_less_and_less_often_but_never_given_up() {
    let mut bench = Bench::new("h:1");
    let mut waits = Vec::new();
    for _ in 0..12 {
        waits.push(bench.wait());
        bench.book.handle_unreachable("h:1", "no answer", bench.now, 0);
        assert_eq!(bench.state(Standing::Free), (PeerState::Failing, Some("no answer".into())));
    }
    let expected = [0, 100, 200, 400, 800, 1600, 3200, 6400, 12_800, 15_000, 15_000, 15_000];
    assert_eq!(waits, expected);
    // By lot up to a fifth more.
    bench.book.due(bench.now + ms(20_000), &free);
    bench.book.handle_unreachable("h:1", "no answer", bench.now, u64::MAX);
    assert!((15_000..18_000).contains(&bench.wait()));
}

#[test]
fn a_link_that_lasts_clears_the_failures_and_one_that_does_not_counts_as_one() {
    let mut bench = Bench::new("h:1");
    for _ in 0..4 {
        bench.wait();
        bench.book.handle_answered("h:1", region(7), bench.now, 0);
        bench.book.handle_link_ended(region(7), "too many links");
    }
    assert_eq!(bench.state(Standing::Free), (PeerState::Failing, Some("too many links".into())));
    assert_eq!(bench.wait(), 800);
    bench.book.handle_answered("h:1", region(7), bench.now, 0);
    assert_eq!(bench.state(Standing::Linked), (PeerState::Linked, None));
    bench.now += ms(2_000);
    assert!(bench.due(|_| Standing::Linked).is_empty());
    assert_eq!(bench.wait(), 0, "the link is lost: dialed at once");
}

#[test]
fn a_region_behind_two_addresses_is_dialed_at_one_and_kept_until_both_are_gone() {
    let mut bench = Bench::new("x:1 y:1");
    assert_eq!(bench.due(|_| Standing::Free), ["x:1", "y:1"], "nobody knows yet");
    for address in ["x:1", "y:1"] {
        bench.book.handle_answered(address, region(7), bench.now, 0);
    }
    assert_eq!(bench.book.regions(), [region(7)].into());
    assert!(bench.due(|_| Standing::Linked).is_empty());
    bench.now += ms(5_000);
    assert_eq!(bench.due(|_| Standing::Free), ["x:1"]);
    assert!(bench.book.is_dialing(region(7)) && bench.due(|_| Standing::Free).is_empty());
    bench.book.handle_unreachable("x:1", "no answer", bench.now, 0);
    assert_eq!(bench.due(|_| Standing::Free), ["y:1"], "the other one is tried");
    bench.book.handle_answered("y:1", region(7), bench.now, 0);
    bench.book.handle_answer(bench.source, &addresses("x:1 y:1"));
    assert_eq!(bench.book.regions(), [region(7)].into());
    bench.book.handle_answer(bench.source, &addresses("x:1"));
    assert!(bench.book.regions().is_empty());
}

#[test]
fn the_own_address_is_dialed_once_and_never_again_while_it_is_listed() {
    let mut bench = Bench::new("me:1");
    assert_eq!(bench.wait(), 0);
    bench.book.handle_ourselves("me:1");
    bench.now += Micros::from_secs(3_600);
    assert!(bench.due(|_| Standing::Free).is_empty());
    assert_eq!(bench.state(Standing::Free), (PeerState::Ourselves, None));
    assert!(bench.book.regions().is_empty());
}

#[test]
fn an_address_that_goes_to_another_region_is_learned_anew() {
    let mut bench = Bench::new("h:1");
    bench.wait();
    bench.book.handle_answered("h:1", region(7), bench.now, 0);
    bench.wait();
    bench.book.handle_unreachable("h:1", "no answer", bench.now, 0);
    assert!(bench.book.regions().is_empty(), "nobody knows whose it is now");
    bench.wait();
    bench.book.handle_answered("h:1", region(8), bench.now, 0);
    assert_eq!(bench.book.regions(), [region(8)].into());
    assert_eq!(bench.book.addresses_of(region(8)).collect::<Vec<_>>(), ["h:1"]);
}

#[test]
fn who_is_busy_or_disconnected_is_not_dialed() {
    let mut bench = Bench::new("h:1");
    bench.wait();
    bench.book.handle_answered("h:1", region(7), bench.now, 0);
    bench.now += Micros::from_secs(60);
    for standing in [Standing::Linked, Standing::Busy, Standing::Disconnected] {
        assert!(bench.due(|_| standing).is_empty(), "{standing:?}");
    }
    assert_eq!(bench.state(Standing::Disconnected).0, PeerState::Disconnected);
    assert_eq!(bench.due(|_| Standing::Free), ["h:1"]);
}

#[test]
fn an_address_that_went_while_it_was_dialed_leaves_nothing() {
    let mut bench = Bench::new("h:1 i:1");
    bench.due(|_| Standing::Free);
    bench.book.handle_answer(bench.source, &addresses("i:1"));
    bench.book.handle_answered("h:1", region(7), bench.now, 0);
    bench.book.handle_unreachable("h:1", "no answer", bench.now, 0);
    bench.book.handle_ourselves("h:1");
    assert!(bench.book.regions().is_empty());
    assert_eq!(bench.book.peers(&free).len(), 1);
}

proptest! {
    /// Held is what some source has said lately, never more than the bound, and each address has a source.
    #[test]
    fn whatever_the_sources_say_the_book_is_bounded_and_every_address_has_a_source(
        answers in prop::collection::vec((0_usize..3, prop::collection::vec(0_u16..400, 0..300), any::<bool>()), 1..40)
    ) {
        let mut book = AddressBook::new();
        let sources = [1, 2, 3].map(|gone| book.add_source("s", gone));
        let mut held = std::collections::BTreeSet::new();
        for (source, said, fails) in answers {
            let said: Vec<String> = said.iter().map(|number| format!("h{number}:1")).collect();
            if fails {
                book.handle_failure(sources[source], "down");
            } else {
                let news = book.handle_answer(sources[source], &said);
                for address in news.came {
                    prop_assert!(said.contains(&address) && held.insert(address));
                }
                for address in news.went {
                    prop_assert!(!said.contains(&address) && held.remove(&address));
                }
            }
            let peers = book.peers(&free);
            prop_assert!(peers.len() <= AddressBook::MAX_ADDRESSES);
            prop_assert!(peers.iter().all(|peer| !peer.sources.is_empty()));
            prop_assert!(peers.iter().map(|peer| &peer.address).eq(held.iter()));
        }
    }
}
