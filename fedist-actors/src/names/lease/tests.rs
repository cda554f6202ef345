use fedist_registry::LocalId;
use proptest::prelude::*;

use super::*;

const TTL: Micros = Micros::from_secs(12);

fn pid(region: u16, local: u64) -> RegionPid {
    RegionPid::new(RegionId::new(region).unwrap(), LocalId::new(local).unwrap())
}

fn secs(n: u64) -> Micros {
    Micros::from_secs(n)
}

fn table(boot: u32) -> LeaseTable {
    LeaseTable::new(Micros::ZERO, boot, TTL, LeaseBounds::default())
}

#[test]
fn an_alias_has_one_holder_until_its_lease_ends() {
    let mut root = table(1);
    let lease = root.grant(secs(0), "leader", pid(1, 300)).unwrap();
    assert_eq!(
        root.grant(secs(5), "leader", pid(2, 300)),
        Err(LeaseRefusal::Held { holder: pid(1, 300) })
    );
    assert!(root.renew(secs(6), "leader", pid(1, 300), lease.token).is_ok());
    assert!(root.grant(secs(17), "leader", pid(2, 300)).is_err(), "renewed at 6, ends at 18");
    let next = root.grant(secs(18), "leader", pid(2, 300)).unwrap();
    assert!(next.token > lease.token);
    assert_eq!(
        root.renew(secs(19), "leader", pid(1, 300), lease.token),
        Err(LeaseRefusal::NotHeld)
    );
}

#[test]
fn a_released_alias_is_free_at_once_and_only_its_token_releases_it() {
    let mut root = table(1);
    let first = root.grant(secs(0), "leader", pid(1, 300)).unwrap();
    let again = root.grant(secs(1), "leader", pid(1, 300)).unwrap();
    assert!(again.token > first.token, "asked again, as after a lost answer");
    assert!(!root.release(secs(2), "leader", pid(1, 300), first.token));
    assert!(!root.release(secs(2), "leader", pid(2, 300), again.token), "somebody else");
    assert!(root.release(secs(2), "leader", pid(1, 300), again.token));
    assert_eq!(root.holder(secs(2), "leader"), AliasState::Free);
    assert!(root.grant(secs(2), "leader", pid(2, 300)).unwrap().token > again.token);
}

#[test]
fn a_restarted_root_adopts_its_holders_and_grants_nothing_before_a_full_span() {
    let mut first = table(1);
    let lease = first.grant(secs(0), "leader", pid(1, 300)).unwrap();
    let mut second = table(2);
    assert!(matches!(
        second.grant(secs(1), "leader", pid(2, 300)),
        Err(LeaseRefusal::Settling { left }) if left == secs(11)
    ));
    assert!(matches!(second.holder(secs(1), "leader"), AliasState::Settling { .. }));
    let adopted = second.renew(secs(2), "leader", pid(1, 300), lease.token).unwrap();
    assert_eq!(adopted.token, lease.token, "the same lease goes on");
    assert_eq!(
        second.grant(secs(13), "leader", pid(2, 300)),
        Err(LeaseRefusal::Held { holder: pid(1, 300) })
    );
    let other = second.grant(secs(13), "other", pid(2, 300)).unwrap();
    assert!(other.token > lease.token, "a later life gives higher tokens");
}

#[test]
fn of_two_leases_of_an_earlier_life_the_later_one_is_adopted() {
    let mut first = table(1);
    let old = first.grant(secs(0), "leader", pid(1, 300)).unwrap().token;
    let new = first.grant(secs(12), "leader", pid(2, 300)).unwrap().token;
    let mut second = table(2);
    assert!(second.renew(secs(1), "leader", pid(1, 300), old).is_ok(), "nobody knows better yet");
    assert!(second.renew(secs(2), "leader", pid(2, 300), new).is_ok());
    assert_eq!(second.renew(secs(3), "leader", pid(1, 300), old), Err(LeaseRefusal::NotHeld));
}

#[test]
fn after_settling_an_unknown_token_is_refused() {
    let mut first = table(1);
    let lease = first.grant(secs(0), "leader", pid(1, 300)).unwrap();
    let mut second = table(2);
    assert_eq!(
        second.renew(secs(12), "leader", pid(1, 300), lease.token),
        Err(LeaseRefusal::NotHeld)
    );
    let rolled_back = &mut table(1);
    assert_eq!(
        rolled_back.renew(secs(1), "leader", pid(1, 300), FencingToken::new(9, 1)),
        Err(LeaseRefusal::NotHeld),
        "a token of a later life is nobody's"
    );
}

#[test]
fn one_region_cannot_take_every_alias() {
    let bounds = LeaseBounds { total: 3, per_region: 2 };
    let mut root = LeaseTable::new(Micros::ZERO, 1, TTL, bounds);
    let lease = root.grant(secs(0), "a", pid(1, 300)).unwrap();
    root.grant(secs(0), "b", pid(1, 301)).unwrap();
    assert_eq!(root.grant(secs(0), "c", pid(1, 302)), Err(LeaseRefusal::TooMany { max: 2 }));
    root.grant(secs(0), "c", pid(2, 300)).unwrap();
    assert_eq!(root.grant(secs(0), "d", pid(3, 300)), Err(LeaseRefusal::TooMany { max: 3 }));
    root.release(secs(0), "a", pid(1, 300), lease.token);
    root.grant(secs(0), "d", pid(1, 302)).unwrap();
    assert!(root.grant(secs(12), "e", pid(1, 303)).is_ok(), "the others have expired");
    assert_eq!(root.leases.len(), 1);
    assert_eq!(root.by_region.len(), 1);
    assert_eq!(root.expiries.len(), 1);
}

#[test]
fn a_holder_gives_up_before_the_root_does_when_no_renewal_comes_back() {
    let lease = Lease { token: FencingToken::new(1, 1), ttl: TTL };
    let mut held = HeldLease::new(secs(2), secs(1), lease).unwrap();
    assert_eq!(held.next_deadline(), Some(secs(5)), "a third after the request was sent");
    assert_eq!(held.poll(secs(5)), Some(HolderAction::Renew { sent_at: secs(5) }));
    assert_eq!(held.poll(secs(5)), None);
    assert_eq!(held.poll(secs(6)), Some(HolderAction::Renew { sent_at: secs(6) }), "and again");
    assert_eq!(held.expires(), Micros(1_000_000 + 11_250_000));
    assert!(held.is_held(Micros(12_249_999)));
    assert!(!held.is_held(Micros(12_250_000)), "before anybody has polled");
    assert_eq!(held.poll(Micros(12_250_000)), Some(HolderAction::Lost));
    assert_eq!(held.poll(secs(20)), None, "told once");
    assert_eq!(held.next_deadline(), None);
    let late = held.handle_renewed(secs(20), secs(6), Ok(lease));
    assert_eq!(late, None, "what was given up does not come back");
    assert!(!held.is_held(secs(20)));
}

#[test]
fn a_renewal_counts_from_when_it_was_sent() {
    let lease = Lease { token: FencingToken::new(1, 1), ttl: TTL };
    let mut held = HeldLease::new(secs(0), secs(0), lease).unwrap();
    held.poll(secs(4));
    assert_eq!(held.handle_renewed(secs(9), secs(4), Ok(lease)), None);
    assert_eq!(held.expires(), Micros(4_000_000 + 11_250_000));
    assert_eq!(held.handle_renewed(secs(10), secs(2), Ok(lease)), None, "an older answer");
    assert_eq!(held.expires(), Micros(4_000_000 + 11_250_000));
    assert_eq!(
        held.handle_renewed(secs(10), secs(9), Err(LeaseRefusal::NotHeld)),
        Some(HolderAction::Lost)
    );
    assert!(HeldLease::new(secs(12), secs(0), lease).is_none(), "the answer took too long");
}

// ---- simulation ------------------------------------------------------------------------------

/// What is under way between a candidate and the root.
enum Mail {
    Claim { from: usize, sent_at: Micros },
    Renewal { from: usize, token: FencingToken, sent_at: Micros },
    Release { from: usize, token: FencingToken },
    Granted { to: usize, sent_at: Micros, answer: Result<Lease, LeaseRefusal> },
    Renewed { to: usize, token: FencingToken, sent_at: Micros, answer: Result<Lease, LeaseRefusal> },
}

struct Simulation {
    random: fastrand::Rng,
    loss_percent: u8,
    delay_max: u64,
    /// (arrival, number, mail): delays are independent, so mail overtakes mail.
    mail: std::collections::BTreeMap<(Micros, u64), Mail>,
    sent: u64,
    /// Until when each candidate is cut off.
    cut: Vec<Micros>,
}

impl Simulation {
    fn send(&mut self, now: Micros, candidate: usize, mail: Mail) {
        if self.cut[candidate] > now || self.random.u8(0..100) < self.loss_percent {
            return;
        }
        self.sent += 1;
        // Most mail is quick, some takes longer than a lease lasts.
        let delay = match self.random.u8(0..10) {
            0 => self.random.u64(0..self.delay_max),
            _ => self.random.u64(0..self.delay_max / 50 + 1),
        };
        self.mail.insert((now + Micros(delay), self.sent), mail);
    }
}

/// Runs candidates, a root that restarts, and a bad network. Returns how many grants took effect
/// and how many leases of an earlier life went on.
fn simulate(seed: u64, loss_percent: u8) -> (usize, usize) {
    let mut random = fastrand::Rng::with_seed(seed);
    let candidates = random.usize(2..5);
    let ttl = Micros::from_millis(3_000);
    let mut boot = 1;
    let mut root = LeaseTable::new(Micros::ZERO, boot, ttl, LeaseBounds::default());
    let mut down_until = Micros::ZERO;
    let mut held: Vec<Option<HeldLease>> = (0..candidates).map(|_| None).collect();
    // A holder hears the answer to its latest claim only; an earlier one may be void by now.
    let mut claimed: Vec<Option<Micros>> = vec![None; candidates];
    let mut highest_granted = None;
    let mut highest_believed = None;
    let (mut grants, mut adopted) = (0, 0);
    let mut world = Simulation {
        random,
        loss_percent,
        delay_max: 6_000_000,
        mail: std::collections::BTreeMap::new(),
        sent: 0,
        cut: vec![Micros::ZERO; candidates],
    };
    for step in 0..4_000_u64 {
        let now = Micros::from_millis(step * 10);
        if world.random.u16(0..1_000) == 0 {
            boot += 1;
            down_until = now + Micros::from_millis(world.random.u64(0..4_000));
            root = LeaseTable::new(down_until, boot, ttl, LeaseBounds::default());
        }
        if world.random.u8(0..100) == 0 {
            let candidate = world.random.usize(0..candidates);
            world.cut[candidate] = now + Micros::from_millis(world.random.u64(0..6_000));
        }
        for (from, slot) in held.iter_mut().enumerate() {
            match slot {
                None if world.random.u8(0..20) == 0
                    && claimed[from].is_none_or(|at| now > at + Micros::from_secs(4)) =>
                {
                    claimed[from] = Some(now);
                    world.send(now, from, Mail::Claim { from, sent_at: now });
                }
                None => {}
                Some(lease) if world.random.u16(0..2_000) == 0 => {
                    let token = lease.token();
                    *slot = None;
                    world.send(now, from, Mail::Release { from, token });
                }
                Some(lease) => match lease.poll(now) {
                    Some(HolderAction::Renew { sent_at }) => {
                        let token = lease.token();
                        world.send(now, from, Mail::Renewal { from, token, sent_at });
                    }
                    Some(HolderAction::Lost) => *slot = None,
                    None => {}
                },
            }
        }
        while let Some(entry) = world.mail.first_entry()
            && entry.key().0 <= now
        {
            let up = now >= down_until;
            match entry.remove() {
                Mail::Claim { from, sent_at } if up => {
                    let answer = root.grant(now, "leader", pid(from as u16 + 1, 300));
                    if let Ok(lease) = &answer {
                        assert!(
                            highest_granted < Some(lease.token),
                            "tokens grow with every grant"
                        );
                        highest_granted = Some(lease.token);
                    }
                    world.send(now, from, Mail::Granted { to: from, sent_at, answer });
                }
                Mail::Renewal { from, token, sent_at } if up => {
                    let answer = root.renew(now, "leader", pid(from as u16 + 1, 300), token);
                    world.send(now, from, Mail::Renewed { to: from, token, sent_at, answer });
                }
                Mail::Release { from, token } if up => {
                    root.release(now, "leader", pid(from as u16 + 1, 300), token);
                }
                Mail::Granted { to, sent_at, answer } => {
                    if claimed[to] != Some(sent_at) {
                        continue;
                    }
                    claimed[to] = None;
                    if held[to].is_none()
                        && let Ok(lease) = answer
                        && let Some(lease) = HeldLease::new(now, sent_at, lease)
                    {
                        assert!(
                            highest_believed < Some(lease.token()),
                            "nobody starts to believe in an older grant than was believed in before"
                        );
                        highest_believed = Some(lease.token());
                        held[to] = Some(lease);
                        grants += 1;
                    }
                }
                Mail::Renewed { to, token, sent_at, answer } => {
                    if let Some(lease) = &mut held[to]
                        && lease.token() == token
                    {
                        adopted += usize::from(answer.is_ok() && token.boot() < boot);
                        if lease.handle_renewed(now, sent_at, answer).is_some() {
                            held[to] = None;
                        }
                    }
                }
                _ => {}
            }
        }
        let believers: Vec<usize> = (0..candidates)
            .filter(|n| held[*n].as_ref().is_some_and(|lease| lease.is_held(now)))
            .collect();
        assert!(believers.len() <= 1, "seed {seed}, step {step}: {believers:?} all believe");
    }
    (grants, adopted)
}

#[test]
fn the_simulation_reaches_grants_and_adoptions() {
    let (mut grants, mut adopted) = (0, 0);
    for seed in 0..20 {
        let (more_grants, more_adopted) = simulate(seed, 10);
        grants += more_grants;
        adopted += more_adopted;
    }
    assert!(grants > 40, "{grants} grants took effect");
    assert!(adopted > 10, "{adopted} leases went on over a restart");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn never_do_two_believe_and_tokens_grow(seed: u64, loss_percent in 0_u8..60) {
        simulate(seed, loss_percent);
    }
}
