//! What others than lanekeeper say of it.

use super::{
    APP, CAP, PARTITIONS, RUN, UNFLUSHED, fleet::Fleet, ledger::Ledger, say, stage::Stage,
    traffic::Traffic,
};
use crate::proxy::Kind;
use serde_json::Value;
use std::{collections::BTreeMap, fmt, io};

/// Claims closer together than this are of one rebalance, in nanoseconds.
const ONE_REBALANCE: u64 = 1_000_000_000;

/// What happened, and what became of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Members that were killed.
    pub kills: u64,
    /// Moments at which partitions changed hands, at least a second apart.
    pub rebalances: u64,
    /// Members that were frozen past their deadlines.
    pub freezes: u64,
    /// Members that stopped in order.
    pub stops: u64,
    /// Stops whose drain was passed while something was out of reach.
    pub cut_short: u64,
    /// Members that ended by themselves since Kafka or the store was out of reach.
    pub out_of_reach: u64,
    /// Brokers that were stopped or killed, and came back.
    pub broker_restarts: u64,
    /// Times for which nobody reached the table.
    pub cut_offs: u64,
    /// Of these, what the way to the table did wrong.
    pub faults: BTreeMap<Kind, u64>,
    /// Records.
    pub records: u64,
    /// Records that were done once more after they had been done.
    pub repeats: u64,
    /// Of them, the most that one member's end caused.
    pub repeats_max: u64,
    /// From the start of the servers.
    pub seconds: u64,
}

/// Each account's requests, in order: what the target has to have at the end.
pub(super) fn in_order(accounts: &BTreeMap<String, u64>) -> BTreeMap<String, Vec<u64>> {
    let each = accounts.iter();
    each.map(|(name, count)| (name.clone(), (1..=*count).collect()))
        .collect()
}

pub(super) fn judge(
    stage: &Stage,
    fleet: &Fleet<'_>,
    ledger: &Ledger,
    traffic: &Traffic,
) -> io::Result<Report> {
    effects(stage, traffic)?;
    let figures = stage
        .scene
        .check_members("requests.jsonl", "ledger.jsonl", CAP)?;
    let mut args = vec!["audit"];
    // One that was killed as soon as it was started has none.
    let began = { fleet.histories.iter() }.filter(|history| stage.scene.size(history) > 0);
    args.extend(began.map(String::as_str));
    let audit = stage.scene.run(&args)?;
    if audit.code != Some(0) {
        return Err(io::Error::other(format!(
            "the audit says:\n{}{}",
            audit.output, audit.errors
        )));
    }
    at_the_end(stage)?;
    let (repeats, repeats_max) = repeats(fleet, ledger)?;
    say(&format!("the workers' ledger: {figures}"));
    if let Some(counts) = stage.counts() {
        if counts.of(Kind::Invalid) > 0 {
            return Err(io::Error::other("the store broke a limit of DynamoDB"));
        }
        say(&format!("the fault proxy: {:?}", counts.faults));
    }
    let faults = stage.counts().map(|counts| counts.faults);
    Ok(Report {
        faults: faults.unwrap_or_default(),
        kills: fleet.crashes.len() as u64,
        rebalances: rebalances(fleet)?,
        freezes: fleet.freezes,
        stops: fleet.stops,
        cut_short: fleet.cut_short,
        out_of_reach: fleet.out_of_reach,
        records: traffic.accounts().values().sum(),
        repeats,
        repeats_max,
        ..Report::default()
    })
}

/// The target's own word: each request once, in the order of its account.
fn effects(stage: &Stage, traffic: &Traffic) -> io::Result<()> {
    let (mut applied, wanted) = (stage.applied()?, in_order(traffic.accounts()));
    for (account, requests) in &wanted {
        let got = applied.remove(account).unwrap_or_default();
        if got != *requests {
            let first = got
                .iter()
                .zip(requests)
                .position(|(got, wanted)| got != wanted);
            let from = first.unwrap_or(got.len().min(requests.len()));
            return Err(io::Error::other(format!(
                "the target has other requests of `{account}` than were sent, from its {from}th on: {:?} for {:?}",
                got.get(from..).unwrap_or_default(),
                requests.get(from..).unwrap_or_default(),
            )));
        }
    }
    if applied.is_empty() {
        Ok(())
    } else {
        Err(io::Error::other(format!("nobody asked for {applied:?}")))
    }
}

/// Every partition is settled to the end of its log, and the group knows.
fn at_the_end(stage: &Stage) -> io::Result<()> {
    let extents = stage.kafka.extents(&stage.topic)?;
    let committed = stage.kafka.committed(APP, &stage.topic)?;
    let status = stage.scene.run(&["status", "--json"])?.json()?;
    let partitions = status["partitions"].as_array();
    let partitions = partitions.map_or(&[][..], Vec::as_slice);
    for (number, (_, next)) in extents
        .iter()
        .enumerate()
        .filter(|(_, extent)| extent.1 > 0)
    {
        let name = format!("{}/{number}", stage.topic);
        let partition = partitions.iter().find(|found| found["partition"] == *name);
        let frontier = partition.and_then(|found| found["frontier"].as_str());
        let open = partition.map(|found| &found["open"]);
        let is_settled = frontier == Some((next - 1).to_string().as_str())
            && open == Some(&Value::from(0))
            && committed[number] == Some(*next);
        if !is_settled {
            return Err(io::Error::other(format!(
                "the log of {name} ends before {next}, the group has committed {:?}, and it is not settled: {partition:?}",
                committed[number]
            )));
        }
    }
    Ok(())
}

/// Records that ran again, in all and at most for one member: none may cause more than G8 says.
fn repeats(fleet: &Fleet<'_>, ledger: &Ledger) -> io::Result<(u64, u64)> {
    let in_flight = u64::from(CAP) * RUN;
    let mut repeats = ledger.repeats();
    let sums = (
        repeats.values().sum(),
        repeats.values().max().copied().unwrap_or_default(),
    );
    for (number, crash) in fleet.crashes.iter().enumerate() {
        let again = repeats.remove(&crash.process).unwrap_or_default();
        let bound = in_flight + UNFLUSHED * crash.partitions;
        let told = format!(
            "kill {}: {again} records ran again, the bound is {bound} (of {} partitions)",
            number + 1,
            crash.partitions
        );
        say(&told);
        if again > bound {
            return Err(io::Error::other(told));
        }
    }
    // Those that lost partitions while they were frozen or cut off.
    for (process, again) in repeats {
        let bound = in_flight + UNFLUSHED * u64::from(PARTITIONS);
        let told = format!("member {process}, not killed: {again} records ran again");
        say(&told);
        if again > bound {
            return Err(io::Error::other(format!("{told}, the bound is {bound}")));
        }
    }
    Ok(sums)
}

/// By the histories of all members, whose clock is that of the machine.
fn rebalances(fleet: &Fleet<'_>) -> io::Result<u64> {
    let mut times = Vec::new();
    for history in &fleet.histories {
        let lines = fleet.history(history)?;
        let claims = lines.iter().filter(|line| line["event"] == "claimed");
        times.extend(claims.filter_map(|line| line["t"].as_u64()));
    }
    times.sort_unstable();
    let apart = times
        .windows(2)
        .filter(|pair| pair[1] - pair[0] > ONE_REBALANCE);
    Ok(apart.count() as u64 + u64::from(!times.is_empty()))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "chaos: {} kills, {} rebalances, {} freezes, {} clean stops, {} stops cut short, {} ended by \
             themselves, {} broker restarts, {} cuts of the network; {} records, none lost, none out of \
             order, each effect once, {} repeats ({} at most for one member), {} s",
            self.kills,
            self.rebalances,
            self.freezes,
            self.stops,
            self.cut_short,
            self.out_of_reach,
            self.broker_restarts,
            self.cut_offs,
            self.records,
            self.repeats,
            self.repeats_max,
            self.seconds
        )
    }
}
