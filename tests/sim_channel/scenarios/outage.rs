//! Servers that cannot be reached.

use super::*;
use crate::config::Config;
use crate::plan::Fault;

#[test]
fn a_partition_costs_the_calls_it_meets_and_no_more() {
    let plan = |seed| {
        let config = Config { ejection: Duration::from_secs(10), ..Config::plain() };
        let mut plan = Plan::calm(seed, 3, config);
        plan.healed = millis(6000);
        plan.load(millis(20), Some(millis(400)));
        plan.faults = vec![(millis(2000), Fault::Partition(1)), (millis(5000), Fault::Repair(1))];
        plan
    };
    each(plan, |seed, book| {
        assert_eq!(book.failed(millis(0)..millis(1900)).len(), 0, "seed {seed}: before");
        let met = book.failed(millis(1900)..millis(2800)).len();
        assert!((1..20).contains(&met), "seed {seed}: {met} calls were sent into the void");
        // Five in a row are enough to know.
        assert_eq!(book.failed(millis(2800)..millis(6000)).len(), 0, "seed {seed}: once it is ejected");
    });
}

#[test]
fn clients_that_lost_their_server_together_do_not_come_back_together() {
    const CLIENTS: usize = 24;
    // It drains at once, as nothing keeps it, and refuses connections until it is back.
    let (down, up) = (millis(1300), millis(7300));
    let plan = |seed| {
        let mut plan = Plan::calm(seed, 1, Config::plain());
        plan.channels = CLIENTS;
        plan.healed = millis(9500);
        plan.load(millis(10), Some(millis(100)));
        plan.faults = vec![(millis(1000), Fault::Restart(0, millis(6000)))];
        plan
    };
    each(plan, |seed, book| {
        let dials = |during: Range<Duration>| book.dials.iter().filter(move |dial| during.contains(&dial.at));
        // The first try after the loss comes at once; from then on chance drives them apart.
        let late = (0..).map(|step| down + millis(3000) + millis(50) * step).take_while(|at| *at < up);
        let busiest = late.map(|at| dials(at..at + millis(50)).count()).max().unwrap_or_default();
        assert!(busiest <= CLIENTS / 3, "seed {seed}: {busiest} of {CLIENTS} connect in the same 50 ms");
        for channel in 0..CLIENTS {
            let tries = dials(down..up).filter(|dial| dial.channel == channel).count();
            // 0.1 s, 0.16 s and so on to 1 s, give or take a fifth.
            assert!((7..16).contains(&tries), "seed {seed}: channel {channel} tried {tries} times");
        }
        assert_eq!(book.failed(up + millis(1400)..millis(9500)).len(), 0, "seed {seed}: everybody is back");
    });
}
