//! `replay` of a stream: its records once more, by the same code as a function's invocation, over marks and
//! lanes of its own.

use super::{
    super::{
        exit::{CommandError, Exit},
        output,
        report::{self, Advice},
        run::{
            Reporting,
            session::{self, Session, Shows},
        },
        stream::{self, Streamed},
        when::When,
    },
    Effects, ReplayArguments, Without, attending,
    dry_run::{self, Counts, Found, PartitionView},
    unfinished::{Edge, PartItem, Unfinished},
};
use crate::{
    config::{Config, Then},
    handler::Target,
    lambda::{
        self, Function,
        recovery::{self, Recovery, RecoveryError, Start, Until, Went, Why, Work},
    },
    processor::{Report, Stop},
    program::Program,
    record::PartitionName,
    run::namespace,
    source::{
        OnGap,
        kinesis::{Begin, Shard},
    },
    store::{MarkStore, memory::Memory},
};
use std::sync::{Arc, OnceLock};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

/// A stream, and what of it runs again.
type Parts<'c> = (Streamed<'c>, Vec<Work>);

/// How it ended.
#[derive(Default)]
struct Ended {
    report: Option<Report>,
    /// Records that were read.
    read: u64,
    is_cut: bool,
    gap_refused: bool,
    /// Records are open, or wait for such in a shard's parent.
    is_open: bool,
    /// Shards were left out for what their parents hold.
    left_out: bool,
    failed: Option<CommandError>,
}

pub(super) fn run(
    config: &Config,
    program: Option<&Program>,
    arguments: &ReplayArguments,
    from: &When,
) -> Result<Exit, CommandError> {
    if arguments.history.is_some() {
        return Err(CommandError::Usage(
            "`--history`: none is written of a stream: its records are run by invocations, which have none".to_owned(),
        ));
    }
    if arguments.dry_run {
        return super::super::block_on(count(config, arguments, from));
    }
    let reporting = Reporting::new(arguments.report.as_deref())?;
    let refused = Arc::new(OnceLock::new());
    let ended = session::within(work(config, program, arguments, from, Arc::clone(&refused)))?;
    if let Some(report) = &ended.report {
        let lines = report::lines(report, Advice::Replay);
        for line in lines.iter().filter(|_| ended.read > 0) {
            output::note(line);
        }
        reporting.write(report)?;
    }
    if let Some(id) = refused.get() {
        return Err(super::nobody_said(id));
    }
    if let Some(error) = ended.failed {
        return Err(error);
    }
    if ended.read == 0 && !ended.gap_refused && !ended.left_out && !ended.is_cut {
        output::note("nothing to replay: no record lies in that range");
        return Ok(Exit::Fine);
    }
    if ended.is_cut {
        super::not_finished(arguments);
    }
    let stands = ended.is_open || { ended.report.as_ref() }
        .is_some_and(|report| !report.stopped_lanes.is_empty());
    Ok(stream::exit(stands, ended.gap_refused, ended.is_cut))
}

/// What is meant, by the arguments.
async fn parts<'c>(
    config: &'c Config,
    arguments: &ReplayArguments,
    from: &When,
) -> Result<Vec<Parts<'c>>, CommandError> {
    let store = lambda::mark_store(config).map_err(stream::unfit)?;
    let streams = stream::open(config, &arguments.selection()).await?;
    let count = streams.iter().map(|streamed| streamed.shards.len()).sum();
    let mut all = Vec::new();
    for streamed in streams {
        for when in [Some(from), arguments.to.as_ref()] {
            streamed.one_shard(when, count)?;
        }
        let mut works = Vec::new();
        for shard in &streamed.shards {
            if !arguments.alongside {
                unattended(&*store, &streamed, shard).await?;
            }
            let start = streamed.start(&*store, shard, from).await?;
            let until = streamed
                .until(&*store, shard, arguments.to.as_ref())
                .await?;
            let (Some(start), Some(until)) = (start, until) else {
                continue;
            };
            if let (Begin::At(first), Until::Through(last)) = (&start.begin, &until)
                && first > last
            {
                return Err(CommandError::Usage(format!(
                    "`--from {first}` is behind `--to {last}`: the range is empty"
                )));
            }
            works.push(Work {
                shard: shard.clone(),
                from: start,
                until,
                key: arguments.key.clone().map(String::into_bytes),
                on_gap: streamed.source.on_gap,
            });
        }
        all.push((streamed, works));
    }
    Ok(all)
}

/// Refuses while an invocation of the function has records of the shard.
async fn unattended(
    store: &dyn MarkStore,
    streamed: &Streamed<'_>,
    shard: &Shard,
) -> Result<(), CommandError> {
    let name = PartitionName::new(&streamed.source.name, &shard.id);
    let marks = streamed.all_marks(store, shard).await?;
    let now = output::now();
    match marks.iter().find(|mark| !mark.ended && mark.deadline > now) {
        None => Ok(()),
        Some(mark) => Err(CommandError::Usage(format!(
            "invocation {} of the function has records of `{name}` (one that was killed counts until {}): disable the mapping, which keeps its place, or replay beside it with `--alongside`, in no order to what it does",
            mark.invocation,
            output::moment(mark.deadline)
        ))),
    }
}

async fn count(
    config: &Config,
    arguments: &ReplayArguments,
    from: &When,
) -> Result<Exit, CommandError> {
    let mut keys = Counts::new();
    let mut partitions = Vec::new();
    for (streamed, works) in parts(config, arguments, from).await? {
        for work in works {
            let (mut records, mut ends) = (0, None);
            let gap = recovery::look(&streamed.stream, &work, |entry| {
                records += 1;
                dry_run::count_key(&mut keys, entry.key());
                let end = (entry.position().to_string(), entry.timestamp());
                let (_, last) = ends.get_or_insert_with(|| (end.clone(), end.clone()));
                *last = end;
            });
            let name = PartitionName::new(&streamed.source.name, &work.shard.id);
            if let Some(gap) = gap.await.map_err(stream::recovery_error)? {
                let what = format!("`{name}`: {gap}");
                if !gap.went_on {
                    return Err(CommandError::Usage(what));
                }
                output::note(&what);
            }
            let view = |(first, last)| {
                PartitionView::new(
                    &name,
                    Found {
                        records,
                        first,
                        last,
                    },
                )
            };
            partitions.extend(ends.map(view));
        }
    }
    dry_run::show(partitions, keys, arguments.json)?;
    Ok(Exit::Fine)
}

async fn work(
    config: &Config,
    program: Option<&Program>,
    arguments: &ReplayArguments,
    from: &When,
    refused: Arc<OnceLock<String>>,
) -> Result<Ended, CommandError> {
    let again = match arguments.applies() {
        false => None,
        true => Some(applied(config, arguments, from).await?),
    };
    let (parts, generation) = match again {
        None => (parts(config, arguments, from).await?, None),
        Some((parts, generation)) => (parts, Some(generation)),
    };
    let wrap = |inner: Arc<dyn Target>, stop: UnboundedSender<Stop>| match arguments.effects {
        Some(Effects::Again) => inner,
        Some(Effects::Suppress) => Arc::new(Without::new(inner, None, refused)) as _,
        None => Arc::new(Without::new(inner, Some(stop), refused)) as _,
    };
    let session = Session::new(program, config, wrap).await?;
    let name = namespace(&config.app);
    let memory = generation.is_none().then(|| Memory::new(&name));
    let store: Arc<dyn MarkStore> = match (&memory, generation) {
        (Some(memory), _) => Arc::new(memory.clone()),
        (None, generation) => {
            let generation = generation.unwrap_or_default();
            lambda::store_apart(config, &name, generation).map_err(stream::unfit)?
        }
    };
    let own = apart(config);
    let function = lambda::function(&own, store, session.target()).map_err(stream::unfit)?;
    let replay = |stops| run_all(&function, parts, (memory, generation), stops);
    let passed = session.pass(config, Shows::Calls, replay);
    let ended = match generation {
        Some(_) => attending::told(config, passed).await?,
        None => passed.await,
    };
    let is_whole = !(ended.is_cut || ended.gap_refused || ended.left_out) && ended.failed.is_none();
    if generation.is_some() && is_whole {
        Unfinished::forget(config).await?;
    }
    Ok(ended)
}

/// Whatever `failure.then` says, a record that fails for good stops its lane, within the replay; and the
/// whole cap is its own.
fn apart(config: &Config) -> Config {
    let mut own = config.clone();
    own.failure.then = Then::Stop;
    own.failure.dead_letter = None;
    own.lambda.concurrency = 1;
    own
}

/// One whose effects are applied: that which did not come to its end, or a new one.
async fn applied<'c>(
    config: &'c Config,
    arguments: &ReplayArguments,
    from: &When,
) -> Result<(Vec<Parts<'c>>, u64), CommandError> {
    let told = arguments.told(from);
    if let Some(unfinished) = super::going_on(config, &told).await? {
        let parts = read_back(config, arguments, unfinished.parts()).await?;
        return Ok((parts, unfinished.generation()));
    }
    let mut parts = parts(config, arguments, from).await?;
    // What comes later belongs to nobody's word.
    let now = output::now();
    let works = parts.iter_mut().flat_map(|(_, works)| works);
    works
        .filter(|work| work.until == Until::Now)
        .for_each(|work| work.until = Until::Time(now.saturating_add(1)));
    let items = { parts.iter() }.flat_map(|(streamed, works)| {
        let source = &streamed.source.name;
        works.iter().map(|work| item(source, work))
    });
    let new = Unfinished::of_parts(told, items.collect());
    if parts.iter().any(|(_, works)| !works.is_empty()) {
        new.write(config).await?;
    }
    Ok((parts, new.generation()))
}

fn item(source: &str, work: &Work) -> PartItem {
    PartItem {
        source: source.to_owned(),
        shard: work.shard.id.to_string(),
        from: match &work.from.begin {
            Begin::Horizon => Edge::Horizon,
            Begin::At(position) => Edge::At(position.clone()),
            Begin::After(position) => Edge::Before(position.clone()),
            Begin::Time(millis) => Edge::Time(*millis),
        },
        certain: work.from.certain.clone(),
        until: match &work.until {
            Until::Now => Edge::Horizon,
            Until::Through(position) => Edge::At(position.clone()),
            Until::Before(position) => Edge::Before(position.clone()),
            Until::Time(millis) => Edge::Time(*millis),
        },
    }
}

async fn read_back<'c>(
    config: &'c Config,
    arguments: &ReplayArguments,
    items: &[PartItem],
) -> Result<Vec<Parts<'c>>, CommandError> {
    let mut all = Vec::new();
    for streamed in stream::open(config, &arguments.selection()).await? {
        let mut works = Vec::new();
        let own = items
            .iter()
            .filter(|item| item.source == streamed.source.name);
        for item in own {
            let shard = streamed
                .shards
                .iter()
                .find(|shard| *shard.id == *item.shard);
            let Some(shard) = shard else {
                return Err(CommandError::Usage(format!(
                    "the stream has no shard `{}` any more, of which the replay has a part: `lanekeeper replay --abandon` forgets it",
                    item.shard
                )));
            };
            works.push(Work {
                shard: shard.clone(),
                from: Start {
                    begin: match &item.from {
                        Edge::Horizon => Begin::Horizon,
                        Edge::At(position) => Begin::At(position.clone()),
                        Edge::Before(position) => Begin::After(position.clone()),
                        Edge::Time(millis) => Begin::Time(*millis),
                    },
                    certain: item.certain.clone(),
                },
                until: match &item.until {
                    Edge::Horizon => Until::Now,
                    Edge::At(position) => Until::Through(position.clone()),
                    Edge::Before(position) => Until::Before(position.clone()),
                    Edge::Time(millis) => Until::Time(*millis),
                },
                key: arguments.key.clone().map(String::into_bytes),
                on_gap: streamed.source.on_gap,
            });
        }
        all.push((streamed, works));
    }
    Ok(all)
}

async fn run_all(
    function: &Function,
    parts: Vec<Parts<'_>>,
    (memory, generation): (Option<Memory>, Option<u64>),
    stops: UnboundedReceiver<Stop>,
) -> Ended {
    let mut ended = Ended::default();
    let mut stops = Some(stops);
    for (streamed, works) in parts {
        let Some(own) = stops.take() else { break };
        let name = &streamed.source.name;
        let mut recovery = Recovery::new(function, Arc::clone(&streamed.stream), name, own)
            .with_generation(generation.unwrap_or_default())
            .forgetting(memory.clone());
        let on_gap = streamed.source.on_gap;
        if let Err(error) = run_stream(&mut recovery, &works, (name, on_gap), &mut ended).await {
            ended.failed = Some(stream::recovery_error(error));
        }
        match recovery.report(&streamed.shards).await {
            Ok(report) => match &mut ended.report {
                Some(sum) => recovery::add(sum, report),
                none @ None => *none = Some(report),
            },
            Err(error) => ended.failed = Some(error.into()),
        }
        if recovery.is_stopped() || ended.failed.is_some() {
            break;
        }
        stops = Some(recovery.into_stops());
    }
    ended
}

async fn run_stream(
    recovery: &mut Recovery<'_>,
    works: &[Work],
    (source, on_gap): (&str, OnGap),
    ended: &mut Ended,
) -> Result<(), RecoveryError> {
    let mut barred = recovery.barred(on_gap);
    for work in works {
        if let Some((parent, why)) = barred.parent_of(&work.shard) {
            ended.left_out = true;
            ended.gap_refused |= why == Why::Lost;
            ended.is_open |= why == Why::Stands;
            output::failure(&format!(
                "`{source}/{}`: left out: what its parent `{parent}` holds comes before it",
                work.shard.id
            ));
            continue;
        }
        let mut went = Went::default();
        let ran = recovery.run(work, &mut went).await;
        ended.is_cut |= went.is_cut;
        ended.read += went.read;
        ended.is_open |= went.open > 0;
        barred.note(&work.shard.id, &went);
        if let Some(gap) = &went.gap {
            // With `latest` the shard is left out, and what comes behind it goes on.
            ended.gap_refused |= !gap.went_on && on_gap != OnGap::Latest;
            output::note(&format!("`{source}/{}`: {gap}", work.shard.id));
        }
        ran?;
        if went.is_cut {
            break;
        }
    }
    Ok(())
}
