//! One run: one scenario against one server, each on its cores.

use crate::affinity;
use crate::cli::{Scenario, Settings};
use crate::entrant::Entrant;
use crate::limits::SPARE_DESCRIPTORS;
use crate::outcome::Outcome;
use crate::scenarios;
use crate::server_process::ServerProcess;
use anyhow::{Context, Result, ensure};

/// Runs `scenario` against `entrant`, on `cores`.
pub(crate) fn run(
    settings: &Settings,
    scenario: Scenario,
    entrant: &Entrant,
    cores: &[usize],
) -> Result<Outcome> {
    let connections = settings.connections(scenario);
    let fit = affinity::connections_per_process(connections)?;
    // A server that is started here has the same limit.
    ensure!(
        matches!(entrant, Entrant::Running(_)) || connections <= fit,
        "{connections} connections do not fit in one server process: it may open {} files",
        fit as u64 + SPARE_DESCRIPTORS
    );
    let most = settings.process_connections.map_or(fit, |most| fit.min(most as usize));
    let pinned = settings.is_pinned(scenario, cores.len());
    let (for_server, for_client) = match cores {
        [first, rest @ ..] if pinned && !rest.is_empty() => {
            let processes = usize::from(settings.processes).min(rest.len());
            (std::slice::from_ref(first), &rest[..processes])
        }
        _ => (cores, cores),
    };
    let mut server = match entrant {
        Entrant::Fresh(command) => ServerProcess::start(command, for_server)?,
        Entrant::Running(running) => ServerProcess::running(&running.url, running.pid)?,
    };
    affinity::run_on(for_client)?;
    let result = scenarios::run(settings, scenario, &mut server, most);
    let ended = match &result {
        _ if scenario == Scenario::Drain => None,
        Ok(outcome) if outcome.is_clean() => server.exited(),
        _ => server.exited_by_now(),
    };
    if let Some(status) = ended {
        let ended = format!("the server ended during the run ({status})");
        return match result {
            Err(error) => Err(error.context(ended)),
            Ok(mut outcome) => {
                outcome.violation(ended);
                Ok(outcome)
            }
        };
    }
    let mut outcome = result.with_context(|| format!("{} failed", server.target()))?;
    match entrant {
        Entrant::Fresh(command) => {
            outcome.setting("pinned", pinned);
            outcome.setting("server", command.name.as_str());
            outcome.setting("shards", settings.shards(scenario));
            if let Some(doubt) = &command.doubt {
                outcome.setting("doubt", doubt.as_str());
            }
        }
        Entrant::Running(running) => {
            outcome.setting("server", running.name.as_str());
            // Whoever started it decided on its cores.
            if let Some(pid) = running.pid {
                outcome.setting("server cores", affinity::cores_of(pid));
            }
        }
    }
    Ok(outcome)
}
