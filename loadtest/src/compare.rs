//! `compare`: one scenario against several servers in turn, each fresh and in a
//! process of its own, but for those that run already. Within a round all run, each round beginning with
//! another, so that no server always follows the same one.

use crate::cli::{Contest, Scenario, Settings};
use crate::comparison::Comparison;
use crate::entrant::{Entrant, Running};
use crate::outcome::Outcome;
use crate::references;
use crate::run::run;
use crate::server_command::{ServerCommand, drivers};
use crate::server_process::ServerProcess;
use anyhow::{Context, Result, ensure};

/// Seconds of load of one run, unless told otherwise.
const DURATION_S: u64 = 5;

/// What shardcast is called; the driver may follow behind a hyphen.
const SHARDCAST: &str = "shardcast";

/// The outcomes of all runs, and what they come to.
pub(crate) struct Contested {
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) comparison: Comparison,
}

/// Compares what `contest` names, on `cores`, and prints the ratios.
pub(crate) fn compare(contest: &Contest, cores: &[usize]) -> Result<Contested> {
    let mut settings = contest.settings.clone();
    settings.default_duration(DURATION_S);
    let scenario = settings.scenario.context("name the scenario: `loadtest compare echo`")?;
    ensure!(settings.url.is_none(), "compare starts its servers: --url makes no sense");
    ensure!(
        !matches!(scenario, Scenario::Drain | Scenario::Cross),
        "this scenario is about shardcast alone"
    );
    let servers = servers(contest, &settings, scenario)?;
    let names: Vec<_> = servers.iter().map(|server| server.name().to_owned()).collect();
    let base = base(contest, &names)?;
    let mut rounds = Vec::new();
    for round in 0..usize::from(contest.pairs) {
        rounds.push(play(&settings, scenario, &servers, round, cores)?);
    }
    let comparison = Comparison::new(&names, &base, &rounds)?;
    print!("{comparison}");
    Ok(Contested { outcomes: rounds.concat(), comparison })
}

/// Runs every server once, the first being number `round`; gives the outcomes
/// in the order of `servers`.
fn play(
    settings: &Settings,
    scenario: Scenario,
    servers: &[Entrant],
    round: usize,
    cores: &[usize],
) -> Result<Vec<Outcome>> {
    let mut outcomes: Vec<_> = servers.iter().map(|_| None).collect();
    for step in 0..servers.len() {
        let at = (round + step) % servers.len();
        let name = servers[at].name();
        eprintln!("round {}: {name}", round + 1);
        let outcome = run(settings, scenario, &servers[at], cores);
        let mut outcome = outcome.with_context(|| format!("{name} could not be measured"))?;
        outcome.setting("round", round + 1);
        if !outcome.is_clean() {
            eprint!("{outcome}");
        }
        outcomes[at] = Some(outcome);
    }
    Ok(outcomes.into_iter().flatten().collect())
}

/// The servers that `contest` names, or all that start on this machine.
fn servers(contest: &Contest, settings: &Settings, scenario: Scenario) -> Result<Vec<Entrant>> {
    if contest.servers.is_empty() {
        let names = by_default(contest, settings)?;
        let servers = names.iter().map(|name| server(name, contest, settings, scenario));
        let servers = servers.collect::<Result<Vec<_>>>()?;
        return Ok(servers.into_iter().filter(starts).map(Entrant::Fresh).collect());
    }
    let mut servers: Vec<Entrant> = Vec::new();
    for text in &contest.servers {
        let server = match Running::parse(text)? {
            Some(running) => Entrant::Running(running),
            None => Entrant::Fresh(server(text, contest, settings, scenario)?),
        };
        let is_new = servers.iter().all(|known| known.name() != server.name());
        ensure!(is_new, "{} is named twice", server.name());
        servers.push(server);
    }
    Ok(servers)
}

fn server(
    name: &str,
    contest: &Contest,
    settings: &Settings,
    scenario: Scenario,
) -> Result<ServerCommand> {
    if let Some((_, path)) = contest.external.iter().find(|(known, _)| known == name) {
        return ServerCommand::external(name, path);
    }
    if name == SHARDCAST {
        return ServerCommand::shardcast(settings, scenario, None);
    }
    let driver = name.strip_prefix(SHARDCAST).and_then(|rest| rest.strip_prefix('-'));
    if driver.is_some() {
        return ServerCommand::shardcast(settings, scenario, driver);
    }
    ensure!(references::is_known(name), "{name}: no server of that name");
    ServerCommand::reference(name, settings, scenario)
}

/// Whether a server starts here; one that does not is named.
fn starts(server: &ServerCommand) -> bool {
    let started = ServerProcess::start(server, &[]);
    if let Err(error) = &started {
        eprintln!("{} is left out: {error:#}", server.name);
    }
    started.is_ok()
}

/// Every server there is, `limit` first.
fn by_default(contest: &Contest, settings: &Settings) -> Result<Vec<String>> {
    let drivers = match &settings.driver {
        Some(driver) => vec![driver.clone()],
        None => drivers(settings)?,
    };
    let own = drivers.iter().map(|driver| format!("{SHARDCAST}-{driver}"));
    let others = references::NAMES.iter().filter(|name| **name != references::LIMIT);
    let external = contest.external.iter().map(|(name, _)| name.clone());
    let limit = [references::LIMIT.to_owned()].into_iter();
    Ok(limit.chain(own).chain(others.map(|name| (*name).to_owned())).chain(external).collect())
}

fn base(contest: &Contest, names: &[String]) -> Result<String> {
    if let Some(base) = &contest.base {
        ensure!(names.contains(base), "--base {base} is not among the servers");
        return Ok(base.clone());
    }
    let limit = names.iter().find(|name| *name == references::LIMIT);
    Ok(limit.or_else(|| names.first()).context("no servers")?.clone())
}
