//! Where a reading begins and ends, and what of it is gone.

use super::*;

/// A record that arrived at another time than its place says.
fn arrived(n: u64, millis: i64) -> Row {
    Row {
        arrival: Some(millis),
        ..row(n, "a", &format!("a{n}"))
    }
}

fn values(numbers: impl IntoIterator<Item = u64>) -> Vec<String> {
    numbers.into_iter().map(|n| format!("a{n}")).collect()
}

/// Arrivals of two machines whose clocks differ: the second page is older than the first, and the third.
const SWAPPED: [(u64, i64); 9] = [
    (11, 11_000),
    (12, 12_000),
    (13, 19_000),
    (14, 20_000),
    (15, 13_000),
    (16, 14_000),
    (17, 30_000),
    (18, 16_000),
    (19, 17_000),
];

#[tokio::test(start_paused = true)]
async fn times_of_arrival_that_go_back_cut_nothing_short() {
    let rows = || SWAPPED.iter().map(|(n, at)| arrived(*n, *at)).collect();
    for last in [None, Some(20)] {
        let mut world = World::new();
        let work = all_of(world.fake.shard("s", &[], (1, last), rows()));
        let went = world.run(&work).await;
        assert_eq!(went.last, Some(number(19)), "{last:?}");
        assert_eq!(world.script.calls(), values(11..=19));
        let by_time = Work {
            until: Until::Time(19_000),
            ..work
        };
        let (mut world, _) = World::with(&[]);
        world.fake = Arc::default();
        world.fake.shard("s", &[], (1, last), rows());
        world.run(&by_time).await;
        let earlier = [11, 12, 15, 16, 18, 19];
        assert_eq!(world.script.calls(), values(earlier), "{last:?}");
    }
}

/// Of a closed shard all is read, whatever its newest record says.
#[tokio::test(start_paused = true)]
async fn a_closed_shard_ends_where_it_is_closed() {
    let mut world = World::new();
    let times = [5_000, 5_001, 5_002, 90_000, 90_001, 90_002, 5_003];
    let rows = times.iter().zip(11..).map(|(at, n)| arrived(n, *at));
    let shard = world.fake.shard("s", &[], (1, Some(20)), rows.collect());
    let went = world.run(&all_of(shard)).await;
    assert_eq!(went.last, Some(number(17)));
}

#[tokio::test(start_paused = true)]
async fn far_behind_its_end_in_time_a_reading_is_over() {
    let (mut world, work) = World::with(&[]);
    for n in 0..30 {
        let at = i64::try_from(n).expect("small") * 30_000;
        world.fake.put("s", arrived(11 + n, at));
    }
    let work = Work {
        until: Until::Time(60_000),
        ..work
    };
    world.run(&work).await;
    assert_eq!(world.script.calls(), values(11..13));
    let pages = world.fake.asked().len();
    assert!(pages <= 3, "{pages}");
}

#[tokio::test(start_paused = true)]
async fn what_is_known_to_be_open_is_missed_though_reading_begins_below_it() {
    let (mut world, work) = World::with(&[]);
    (14..=40).for_each(|n| world.fake.put("s", row(n, "a", &format!("a{n}"))));
    let failed = crate::store::Tried {
        position: number(20),
        rev: 0,
        attempts: 3,
        error: "no".to_owned(),
        not_before: 0,
    };
    // All between its ends is done, but one.
    let mark = crate::store::Mark {
        ended: true,
        done: { (14..=25).filter(|n| *n != 20) }.map(number).collect(),
        tried: vec![failed],
        ..crate::store::Mark::begun("i", (number(14), number(25)), 1)
    };
    let place = PartitionName::new("orders", "*");
    let Known::Open { at: open, certain } = known(&work.shard, &[mark], (&[], &place), true) else {
        panic!("20 is open");
    };
    assert_eq!((&open, &certain), (&number(14), &Some(number(20))));
    world.fake.trim(31);
    for begin in [Begin::At(open), Begin::Horizon] {
        let certain = certain.clone();
        let from = Start { begin, certain };
        let work = Work {
            from,
            ..work.clone()
        };
        let went = world.run(&work).await;
        let gap = went.gap.expect("a gap");
        assert_eq!((gap.from, gap.oldest), (number(20), Some(number(31))));
        assert_eq!((gap.went_on, went.read), (false, 0));
    }
    // What lies behind the end is not asked for.
    let work = Work {
        from: Start {
            begin: Begin::At(number(14)),
            certain,
        },
        until: Until::Before(number(20)),
        ..work
    };
    assert_eq!(world.run(&work).await.gap, None);
}

#[tokio::test(start_paused = true)]
async fn what_retention_removes_while_it_reads_is_a_gap_behind_what_was_read() {
    for on_gap in [OnGap::Refuse, OnGap::Earliest] {
        let (mut world, work) = World::with(&[]);
        (11..=19).for_each(|n| world.fake.put("s", row(n, "a", &format!("a{n}"))));
        world.fake.lenient(true);
        // The first batch takes a while.
        world.script.fails_once("a12", Duration::from_mins(1));
        world.function.settings.failure.backoff_max = Duration::from_mins(1);
        let fake = Arc::clone(&world.fake);
        let trimmed = tokio::spawn(async move {
            sleep(Duration::from_secs(30)).await;
            fake.trim(17);
        });
        let went = world.run(&Work { on_gap, ..work }).await;
        trimmed.await.expect("trimmed");
        let gap = went.gap.expect("a gap");
        let text = gap.to_string();
        assert!(
            text.contains("behind 13 ") && text.contains("from 17 on"),
            "{text}"
        );
        let goes_on = on_gap == OnGap::Earliest;
        assert_eq!(gap.went_on, goes_on);
        let last = if goes_on { 19 } else { 13 };
        assert_eq!(went.last, Some(number(last)));
    }
}
