use std::sync::Mutex;

use proptest::prelude::*;

use super::*;
use crate::model::Labels;
use crate::net::header::{AUTHORIZATION, HeaderValue};
use crate::promql::{DelegatedSeries, ParserOptions, parse};

const MINUTE: i64 = 60_000;
/// When the tests begin.
const NOW: i64 = 1_700_000_000_000;
const FRESH: i64 = 10 * MINUTE;
/// Expressions, and how far each looks ahead.
const EXPRESSIONS: [(&str, i64); 3] = [("a", 0), ("a offset -7m", 7 * MINUTE), ("rate(a[5m] offset 1h)", -60 * MINUTE)];

fn clock_at(t: i64) -> Clock {
    Clock::manual(TimestampMs(t))
}

fn cache(max_bytes: u64, clock: &Clock) -> (ResultCache, Registry) {
    let registry = Registry::new();
    let config = CacheConfig { max_bytes, max_freshness: DurationMs(FRESH) };
    (ResultCache::new(&config, clock.clone(), &registry), registry)
}

fn steps(start: i64, interval: i64, count: usize) -> StepTimes {
    StepTimes { start: TimestampMs(start), interval, count }
}

fn asker(name: &'static str) -> Asker {
    Asker::of(&HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(name))]))
}

fn whole(answer: QueryAnswer) -> Result<Reply, MemberError> {
    Ok(Reply::Answer(answer))
}

/// What an answer says, in a form that can be compared.
fn shown(reply: Result<Reply, MemberError>) -> String {
    let mut answer = match reply {
        Ok(Reply::Answer(answer)) => answer,
        Ok(Reply::Differs) => return "differs".to_owned(),
        Err(error) => return error.to_string(),
    };
    if answer.has_histograms {
        return "histograms".to_owned();
    }
    answer.series.sort_by(|a, b| a.labels.cmp(&b.labels));
    let series: Vec<_> = answer.series.iter().map(|series| (series.labels.to_string(), &series.floats)).collect();
    format!("{series:?} {:?} {:?}", answer.warnings, answer.infos)
}

/// A member whose past does not change. What it says of the last minutes changes with the time at which it is asked.
#[derive(Clone)]
struct Fake {
    clock: Clock,
    seed: u64,
    asked: Arc<Mutex<Vec<StepTimes>>>,
}

impl Fake {
    fn new(clock: &Clock, seed: u64) -> Fake {
        Fake { clock: clock.clone(), seed, asked: Arc::default() }
    }

    fn noise(&self, of: &[i64]) -> u64 {
        of.iter()
            .fold(self.seed, |all, n| (all ^ n.cast_unsigned()).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23))
    }

    /// What is said for steps; some times have warnings, histograms or failures.
    fn says(&self, user: &str, ahead: i64, steps: StepTimes) -> Result<Reply, MemberError> {
        let now = self.clock.now().0;
        let mut answer = QueryAnswer::default();
        let times: Vec<i64> = (0..steps.count as i64).map(|n| steps.start.0 + n * steps.interval).collect();
        for series in 0..5 {
            let floats = times.iter().filter_map(|t| {
                let looked = t + ahead;
                let asked = if looked > now - FRESH { now } else { 0 };
                // A series comes and goes with the hours, and misses some steps.
                let is_there = !self.noise(&[series, looked / (60 * MINUTE)]).is_multiple_of(3);
                let noise = self.noise(&[series, looked, asked, user.len() as i64]);
                (is_there && !noise.is_multiple_of(7)).then_some((TimestampMs(*t), noise as f64))
            });
            let floats: Vec<_> = floats.collect();
            if !floats.is_empty() {
                let labels = Labels::from_pairs([("series", series.to_string().as_str())]);
                answer.series.push(DelegatedSeries { labels, floats, histograms: Vec::new() });
            }
        }
        let has = |what: i64, often: u64| {
            times.iter().any(|t| self.noise(&[what, (t + ahead) / (2 * 60 * MINUTE)]).is_multiple_of(often))
        };
        if has(100, 40) {
            return Err(MemberError::NoTime);
        }
        answer.has_histograms = has(101, 40);
        answer.warnings.extend(has(102, 10).then(|| "odd".to_owned()));
        answer.infos.extend(has(103, 10).then(|| "queer".to_owned()));
        whole(answer)
    }

    async fn answer(&self, user: &'static str, ahead: i64, steps: StepTimes) -> Result<Reply, MemberError> {
        self.asked.lock().unwrap().push(steps);
        tokio::task::yield_now().await;
        self.says(user, ahead, steps)
    }
}

/// Asks for an expression through the cache.
async fn ask(
    cache: &ResultCache,
    member: &Fake,
    user: &'static str,
    (text, ahead): (&str, i64),
    steps: StepTimes,
) -> Kept {
    let settled = cache.settled(&parse(text, &ParserOptions::ALL).unwrap(), 5 * MINUTE).unwrap();
    let key = Key::new("home".to_owned(), text.to_owned(), steps, 5 * MINUTE, asker(user));
    let of_member = |steps| {
        let member = member.clone();
        async move { member.answer(user, ahead, steps).await }
    };
    cache.ask(key, steps, settled, of_member).await
}

fn run<R>(work: impl Future<Output = R>) -> R {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

#[derive(Clone, Debug)]
struct Move {
    expression: usize,
    user: &'static str,
    /// Minutes before now at which the range ends.
    back: i64,
    interval: i64,
    count: usize,
    phase: i64,
    /// How much later it is asked.
    pause: i64,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let user = prop_oneof![Just("one"), Just("other")];
    let interval = prop_oneof![Just(15_000_i64), Just(60_000), Just(300_000)];
    let phase = prop_oneof![4 => Just(0_i64), 1 => Just(1_i64)];
    let pause = prop_oneof![4 => 0..MINUTE, 2 => 0..20 * MINUTE, 1 => 0..120 * MINUTE];
    let one = (0..EXPRESSIONS.len(), user, -20..600_i64, interval, 1..120_usize, phase, pause).prop_map(
        |(expression, user, back, interval, count, phase, pause)| Move {
            expression,
            user,
            back,
            interval,
            count,
            phase,
            pause,
        },
    );
    prop::collection::vec(one, 1..60)
}

proptest! {
    #[test]
    fn answers_are_the_same_with_and_without_what_is_kept(moves in moves(), seed: u64, room in 12..20_u32) {
        let clock = clock_at(NOW);
        let (cache, _) = cache(1 << room, &clock);
        let member = Fake::new(&clock, seed);
        run(async {
            for Move { expression, user, back, interval, count, phase, pause } in moves {
                clock.set(TimestampMs(clock.now().0 + pause));
                let end = (clock.now().0 - back * MINUTE).div_euclid(interval) * interval + phase;
                let steps = steps(end - (count as i64 - 1) * interval, interval, count);
                let (text, ahead) = EXPRESSIONS[expression];
                let kept = ask(&cache, &member, user, (text, ahead), steps).await;
                prop_assert_eq!(shown(kept.reply), shown(member.says(user, ahead, steps)));
                prop_assert!(cache.0.shelf.is_right(), "what is held is counted right, and within its bounds");
            }
            Ok(())
        })?;
    }
}

/// A member that always has one series.
fn plain(clock: &Clock) -> Fake {
    // With this seed nothing is odd about the hours before `NOW`.
    let seed = (0..).find(|seed| {
        let member = Fake::new(clock, *seed);
        let all = steps(NOW - 600 * MINUTE, MINUTE, 700);
        let Ok(Reply::Answer(answer)) = member.says("one", 0, all) else { return false };
        !answer.has_histograms && answer.warnings.is_empty() && answer.infos.is_empty()
    });
    Fake::new(clock, seed.unwrap())
}

fn asked(member: &Fake) -> Vec<(i64, usize)> {
    member.asked.lock().unwrap().drain(..).map(|steps| ((steps.start.0 - NOW) / MINUTE, steps.count)).collect()
}

const A: (&str, i64) = EXPRESSIONS[0];

#[test]
fn a_member_is_asked_for_what_is_missing_before_between_and_behind_what_is_kept() {
    let clock = clock_at(NOW);
    let (cache, _) = cache(1 << 20, &clock);
    let member = plain(&clock);
    run(async {
        let minutes = async |from: i64, to: i64| {
            let steps = steps(NOW + from * MINUTE, MINUTE, (to - from + 1) as usize);
            let kept = ask(&cache, &member, "one", A, steps).await;
            assert_eq!(shown(kept.reply), shown(member.says("one", 0, steps)));
            (asked(&member), kept.steps)
        };
        assert_eq!(minutes(-100, -81).await, (vec![(-100, 20)], 0));
        assert_eq!(minutes(-100, -81).await, (vec![], 20));
        assert_eq!(minutes(-60, -41).await, (vec![(-60, 20)], 0));
        assert_eq!(minutes(-110, -31).await, (vec![(-110, 10), (-80, 20), (-40, 10)], 40));
        assert_eq!(minutes(-110, -31).await, (vec![], 80));
        // Of the last ten minutes nothing is kept.
        assert_eq!(minutes(-40, 0).await, (vec![(-30, 31)], 10));
        assert_eq!(minutes(-40, 0).await, (vec![(-9, 10)], 31));
    });
    assert_eq!((cache.0.missed.get(), cache.0.whole.get(), cache.0.in_part.get()), (2, 2, 3));
}

#[test]
fn many_gaps_are_asked_for_as_one() {
    let clock = clock_at(NOW);
    let (cache, _) = cache(1 << 20, &clock);
    let member = plain(&clock);
    run(async {
        for from in [-100, -90, -80, -70] {
            ask(&cache, &member, "one", A, steps(NOW + from * MINUTE, MINUTE, 2)).await;
        }
        asked(&member);
        let kept = ask(&cache, &member, "one", A, steps(NOW - 100 * MINUTE, MINUTE, 41)).await;
        assert_eq!((asked(&member), kept.steps), (vec![(-98, 39)], 2));
    });
}

#[test]
fn who_sends_other_credentials_or_asks_at_other_steps_is_shown_nothing_of_it() {
    let clock = clock_at(NOW);
    let (cache, _) = cache(1 << 20, &clock);
    let member = plain(&clock);
    let hour = steps(NOW - 100 * MINUTE, MINUTE, 60);
    run(async {
        ask(&cache, &member, "one", A, hour).await;
        assert_eq!(ask(&cache, &member, "other", A, hour).await.steps, 0);
        let shifted = StepTimes { start: TimestampMs(hour.start.0 + 1), ..hour };
        assert_eq!(ask(&cache, &member, "one", A, shifted).await.steps, 0);
        assert_eq!(ask(&cache, &member, "one", A, steps(hour.start.0, 2 * MINUTE, 30)).await.steps, 0);
        assert_eq!(ask(&cache, &member, "one", A, hour).await.steps, 60);
    });
    let two = |pairs: [(&'static str, &'static str); 2]| {
        let header =
            |(name, value)| (crate::net::header::HeaderName::from_static(name), HeaderValue::from_static(value));
        Asker::of(&pairs.into_iter().map(header).collect())
    };
    assert_eq!(two([("a", "1"), ("b", "2")]), two([("b", "2"), ("a", "1")]));
    assert_ne!(two([("a", "1"), ("b", "2")]), two([("a", "2"), ("b", "1")]));
    assert_ne!(two([("a", "1"), ("ab", "")]), two([("a", "1a"), ("b", "")]));
    let through = |frontends| two([("a", "1"), ("x-watershed-frontends", frontends)]);
    assert_eq!(through("one"), through("one, another"));
}

#[test]
fn after_an_hour_and_after_the_clock_was_set_back_the_member_is_asked_again() {
    let clock = clock_at(NOW);
    let (cache, _) = cache(1 << 20, &clock);
    let member = plain(&clock);
    let hour = steps(NOW - 100 * MINUTE, MINUTE, 60);
    run(async {
        let at = async |minutes: i64| {
            clock.set(TimestampMs(NOW + minutes * MINUTE));
            ask(&cache, &member, "one", A, hour).await.steps
        };
        assert_eq!((at(0).await, at(59).await, at(61).await), (0, 60, 0));
        assert_eq!((at(62).await, at(50).await), (60, 0));
    });
    assert!(cache.0.shelf.is_right());
}

#[test]
fn what_looks_at_times_to_come_is_settled_later() {
    let clock = clock_at(NOW);
    let (cache, _) = cache(1 << 20, &clock);
    let settled = |text: &str| {
        let settled = cache.settled(&parse(text, &ParserOptions::ALL).unwrap(), 5 * MINUTE);
        settled.map(|t| (t.0 - NOW) / MINUTE)
    };
    assert_eq!(settled("a"), Some(-10));
    assert_eq!(settled("a offset 1h"), Some(-10));
    assert_eq!(settled("a offset -7m + b"), Some(-17));
    let at = |minutes: i64| format!("a @ {}", (NOW + minutes * MINUTE) / 1000);
    assert_eq!((settled(&at(-11)), settled(&at(-9))), (Some(-10), None));
}

#[test]
fn what_was_not_asked_for_the_longest_time_gives_way() {
    let clock = clock_at(NOW);
    let (cache, _) = cache(64 << 10, &clock);
    let member = plain(&clock);
    let texts: Vec<String> = (0..40).map(|n| format!("a{n}")).collect();
    let hour = steps(NOW - 100 * MINUTE, MINUTE, 60);
    run(async {
        for text in &texts {
            ask(&cache, &member, "one", ("a0", 0), hour).await;
            ask(&cache, &member, "one", (text, 0), hour).await;
            assert!(cache.0.shelf.is_right());
        }
        asked(&member);
        let mut kept = 0;
        for text in texts.iter().rev() {
            kept += usize::from(ask(&cache, &member, "one", (text, 0), hour).await.steps > 0);
        }
        assert!((2..39).contains(&kept), "{kept} are kept");
        assert!(asked(&member).len() == 40 - kept);
    });
    let [bytes, entries, stored, evicted] = cache.0.shelf.figures();
    assert!(
        bytes <= 65536.0 && entries >= 2.0 && evicted > 0.0 && stored > evicted,
        "{bytes} {entries} {stored} {evicted}"
    );
    drop(cache);
}

#[test]
fn an_answer_that_would_drive_out_the_others_is_not_kept() {
    let clock = clock_at(NOW);
    let (cache, _) = cache(16 << 10, &clock);
    let member = plain(&clock);
    run(async {
        let large = steps(NOW - 500 * MINUTE, MINUTE, 480);
        ask(&cache, &member, "one", A, large).await;
        assert_eq!(ask(&cache, &member, "one", A, large).await.steps, 0);
    });
    assert_eq!(cache.0.shelf.figures()[0], 0.0);
}

#[test]
fn gauges_forget_a_cache_that_is_gone() {
    let clock = clock_at(NOW);
    let (first, registry) = cache(1 << 20, &clock);
    run(async { ask(&first, &plain(&clock), "one", A, steps(NOW - 100 * MINUTE, MINUTE, 60)).await });
    let second = ResultCache::new(&CacheConfig::default(), clock.clone(), &registry);
    assert!(second.0.shelf.figures()[0] > 0.0);
    drop(first);
    assert_eq!(second.0.shelf.figures()[..2], [0.0, 0.0]);
}
