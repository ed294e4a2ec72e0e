//! The client processes of a run: this one and, when descriptors or one core
//! do not suffice, workers. A worker is this program again, told over a pipe
//! which share is its own and when to begin each step; it answers each step
//! with one line of JSON. Knows shares, not scenarios.

use crate::measure::Window;
use crate::share::{Part, Share};
use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Signal, set_parent_process_death_signal};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::env;
use std::io::{BufRead, BufReader, Write, stdin, stdout};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The hidden first argument by which this program becomes a worker.
pub(crate) const WORKER: &str = "__worker";

/// What a worker is told to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Step {
    Open,
    Run,
    Finish,
}

/// What a worker answers to a step.
#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Done,
    Found(Box<Part>),
    Failed(String),
}

/// All client processes of a run. Its steps are those of [`Share`], taken by
/// all processes at the same time.
pub(crate) struct Workforce {
    own: Box<dyn Share>,
    workers: Vec<Worker>,
}

impl Workforce {
    /// This process with the share `own`, and a worker for each of `jobs`.
    pub(crate) fn start<J: Serialize>(own: Box<dyn Share>, jobs: &[J]) -> Result<Self> {
        let workers = jobs.iter().map(Worker::start).collect::<Result<_>>()?;
        Ok(Self { own, workers })
    }

    /// A window over the processor time of `server` and of all processes here.
    pub(crate) fn window(&self, server: Option<u32>) -> Window {
        let workers = self.workers.iter().map(|worker| worker.child.id());
        Window::with_clients(server, workers.chain([std::process::id()]).collect())
    }

    /// Prepares the load.
    pub(crate) fn open(&mut self) -> Result<()> {
        self.step(Step::Open, |own| own.open().map(|()| None)).map(drop)
    }

    /// Runs the load.
    pub(crate) fn run(&mut self) -> Result<()> {
        self.step(Step::Run, |own| own.run().map(|()| None)).map(drop)
    }

    /// Waits for stragglers and gives what all shares found. The connections
    /// stay open until the workforce is dropped.
    pub(crate) fn finish(&mut self) -> Result<Part> {
        let parts = self.step(Step::Finish, |own| own.finish().map(Some))?;
        Ok(Part::merge(parts))
    }

    /// The own share's failure counts first: that of a worker has most often
    /// the same cause.
    fn step(
        &mut self,
        step: Step,
        own: impl FnOnce(&mut dyn Share) -> Result<Option<Part>>,
    ) -> Result<Vec<Part>> {
        for worker in &mut self.workers {
            worker.tell(&step)?;
        }
        let mut parts: Vec<_> = own(&mut *self.own)?.into_iter().collect();
        for worker in &mut self.workers {
            parts.extend(worker.answer()?);
        }
        Ok(parts)
    }
}

struct Worker {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    fn start<J: Serialize>(job: &J) -> Result<Self> {
        let mut command = Command::new(env::current_exe().context("cannot find this program")?);
        command.arg(WORKER).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot start a client process")?;
        let (orders, answers) = (child.stdin.take(), child.stdout.take());
        let (Some(orders), Some(answers)) = (orders, answers) else {
            bail!("a client process has no pipes");
        };
        let mut worker = Self { child, orders, answers: BufReader::new(answers) };
        worker.tell(job)?;
        Ok(worker)
    }

    fn tell<T: Serialize>(&mut self, what: &T) -> Result<()> {
        write_line(&mut self.orders, what).context("a client process has ended")
    }

    fn answer(&mut self) -> Result<Option<Part>> {
        match read_line(&mut self.answers)? {
            Some(Answer::Done) => Ok(None),
            Some(Answer::Found(part)) => Ok(Some(*part)),
            Some(Answer::Failed(why)) => Err(anyhow!(why).context("a client process failed")),
            None => bail!("a client process ended before it was done"),
        }
    }
}

impl Drop for Worker {
    /// Nothing of a worker is of use after its run.
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Is a worker: plays the share that `make` makes of the job that comes first,
/// until the pipe ends.
pub(crate) fn serve<J: DeserializeOwned>(
    make: impl FnOnce(J) -> Result<Box<dyn Share>>,
) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("cannot bind to the parent")?;
    let mut orders = stdin().lock();
    let job = read_line(&mut orders)?.context("a worker was given no job")?;
    let mut share = make(job)?;
    while let Some(step) = read_line(&mut orders)? {
        let done = match step {
            Step::Open => share.open().map(|()| Answer::Done),
            Step::Run => share.run().map(|()| Answer::Done),
            Step::Finish => share.finish().map(|part| Answer::Found(Box::new(part))),
        };
        let answer = done.unwrap_or_else(|error| Answer::Failed(format!("{error:#}")));
        write_line(&mut stdout().lock(), &answer)?;
    }
    Ok(())
}

fn write_line<T: Serialize>(out: &mut impl Write, what: &T) -> Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    out.write_all(&line)?;
    Ok(out.flush()?)
}

fn read_line<T: DeserializeOwned>(from: &mut impl BufRead) -> Result<Option<T>> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    Ok(Some(serde_json::from_str(&line)?))
}
